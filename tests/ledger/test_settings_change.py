"""What a change of settings does to counters that live on (specification: counting.md)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from exporter.errors import ClaimLost, LedgerError, SchemaError
from exporter.ledger.tables import series
from exporter.model.query import LabelRule
from exporter.model.samples import (
    BASE,
    HOUR_MS,
    CountRow,
    Family,
    GaugeRow,
    MetricType,
    Reading,
    Window,
)
from exporter.providers.base.rows import shorten
from tests.ledger.conftest import Start
from tests.ledger.test_worked_examples import at
from tests.support.builders import RECEIVED, received, spec
from tests.support.driver import LedgerDriver

SENT = "chatbot_messages_sent_total"
BOTH = {RECEIVED: "in", SENT: "out"}
SITE = {"channel": LabelRule({"web": "site"})}


def test_a_query_under_another_name_goes_on_with_the_series_of_the_old(start: Start) -> None:
    driver = start(name="hourly/main")
    driver.poll({at(10): 50.0})
    driver.poll({at(10): 57.0})
    driver.counter()

    driver.reopen(spec(name="hourly"))
    driver.poll({at(10): 60.0})
    driver.poll({at(10): 61.0})

    assert driver.counter() == 11


def test_an_alias_that_changes_and_changes_back_counts_nothing_twice(start: Start) -> None:
    shop, store = (
        spec(name=f"hourly/{alias}", label_rules={"channel": LabelRule({"64b1": alias})})
        for alias in ("shop", "store")
    )
    driver = start(name=shop.name, label_rules=shop.label_rules)
    driver.poll({("shop", at(10)): 50.0})
    driver.poll({("shop", at(10)): 57.0})
    driver.reopen(store)
    driver.poll({("store", at(10)): 57.0})
    driver.poll({("store", at(10)): 60.0, ("store", at(11)): 5.0})
    assert driver.counters() == {"store": 8}

    driver.reopen(shop)
    driver.poll({("shop", at(10)): 60.0, ("shop", at(11)): 5.0})
    driver.poll({("shop", at(10)): 61.0, ("shop", at(11)): 5.0})

    assert driver.counters() == {"shop": 8}


def test_a_query_that_returns_beside_its_former_self_begins_anew(start: Start) -> None:
    """Ledgers of earlier versions have two queries of one meaning: one of them was removed."""
    driver = start(name="hourly/shop")
    driver.poll({("shop", at(10)): 57.0})
    driver.reopen(spec(name="hourly/store", meaning={"v": 2}))
    driver.reopen(spec(name="hourly/store"))
    driver.poll({("store", at(10)): 57.0})
    driver.poll({("store", at(10)): 60.0})

    driver.reopen(spec(name="hourly/shop"))
    driver.poll({("shop", at(10)): 60.0})
    driver.poll({("shop", at(10)): 61.0})

    assert driver.counters() == {"shop": 1}


def test_an_alias_that_another_bot_takes_goes_on_there(start: Start) -> None:
    one = spec(name="hourly/shop", label_rules={"channel": LabelRule({"1": "shop"})})
    moved = spec(name="hourly/old", label_rules={"channel": LabelRule({"1": "old"})})
    two = spec(name=one.name, label_rules={"channel": LabelRule({"2": "shop"})}, meaning={"v": 2})
    driver = start(name=one.name, label_rules=one.label_rules)
    driver.poll({("shop", at(10)): 50.0})
    driver.poll({("shop", at(10)): 57.0})
    driver.reopen(moved)
    driver.poll({("old", at(10)): 57.0})

    driver.reopen(two, moved)
    for shop, old in ((20.0, 60.0), (21.0, 60.0)):
        for _ in range(2):
            claim = driver.claim()
            name, units = ("shop", shop) if claim.query == two.name else ("old", old)
            driver.poll({(name, at(10)): units}, claim=claim)

    assert {name: each.counter for name, each in driver.numbers().items()} == {"shop": 8, "old": 3}


def test_a_query_of_another_meaning_takes_over_every_series_at_once(start: Start) -> None:
    hours = {(f"c{number}", at(hour)): 100.0 for number in range(8) for hour in (9, 10)}
    traits = {"initial_lookback_ms": 0, "caps": {RECEIVED: 10}}
    driver = start(name="hourly/shop", **traits)
    driver.poll(hours)

    driver.reopen(spec(name="hourly/store", meaning={"v": 2}, **traits))
    driver.poll(hours)
    driver.poll({key: value + 1 for key, value in hours.items()})

    assert driver.counters() == {f"c{number}": 2 for number in range(8)}
    assert driver.dropped() == set()


def test_a_target_of_another_provider_has_series_of_its_own(start: Start) -> None:
    acme, chat = (
        spec(provider=name, known=(received(),), meaning={"v": name}) for name in ("acme", "chat")
    )
    driver = start(provider="acme", known=acme.known, meaning=acme.meaning)
    driver.poll({at(10): 10.0})
    driver.poll({at(10): 15.0})
    assert driver.counter() == 5

    driver.reopen(chat)
    driver.poll({at(10): 15.0})
    driver.poll({at(10): 22.0})
    driver.counter()
    shown = providers(driver)
    driver.reopen(acme)
    driver.poll({at(10): 30.0})
    driver.poll({at(10): 31.0})

    assert shown == {"chat": 7}
    assert providers(driver) == {"acme": 6}


def providers(driver: LedgerDriver) -> dict[str, float]:
    """Return the counters shown, by their label ``provider``."""
    return {each.labels[0]: each.value for each in driver.view().shown if each.family == RECEIVED}


def test_a_target_that_returns_counts_what_nobody_counted(start: Start) -> None:
    driver = start()
    driver.poll({at(10): 50.0})
    driver.reopen(spec(target="other"))
    driver.reopen(spec())
    driver.poll({at(10): 61.0})

    assert driver.counter() == 11


def test_two_queries_cannot_feed_one_series(start: Start) -> None:
    driver = start(name="hourly/main")
    driver.poll({at(10): 50.0})
    driver.sync(driver.spec, spec(name="hourly/test"))

    with pytest.raises(SchemaError, match="already fed by another query"):
        driver.poll({at(10): 1.0})


def test_a_family_that_another_query_feeds_from_now_on_continues_there(start: Start) -> None:
    main, test = spec(name="hourly/main"), spec(name="hourly/test", meaning={"v": 2})
    driver = start(name=main.name)
    driver.poll({at(10): 50.0})
    driver.poll({at(10): 57.0})
    driver.counter()

    driver.reopen(test, replace(main, meaning={"v": 3}, fields={}))
    for units in (5.0, 6.0):
        for _ in range(2):
            claim = driver.claim()
            driver.poll({at(10): units} if claim.query == test.name else {}, claim=claim)

    assert driver.counter() == 8


def test_a_family_that_a_query_no_longer_feeds_is_shown_again_when_it_does(start: Start) -> None:
    driver = start(fields=BOTH)
    sent, shown = (SENT, received()[1]), []

    for version, fields in enumerate([BOTH, {RECEIVED: "in"}, BOTH], 1):
        driver.reopen(spec(meaning={"v": version}, fields=fields))
        for _ in range(50):
            driver.poll(counts=[(sent, at(10), 7.0)] if fields == BOTH else [])
            driver.clock.step(HOUR_MS)
        shown.append({each.family for each in driver.view().shown if "sent" in each.family})

    assert shown == [{SENT, "chatbot_period_messages_sent"}, set(), shown[0]]


def test_a_raised_cap_counts_no_history(start: Start) -> None:
    names = [f"c{number}" for number in range(3)]
    driver = start(caps={RECEIVED: 2})
    driver.poll({(name, at(10)): 100.0 for name in names})
    driver.poll({(name, at(10)): 101.0 for name in names})
    assert driver.counter("other") == 1

    driver.reopen(spec(caps={RECEIVED: 10}))
    driver.poll({(name, at(10)): 102.0 for name in names})
    driver.poll({(name, at(10)): 103.0 for name in names})

    driver.confirm_zero_scraped()
    assert driver.shown() == {
        ("shop", "", "c0"): 3,
        ("shop", "", "c1"): 3,
        ("shop", "", "c2"): 1,
        ("shop", "", "other"): 1,
    }


def test_a_ledger_that_knows_no_cap_of_a_family_goes_on(start: Start) -> None:
    driver = start()
    driver.poll({("other", at(10)): 100.0})

    driver.reopen(spec(caps={RECEIVED: 60}))
    driver.poll({("other", at(10)): 102.0})

    assert driver.counter("other") == 2


@pytest.mark.parametrize("cap", ["target_cap", "total_cap"])
def test_a_raised_cap_of_targets_counts_no_history(start: Start, cap: str) -> None:
    driver = start(**{cap: 1})
    driver.poll({("web", at(10)): 100.0, ("sms", at(10)): 50.0})

    driver.reopen(spec(**{cap: 10}))
    driver.poll({("web", at(10)): 100.0, ("sms", at(10)): 50.0})
    driver.poll({("web", at(10)): 101.0, ("sms", at(10)): 52.0})

    assert (driver.counter("web"), driver.counter("sms")) == (1, 2)


@pytest.mark.parametrize(
    ("changed", "channel"),
    [({"label_rules": {}}, "c0"), ({"label_value_bytes": 16}, shorten("long" * 9, 16))],
    ids=["alias", "length"],
)
def test_a_value_that_a_renaming_moves_into_other_counts_no_history(
    start: Start, changed: Mapping[str, Any], channel: str
) -> None:
    alias = {"channel": LabelRule({"c0": "long" * 9})}
    driver = start(caps={RECEIVED: 1}, label_rules=alias)
    driver.poll({("long" * 9, at(10)): 1000.0, ("mail", at(10)): 5.0})

    driver.reopen(spec(caps={RECEIVED: 1}, **{"label_rules": alias, **changed}))
    driver.poll({(channel, at(10)): 1000.0, ("mail", at(10)): 5.0})
    driver.poll({(channel, at(10)): 1001.0, ("mail", at(10)): 7.0})

    assert driver.counter("other") == 1 + 2
    assert driver.counted("retracted_total") == 0


def test_a_value_that_leaves_an_allowed_name_counts_no_history(start: Start) -> None:
    def ruled(**aliases: str) -> dict[str, LabelRule]:
        return {"project": LabelRule(aliases, frozenset({"shop"}))}

    def rows(shop: float, other: float) -> list[CountRow]:
        return [
            (received("web", project), at(10), n)
            for project, n in (("shop", shop), ("other", other))
        ]

    driver = start(label_rules=ruled(store="shop"))
    driver.poll(counts=rows(1000, 5))

    driver.reopen(spec(label_rules=ruled()))
    driver.poll(counts=rows(300, 705))
    driver.poll(counts=rows(301, 707))

    driver.confirm_zero_scraped()
    assert driver.shown() == {("shop", "", "web"): 1, ("other", "", "web"): 2}
    assert driver.counted("retracted_total") == 0


def test_hours_from_before_a_renaming_are_not_read_as_growth(start: Start) -> None:
    hours = {("web", at(hour)): 50.0 for hour in range(5, 11)}
    driver = start(lookback_ms=6 * HOUR_MS)
    driver.poll(hours)
    driver.poll(hours | {("web", at(10)): 57.0})
    assert driver.counter("web") == 7

    renamed = {("site", start_ms): value for (_, start_ms), value in hours.items()}
    driver.reopen(spec(lookback_ms=2 * HOUR_MS, label_rules=SITE))
    driver.poll({key: value for key, value in renamed.items() if key[1] >= at(9)})
    driver.reopen(spec(lookback_ms=6 * HOUR_MS, label_rules=SITE))
    driver.poll(renamed | {("site", at(10)): 52.0})

    assert driver.counter("site") == 2
    assert driver.counted("retracted_total") == 0


@pytest.mark.parametrize(("before", "after"), [(128, 64), (64, 128)])
def test_labels_that_are_cut_elsewhere_count_no_history(
    start: Start, before: int, after: int
) -> None:
    hours = [at(hour) for hour in range(5, 11)]

    def numbers(limit: int, number: float) -> dict[tuple[str, int], float]:
        long = shorten("x" * 100, limit)
        return {(name, hour): number for name in (long, "web") for hour in hours}

    driver = start(lookback_ms=6 * HOUR_MS, label_value_bytes=before)
    driver.poll(numbers(before, 50))
    driver.reopen(spec(lookback_ms=6 * HOUR_MS, label_value_bytes=after))
    driver.poll(numbers(after, 51))
    driver.poll(numbers(after, 53))

    counters = driver.counters()
    assert (counters[shorten("x" * 100, after)], counters["web"]) == (2 * 6, 3 * 6)
    assert driver.counted("retracted_total") == 0


def test_a_listed_name_that_is_cut_stays_when_the_list_grows(start: Start) -> None:
    long, traits = "x" * 40, {"label_value_bytes": 16}
    cut = shorten(long, 16)
    listed = {"channel": LabelRule(allow=frozenset({"web", long}))}
    driver = start(label_rules=listed, **traits)
    driver.poll({(cut, at(10)): 50.0})

    longer = {"channel": LabelRule(allow=frozenset({"web", "sms", long}))}
    driver.reopen(spec(label_rules=longer, **traits))
    driver.poll({(cut, at(10)): 50.0})
    driver.poll({(cut, at(10)): 53.0})

    assert driver.counters() == {cut: 3}


def test_the_day_of_a_renaming_is_not_shown_in_part(start: Start) -> None:
    driver = start(at(0, 5), lookback_ms=2 * HOUR_MS)
    driver.poll({})
    days = []
    for hour in range(1, 50):
        driver.clock.step(HOUR_MS)
        if hour == 12:
            driver.reopen(spec(lookback_ms=2 * HOUR_MS, label_rules=SITE))
        channel = "web" if hour < 12 else "site"
        driver.poll({(channel, at(0) + (hour - back) * HOUR_MS): 10.0 for back in range(3)})
        shown = driver.shown("chatbot_period_messages_received")
        days.append({value for labels, value in shown.items() if labels[-1] == "day"})

    assert set().union(*days) == {240.0}


def test_the_parts_of_a_poll_after_a_renaming_all_count_from_the_first(start: Start) -> None:
    driver = start(lookback_ms=4 * HOUR_MS)
    driver.poll({("web", at(hour)): 50.0 for hour in range(7, 11)})
    driver.reopen(spec(lookback_ms=4 * HOUR_MS, label_rules=SITE))
    poll_in_two(driver, {at(hour): 50.0 for hour in range(7, 11)}, at(9))

    driver.poll({("site", at(hour)): 51.0 for hour in range(7, 11)})

    assert driver.counter("site") == 4


@pytest.mark.parametrize("then", [{}, {"channel": LabelRule({"web": "home"})}])
def test_names_that_change_again_after_a_poll_broke_off_count_nothing_twice(
    start: Start, then: Mapping[str, LabelRule]
) -> None:
    both = {"channel": LabelRule({"web": "site", "app": "site"})}
    web = "home" if then else "web"
    hours = {(name, at(hour)): 50.0 for name in ("web", "app") for hour in range(7, 11)}
    driver = start(lookback_ms=4 * HOUR_MS)
    driver.poll(hours)
    driver.poll(hours | {("web", at(10)): 57.0, ("app", at(10)): 53.0})

    driver.reopen(spec(lookback_ms=4 * HOUR_MS, label_rules=both))
    claim = driver.claim()
    first = [(received("site"), at(hour), 100.0) for hour in (7, 8)]
    driver.apply(claim, Reading(Window(at(7), at(9)), counts=first, more=True))
    driver.fail(claim)
    driver.reopen(spec(lookback_ms=4 * HOUR_MS, label_rules=then))
    now = {(web, at(10)): 57.0, ("app", at(10)): 53.0}
    same = {(web if name == "web" else name, at_ms): n for (name, at_ms), n in hours.items()}
    driver.poll(same | now)
    before = driver.counter(web)
    driver.poll(same | now | {(web, at(10)): 58.0, ("app", at(10)): 55.0})

    assert driver.counter("app") == 3 + 2
    assert (before, driver.counter(web)) == ((0, 1) if then else (7, 8))
    assert driver.counted("retracted_total") == 0


def test_a_raised_cap_counts_no_history_after_a_poll_that_broke_off(start: Start) -> None:
    driver = start(caps={RECEIVED: 1})
    early = {("web", at(8)): 10.0, ("sms", at(8)): 7.0}
    late = {("web", at(10)): 10.0, ("sms", at(10)): 70.0}
    driver.poll(early | late)
    driver.reopen(spec(caps={RECEIVED: 60}))

    claim = driver.claim()
    first = [(received(channel), hour, n) for (channel, hour), n in early.items()]
    window = Window(driver.window(claim).start_ms, at(9))
    driver.apply(claim, Reading(window, counts=first, more=True))
    driver.fail(claim)
    driver.poll(early | late)
    driver.poll(early | late | {("sms", at(10)): 73.0})

    assert driver.counters() == {"web": 0, "sms": 3, "other": 0}


@pytest.mark.parametrize("parts", [1, 2])
def test_a_family_that_is_missing_after_a_renaming_counts_no_history_later(
    start: Start, parts: int
) -> None:
    def rows(channel: str, of_family: float, of_others: float) -> list[CountRow]:
        others = SENT, ("shop", "", channel)
        return [(received(channel), at(10), of_family), (others, at(10), of_others)]

    driver = start(fields=BOTH)
    driver.poll(counts=rows("web", 1000, 500))
    driver.reopen(spec(label_rules=SITE, fields=BOTH))
    missing, floors = frozenset({RECEIVED}), []
    for number in (500, 501, 502):
        claim = driver.claim()
        floors.append(claim.floor_ms or 0)
        if parts == 2:
            first = Window(driver.window(claim).start_ms, at(9))
            driver.apply(claim, Reading(first, kept=missing, more=True))
        driver.poll(claim=claim, counts=rows("site", 0, number)[1:], kept=missing)
        driver.clock.step(HOUR_MS)

    driver.reopen()
    held = [driver.poll(counts=rows("site", number, 503)).held for number in (1000, 1001, 1003)]

    assert driver.counters() == {"site": 3}
    driver.confirm_zero_scraped()
    assert driver.shown(SENT) == {("shop", "", "site"): 3}
    assert not any(held)
    assert driver.counted("written_off_total") == driver.counted("retracted_total") == 0
    assert floors[1] == floors[2] < (driver.claim().floor_ms or 0)


def test_a_label_that_a_family_got_later_is_empty_in_an_older_ledger(start: Start) -> None:
    driver = start(name="hourly/main")
    driver.poll({at(10): 50.0})
    driver.poll({at(10): 57.0})
    with driver.transaction() as tx:
        text = sa.func.replace(series.c.labels, '"channel":"",', "")
        tx.execute(sa.update(series).values(labels=text))

    driver.reopen(spec(name="hourly/main", known=(received(),)))
    shown = [each for each in driver.view().shown if each.family == RECEIVED]
    driver.reopen(spec(name="hourly"))
    driver.poll({at(10): 60.0})
    driver.poll({at(10): 61.0})

    assert len(shown) == 1
    assert driver.counter() == 11


def test_a_new_name_for_every_channel_is_no_collapse(driver: LedgerDriver) -> None:
    driver.poll({("web", at(11)): 500.0})
    driver.poll({("web", at(11)): 900.0})
    driver.reopen(spec(label_rules=SITE))

    applied = driver.poll({("site", at(11)): 950.0})
    driver.poll({("site", at(11)): 957.0})

    assert not applied.held
    assert driver.counter("site") == 7
    assert driver.counted("provider_resets_total") == 0
    assert driver.counted("retracted_total") == 0


def test_a_channel_that_first_appears_after_a_renaming_of_another_counts(
    driver: LedgerDriver,
) -> None:
    driver.poll({("web", at(11)): 5.0})
    driver.reopen(spec(label_rules=SITE))

    driver.poll({("site", at(11)): 5.0, ("sms", at(11)): 3.0})

    assert driver.counter("sms") == 3


def test_history_is_counted_once_when_the_meaning_changes(driver: LedgerDriver) -> None:
    driver.reopen(spec(history=True))
    driver.poll({at(11): 40.0})
    driver.reopen(spec(history=True, meaning={"v": 2}))

    driver.poll({at(11): 41.0})
    driver.poll({at(11): 44.0})

    assert driver.counter() == 43


def test_history_may_be_asked_for_until_counting_has_begun(driver: LedgerDriver) -> None:
    driver.reopen(spec(history=True))
    driver.poll({at(11): 40.0})

    driver.reopen()
    driver.poll({at(11): 41.0})

    assert driver.counter() == 41


def test_a_collapse_in_the_second_part_of_a_poll_is_confirmed_like_any_other(
    driver: LedgerDriver,
) -> None:
    rows = {at(10): 10.0, at(11): 400.0}
    assert not any(poll_in_two(driver, rows, at(11)))

    outcomes = [any(poll_in_two(driver, rows | {at(11): 1.0}, at(11))) for _ in range(4)]

    assert outcomes == [True, True, False, False]


def test_a_part_that_collapses_while_another_is_quarantined_is_not_confirmed_by_it(
    driver: LedgerDriver,
) -> None:
    rows = {at(10): 400.0, at(11): 400.0}
    later, earlier = rows | {at(11): 1.0}, rows | {at(10): 1.0}
    polls = [rows, later, later, earlier, rows]

    held = [poll_in_two(driver, each, at(11)) for each in polls]
    repeated = [poll_in_two(driver, later, at(11)) for _ in range(3)]

    assert held == [[False, False], [False, True], [False, True], [True], [False, False]]
    assert repeated == [[False, True], [False, True], [False, False]]
    assert (driver.counter("site"), driver.counted("provider_resets_total")) == (0, 1)


def test_the_parts_after_a_confirmed_one_wait_no_longer(driver: LedgerDriver) -> None:
    rows = {at(10): 400.0, at(11): 400.0}
    poll_in_two(driver, rows, at(11))

    held = [poll_in_two(driver, dict.fromkeys(rows, 1.0), at(11)) for _ in range(3)]

    assert held == [[True], [True], [False, False]]


def test_what_a_poll_has_confirmed_that_broke_off_is_not_confirmed_for_other_parts(
    driver: LedgerDriver,
) -> None:
    rows = {at(10): 400.0, at(11): 400.0}
    earlier = rows | {at(10): 1.0}
    polls = [poll_in_two(driver, each, at(11)) for each in (rows, earlier, earlier)]
    claim = driver.claim()
    first = Window(driver.window(claim).start_ms, at(11))
    driver.apply(claim, Reading(first, counts=[(received(), at(10), 1.0)], more=True))
    driver.fail(claim)

    held = poll_in_two(driver, {at(10): 1.0, at(11): 1.0}, at(11))

    assert polls == [[False, False], [True], [True]]
    assert held == [False, True]


def test_a_bucket_is_confirmed_whatever_part_of_a_poll_it_is_in(driver: LedgerDriver) -> None:
    rows = {at(9): 1.0, at(10): 400.0, at(11): 1.0}
    borders = [at(11), at(11), at(10), at(11)]

    held = [
        any(poll_in_two(driver, rows | ({at(10): 1.0} if polled else {}), border))
        for polled, border in enumerate(borders)
    ]

    assert held == [False, True, True, False]


def test_a_part_that_recovers_confirms_nothing_of_a_later_one(driver: LedgerDriver) -> None:
    rows = {at(10): 400.0, at(11): 400.0}
    polls = [rows, *[rows | {at(10): 1.0}] * 2, rows | {at(11): 1.0}, rows]

    held = [poll_in_two(driver, each, at(11)) for each in polls]

    assert held == [[False, False], [True], [True], [False, True], [False, False]]
    assert driver.counter("site") == 0


def test_gauges_and_self_counters_follow_a_renamed_target(driver: LedgerDriver) -> None:
    level = GaugeRow(("chatbot_known_users", ("shop", "")), Window(at(11) - HOUR_MS, at(11)), 7.0)
    driver.poll({at(11): 9.0}, levels=[level])
    driver.poll({at(11): 8.0})
    assert driver.counted("retracted_total", target="shop") == 1

    driver.sync(spec(target="store"), shop="store")
    assert {shown.labels[1] for shown in driver.view().shown} == {"store"}
    driver.poll({at(11): 6.0})

    assert driver.counted("retracted_total", target="shop") == 0
    assert driver.counted("retracted_total", target="store") == 2


def test_settings_that_are_refused_leave_the_families_in_force(driver: LedgerDriver) -> None:
    hits = Family("chatbot_custom_hits_total", MetricType.COUNTER, "Hits.", (*BASE, "channel"), 9)
    fewer = replace(hits, labels=BASE)
    web = hits.name, received("web")[1]
    driver.ledger.sync_queries([spec()], families={hits.name: hits})
    driver.poll(counts=[(web, at(11), 1.0)])

    with pytest.raises(LedgerError, match="start: history"):
        driver.ledger.sync_queries([spec(history=True)], families={hits.name: fewer})
    driver.poll(counts=[(web, at(11), 8.0)])
    driver.shown(hits.name)
    driver.confirm_zero_scraped()

    assert driver.shown(hits.name) == {("shop", "", "web"): 7}


def test_a_target_that_is_renamed_while_it_is_polled_is_due_at_once(driver: LedgerDriver) -> None:
    claim = driver.claim()
    reading = Reading(driver.window(claim), counts=[(received(), at(10), 5.0)])

    driver.sync(spec(target="store"), shop="store")
    again = driver.ledger.claim()

    assert again is not None
    assert again.target == "store"
    with pytest.raises(ClaimLost):
        driver.ledger.apply(claim, reading, started_ms=driver.clock.now_ms())


def poll_in_two(driver: LedgerDriver, hours: Mapping[int, float], cut_ms: int) -> list[bool]:
    """Poll in parts, up to ``cut_ms`` and from there on; return whether each was held back."""
    claim = driver.claim()
    whole = driver.window(claim)
    held = []
    for part in (Window(whole.start_ms, cut_ms), Window(cut_ms, whole.end_ms)):
        counts = [(received("site"), at_ms, n) for at_ms, n in hours.items() if part.holds(at_ms)]
        reading = Reading(part, counts=counts, more=part.end_ms == cut_ms)
        held.append(driver.apply(claim, reading).held)
        if held[-1]:
            break
    driver.end(claim, held=held[-1])
    return held
