"""Event lists, from the simulator into a ledger: each event once, whatever happens in between."""

from typing import Any

import pytest

from exporter.errors import Unauthorized
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Window
from exporter.providers.base import rows
from exporter.providers.chatlayer.stream import POLL_SECONDS
from exporter.simulator.conversations import Kind
from tests.providers.chatlayer.care import DAY, HOUR, MINUTE, Open, target
from tests.providers.vendor import played, read
from tests.support.virtual import START_MS

FEW_PAGES = 4


def test_an_event_counts_once_by_name_and_as_what_it_is_mapped_to(begin: Open) -> None:
    care = begin()
    care.happen(Kind.HANDOVER, count=2)
    care.happen(Kind.SEARCH, channel="")
    care.wait(2 * MINUTE)

    care.poll()
    care.poll()

    assert care.shown("chatbot_events_total") == {
        ("care", "live", "web", "handover"): 2,
        ("care", "live", "", "other"): 1,
    }
    handovers = {("care", "live", "web"): 2, ("care", "live", ""): 0}
    assert care.shown("chatbot_handovers_total") == handovers
    assert {seen.params["page_size"] for seen in care.service.requests} == {"100"}


def test_events_of_the_other_version_are_another_query(begin: Open) -> None:
    care = begin()
    care.happen(environment="staging", count=4)
    care.happen(environment="main")
    care.wait(2 * MINUTE)

    care.poll()

    assert care.events() == 1


def test_an_event_from_the_future_waits_for_its_time(begin: Open) -> None:
    care = begin()
    care.happen(ago=-10 * MINUTE, late=-HOUR)
    care.wait(5 * MINUTE)
    care.poll()
    before = care.events()

    care.wait(10 * MINUTE)
    care.poll()

    assert (before, care.events()) == (0, 1)


def test_events_without_an_id_count_by_what_they_say(begin: Open) -> None:
    care = begin()
    care.service.faults.on("no_ids")
    for number in range(4):
        care.happen(user=f"u-{number}")
    care.wait(2 * MINUTE)

    care.poll()
    care.poll()

    assert care.events() == 4


def test_events_without_a_time_that_can_be_read_are_left_out_as_drift(begin: Open) -> None:
    care = begin()
    care.service.faults.on("broken_times")
    care.happen(count=2)
    care.wait(2 * MINUTE)

    assert care.poll().outcome == "ok"

    assert care.shown("chatbot_events_total") == {}
    assert care.counted("schema_drift_total", kind="unexpected_type") == 2


def test_a_longer_sweep_counts_no_event_again(begin: Open) -> None:
    care = begin()
    for _ in range(50):
        care.wait(HOUR)
        care.happen(count=2, ago=10 * MINUTE)
        care.poll()

    care.reconfigure(stream={"sweep": "72h"})
    for _ in range(8):
        care.wait(HOUR)
        care.poll()

    assert care.events() == 100


def test_filters_ask_by_the_post_form(begin: Open) -> None:
    wanted = {"key": "step_name", "operator": "EQUALS", "value": ["goal"]}
    care = begin(stream={"filters": [wanted]})
    care.happen(Kind.GOAL)
    care.happen(Kind.HANDOVER, count=5)
    care.wait(2 * MINUTE)

    care.poll()

    assert {seen.method for seen in care.service.requests} == {"POST"}
    assert {seen.body["page_size"] for seen in care.service.requests} == {100}
    assert care.shown("chatbot_events_total") == {("care", "live", "web", "goal_booked"): 1}


def test_an_outage_beyond_what_the_api_keeps_is_a_gap(begin: Open) -> None:
    care = begin(stream={"max_age": "24h"})
    care.wait(36 * HOUR)
    care.happen(ago=30 * HOUR)
    care.happen(ago=2 * HOUR)

    care.poll()

    assert care.events() == 1
    assert care.counted("coverage_gaps_total") == 1
    assert care.counted("coverage_gap_seconds_total") == pytest.approx(12 * 3600, abs=600)


