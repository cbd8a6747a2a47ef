"""Pages, tokens and slices of event lists: however they come, each event counts once."""

from tests.providers.chatlayer.care import HOUR, MINUTE, Open


def test_a_slice_that_is_too_large_is_halved_until_it_is_drained(begin: Open) -> None:
    care = begin(stream={"max_pages": 2})
    for number in range(100):
        care.happen(count=10, ago=-number * 6000)
    care.wait(20 * MINUTE)

    assert care.poll().outcome == "ok"

    assert care.events() == 1000


def test_more_events_in_one_millisecond_than_a_slice_may_have_are_read(begin: Open) -> None:
    care = begin(stream={"max_pages": 2})
    care.wait(MINUTE)
    care.happen(count=450)
    care.wait(2 * MINUTE)

    assert care.poll().outcome == "ok"

    assert care.events() == 450


def test_after_a_dense_instant_quiet_slices_grow_again_though_each_has_an_empty_page(
    begin: Open,
) -> None:
    care = begin(stream={"max_pages": 2})
    care.service.faults.on("empty_page")
    care.wait(MINUTE)
    care.happen(count=450)
    care.wait(HOUR)
    before = len(care.service.requests)

    assert care.poll().outcome == "ok"

    assert care.events() == 450
    assert len(care.service.requests) - before < 300


def test_tokens_that_are_always_refused_or_go_round_change_nothing(begin: Open) -> None:
    care = begin()
    care.happen(count=250, ago=-MINUTE)
    care.wait(5 * MINUTE)
    care.service.faults.on("expired_token", when=lambda call: "page_token" in call.params)
    refused = care.poll().outcome
    care.service.faults.off("expired_token")
    care.service.faults.on("looping_token")
    looping = care.poll().outcome
    care.service.faults.off("looping_token")
    failed = care.shown("chatbot_events_total")

    care.poll()

    assert (refused, looping, failed) == ("truncated", "truncated", {})
    assert care.events() == 250