def test_a_long_outage_is_caught_up_slice_by_slice(begin: Open) -> None:
    care = begin(stream={"max_pages": 2})
    for hour in range(36):
        care.happen(count=20, ago=-hour * HOUR)
    care.wait(37 * HOUR)

    care.poll()

    assert care.events() == 720
    assert care.counted("coverage_gaps_total") == 0


def test_recount_reads_whole_hours_and_keeps_no_ids(begin: Open) -> None:
    care = begin(stream={"mode": "recount"})
    care.service.faults.on("repeated_rows")
    care.wait(HOUR)
    care.happen(count=130)
    care.wait(5 * MINUTE)
    care.poll()
    before = care.events()
    care.happen(ago=4 * MINUTE, count=2)

    care.poll()

    assert (before, care.events()) == (130, 132)
    assert care.ledger.sizes()[2]["seen_event"] == 0


@pytest.mark.parametrize("mode", ["ids", "recount"])
def test_history_counts_the_same_in_either_mode(mode: str, begin: Open) -> None:
    care = begin(
        first=False,
        start="history",
        lookback="2d",
        stream={"mode": mode},
        bots=[{"id": "b7x2k9", "alias": "care", "versions": ["LIVE"]}],
    )
    care.happen(count=9, ago=50 * HOUR)
    care.happen(count=30, ago=10 * HOUR)
    care.happen(count=4, ago=20 * MINUTE)
    care.wait(HOUR)

    care.poll()
    care.read_past()

    assert care.events() == 34
    care.happen(count=2)
    care.wait(DAY)
    care.poll()
    care.read_past()
    assert care.events() == 36
    assert care.counted("retracted_total") == care.counted("revisions_total") == 0


@pytest.mark.parametrize(("before", "after"), [("ids", "recount"), ("recount", "ids")])
def test_history_counts_once_when_the_mode_changes(before: str, after: str, begin: Open) -> None:
    care = begin(
        first=False,
        start="history",
        stream={"mode": before},
        bots=[{"id": "b7x2k9", "alias": "care", "versions": ["LIVE"]}],
    )
    care.happen(count=30, ago=10 * HOUR)
    care.wait(HOUR)
    care.poll()
    care.read_past()

    care.reconfigure(stream={"mode": after})
    care.poll()
    care.read_past()

    assert care.events() == 30


def test_recount_keeps_hours_that_the_api_no_longer_has_and_records_the_gap(begin: Open) -> None:
    care = begin(stream={"mode": "recount", "max_age": "24h"})
    gone = care.happen(count=40, ago=-10 * MINUTE)
    care.wait(30 * MINUTE)
    care.poll()
    care.traffic.retract(gone, care.clock.now_ms() + 24 * HOUR)
    care.wait(30 * HOUR)
    care.happen(count=7, ago=2 * HOUR)

    outcomes = [care.poll().outcome for _ in range(4)]

    assert set(outcomes) == {"ok"}
    assert care.events() == 47
    assert care.counted("retracted_total") == 0
    assert care.counted("coverage_gaps_total") == 1
    assert care.counted("coverage_gap_seconds_total") == pytest.approx(7 * 3600, abs=3600)


def test_recount_leaves_out_what_was_stamped_before_the_first_poll(begin: Open) -> None:
    care = begin(first=False, stream={"mode": "recount"})
    care.happen(ago=5 * MINUTE, count=9)
    care.poll()
    care.happen(ago=10 * MINUTE, late=11 * MINUTE)
    care.happen(count=2)
    care.wait(2 * MINUTE)

    care.poll()

    assert care.events() == 2


def test_recount_counts_nothing_from_before_an_event_was_mapped(begin: Open) -> None:
    care = begin(stream={"mode": "recount"}, events={})
    care.happen(count=9)
    care.wait(2 * MINUTE)
    care.poll()
    assert care.events() == 9

    care.reconfigure(events={"event_map": {"handover": "chatbot_handovers_total"}})
    care.poll()
    care.happen(count=2)
    care.wait(2 * MINUTE)
    care.poll()

    handovers = {("care", "live", "web"): 2, ("care", "live", ""): 0}
    assert care.shown("chatbot_handovers_total") == handovers
    assert care.events() == 11


def test_team_events_count_by_their_own_version_what_no_bot_query_counts(begin: Open) -> None:
    care = begin(
        first=False,
        team_id="t4q8w1",
        collectors=["events", "team_events"],
        bots=[{"id": "b7x2k9", "alias": "care", "versions": ["LIVE"]}],
    )
    care.poll("team_events")
    care.happen(environment="staging", count=3)
    care.happen(environment="main", count=5)
    care.wait(2 * MINUTE)

    care.poll("team_events")

    assert care.shown("chatbot_events_total", "team_events") == {
        ("care", "draft", "web", "handover"): 3
    }


def test_an_allow_list_that_changes_counts_nothing_twice(begin: Open) -> None:
    care = begin()
    care.happen(Kind.SEARCH, count=4)
    care.wait(2 * MINUTE)
    care.poll()
    care.reconfigure(events={"allow": ["search_submitted"]})
    care.happen(Kind.SEARCH, count=2)
    care.wait(2 * MINUTE)

    care.poll()

    assert care.events() == 6


@pytest.mark.parametrize("too_large", ["in pages", "in events"])
def test_a_slice_that_is_too_large_is_halved_until_it_is_drained(
    too_large: str, begin: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 2 if too_large == "in pages" else 200
    if too_large == "in events":
        monkeypatch.setattr(rows, "MOST_ITEMS", 300)
    care = begin(stream={"max_pages": pages})
    before = len(care.service.requests)
    for number in range(100):
        care.happen(count=10, ago=-number * 6000)
    care.wait(20 * MINUTE)

    assert care.poll().outcome == "ok"

    assert care.events() == 1000
    assert len(care.service.requests) - before > 12  # ten pages and what was halved


def test_a_poll_goes_on_when_its_pages_went_into_slices_that_were_too_long(begin: Open) -> None:
    stream = {"max_pages": 2, "overlap": "1s"}
    care = begin(stream=stream, requests_per_second=FEW_PAGES / POLL_SECONDS)
    for number in range(100):
        care.happen(count=10, ago=-number * 6000)
    care.wait(20 * MINUTE)

    outcomes = [care.poll().outcome for _ in range(60)]

    assert set(outcomes) == {"ok"}
    assert care.events() == 1000


def test_an_overlap_with_more_pages_than_a_poll_delays_nothing(begin: Open) -> None:
    care = begin(stream={"max_pages": 2}, requests_per_second=10 / POLL_SECONDS)
    for minute in range(45):
        care.happen(count=50, ago=-minute * MINUTE)
        care.happen(count=50, ago=-minute * MINUTE - 30_000)
    end_ms = START_MS + 45 * MINUTE

    while care.clock.now_ms() < end_ms:
        care.wait(MINUTE)
        assert care.poll().outcome == "ok"

    assert care.clock.now_ms() - (care.claimed().watermark_ms or 0) < 20 * MINUTE
    assert care.events() > 3000


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


@pytest.mark.parametrize("token", ["secret", ":secret", "id:"])
def test_a_token_without_its_two_halves_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        target({"token": token, "bots": ["B1"]}).sign()

    assert "secret" not in str(caught.value).replace("tokenId:tokenSecret", "")


@pytest.mark.parametrize(
    ("listed", "volume", "token"),
    [
        ("event_definitions", "volume_30_day", "next_page_token"),
        ("eventDefinitions", "volume30Day", "nextPageToken"),
    ],
)
def test_definitions_are_read_in_snake_case_and_in_camel_case(
    listed: str, volume: str, token: str
) -> None:
    def vendor(sent: Any) -> Any:
        if "page_token" in sent:
            return {listed: [{"event": "quiet"}]}
        return {listed: [{"event": "goal", volume: "4"}], token: "t"}

    built = target({"token": "a:b", "bots": ["B1"], "collectors": ["definitions"]})
    request = PollRequest(Window(START_MS - HOUR_MS, START_MS), START_MS)

    (reading,) = read(built, built.queries[0], played(vendor), request)

    assert {row.series[1][-1]: row.value for row in reading.lists} == {"goal": 4, "quiet": 0}
