"""Buckets that an answer leaves out, which stay as they are (specification: counting.md#readings)."""

import random
from typing import Any

import pytest

from exporter.ledger.tables import gap
from exporter.model.query import LabelRule
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from tests.ledger.conftest import Start
from tests.ledger.test_periods import GAUGE
from tests.ledger.test_worked_examples import at
from tests.support.builders import RECEIVED, spec
from tests.support.driver import LedgerDriver

SITE = {"channel": LabelRule({"web": "site"})}


def poll(driver: LedgerDriver, channel: str, hours: dict[int, float], *absent: int) -> bool:
    """Poll an API that leaves some hours out; return whether the reading was held back."""
    rows = {(channel, at(hour)): n for hour, n in hours.items() if hour not in absent}
    return driver.poll(rows, absent=frozenset(map(at, absent))).held


def test_an_hour_that_is_left_out_stays_and_counts_when_it_comes(start: Start) -> None:
    driver = start()
    poll(driver, "web", {8: 50, 9: 50})
    for absent in ((9, 10), (8, 10), (10,), ()):
        poll(driver, "web", {8: 51, 9: 53, 10: 2}, *absent)

    assert driver.counter("web") == 1 + 3 + 2
    assert driver.counted("retracted_total") == 0


def test_an_answer_that_differs_only_in_what_it_leaves_out_is_another_one(start: Start) -> None:
    driver = start()
    poll(driver, "web", {9: 50})
    poll(driver, "web", {8: 4, 9: 57})
    for absent in ((8,), (8,), ()):
        poll(driver, "web", {9: 57}, *absent)

    assert driver.counted("retracted_total") == 4


def test_hours_that_are_left_out_are_no_collapse_and_do_not_hide_one(start: Start) -> None:
    driver = start()
    hours = dict.fromkeys(range(6, 11), 500.0)
    poll(driver, "web", hours)

    assert not poll(driver, "web", hours, *range(7, 11))
    assert not poll(driver, "web", hours, *range(11))
    assert poll(driver, "web", {}, 8, 9)
    assert poll(driver, "web", {}, 8, 9)
    assert not poll(driver, "web", hours, 9)
    assert driver.counted("provider_resets_total") == driver.counter("web") == 0


@pytest.mark.parametrize("history", [False, True])
def test_a_series_that_is_renamed_goes_on_though_hours_are_left_out(
    start: Start, history: bool
) -> None:
    traits: dict[str, Any] = {"lookback_ms": 6 * HOUR_MS, "history": history}
    driver = start(**traits)
    poll(driver, "web", {8: 50, 9: 50})
    poll(driver, "web", {8: 50, 9: 57}, 10)
    driver.reopen(spec(**traits, label_rules=SITE))
    for number in (0, 3, 5):
        poll(driver, "site", {8: 50, 9: 57 + number}, 10)

    assert driver.counters()["site"] == 5
    assert driver.counted("retracted_total") == driver.counted("written_off_total") == 0


@pytest.mark.parametrize("changed", ["names", "cap"])
def test_an_hour_that_is_left_out_when_names_change_is_not_counted_again(
    start: Start, changed: str
) -> None:
    before: dict[str, Any] = {} if changed == "names" else {"caps": {RECEIVED: 1}}
    after: dict[str, Any] = {"label_rules": SITE} if changed == "names" else {"caps": {RECEIVED: 9}}
    name = "site" if changed == "names" else "sms"
    driver = start(**before)
    other = {("app", at(hour)): 1.0 for hour in (8, 9, 10)}
    sms = "web" if changed == "names" else "sms"
    hours = other | {(sms, at(hour)): 50.0 for hour in (8, 9)}
    driver.poll(hours)
    driver.poll(hours | {(sms, at(9)): 57.0})

    driver.reopen(spec(**after))
    now = other | {(name, at(8)): 50.0, (name, at(9)): 57.0}
    driver.poll({key: n for key, n in now.items() if key[1] != at(9)}, absent=frozenset({at(9)}))
    driver.poll(now)
    driver.poll(now | {(name, at(10)): 4.0})

    assert driver.counters()[name] == 4


def test_a_poll_in_parts_that_leaves_hours_out_counts_no_renamed_hour_again(start: Start) -> None:
    driver = start()
    poll(driver, "web", {8: 50, 9: 50, 10: 1})
    driver.reopen(spec(label_rules=SITE))
    claim = driver.claim()
    early = Window(driver.window(claim).start_ms, at(9))
    driver.apply(claim, Reading(early, absent=frozenset({at(8)}), more=True))
    rows = {("site", at(9)): 50.0, ("site", at(10)): 1.0}
    late = Window(at(9), driver.window(claim).end_ms)
    driver.poll(rows, claim=claim, window=late)

    poll(driver, "site", {8: 50, 9: 50, 10: 3})

    assert driver.counters() == {"site": 2}


def test_a_newest_hour_that_is_left_out_is_neither_0_nor_an_hour_of_engagement(
    start: Start,
) -> None:
    driver = start(lookback_ms=6 * HOUR_MS)
    shown, judged = dict[int, list[float]](), dict[int, bool]()
    for number in range(16):
        claim = driver.claim()
        window = driver.window(claim)
        starts = range(window.start_ms, window.end_ms, HOUR_MS)
        absent = frozenset(a for a in starts if a >= at(11) and 2 <= number < 13)
        there = {at_ms: 5.0 for at_ms in starts if at_ms not in absent}
        driver.poll(there, claim=claim, absent=absent)
        shown[number] = [value for key, value in driver.shown(GAUGE).items() if "hour" in key]
        found = driver.ledger.settled_hours(driver.spec.key, 48)
        judged[number] = bool(found and any(found.bots.values()))
        driver.clock.step(HOUR_MS)

    assert {tuple(values) for values in shown.values()} == {(5,), ()}
    assert [number for number, values in shown.items() if values] == [0, 1, 13, 14, 15]
    assert [number for number, hours in judged.items() if hours] == [0, 1, 13, 14, 15]
    assert driver.rows(gap) == 1


def test_an_audit_compares_only_the_hours_that_it_gets(start: Start) -> None:
    past: dict[str, Any] = {"initial_lookback_ms": 10 * DAY_MS, "span_ms": 3 * DAY_MS}
    driver = start(**past)
    now_ms = at(10)
    hours = {now_ms - hour * HOUR_MS: 100.0 for hour in range(9 * 24)}
    gaps = frozenset(at_ms for at_ms in range(now_ms - 10 * DAY_MS, now_ms, 3 * HOUR_MS))
    there = {a: n for a, n in hours.items() if a not in gaps}
    slices = 0
    for _ in range(2):
        claim = driver.claim()
        window = driver.window(claim)
        driver.poll({a: n for a, n in hours.items() if window.holds(a)}, claim=claim)
        while driver.read_slice(there, absent=gaps) is not None:
            slices += 1
        driver.clock.step(DAY_MS)

    audit = driver.view().state.audit
    assert audit is not None
    assert slices <= 8
    assert (audit.missing, audit.different) == (0, 0)
    assert audit.equal <= len(there)
    assert driver.counter() == 0


@pytest.mark.parametrize("history", [False, True])
def test_whatever_answers_leave_out_the_counter_has_everything_in_the_end(
    start: Start, history: bool
) -> None:
    chance = random.Random(7)  # noqa: S311 - the same each time
    past = {"initial_lookback_ms": 2 * DAY_MS, "span_ms": 12 * HOUR_MS} if history else {}
    driver = start(history=history, lookback_ms=12 * HOUR_MS, **past)
    started_ms, log = at(11), dict[int, float]()
    floor_ms, base = 0, 0.0
    for number in range(60):
        now_ms = driver.clock.now_ms()
        for at_ms in range(started_ms - 3 * DAY_MS, now_ms, HOUR_MS):
            fresh = at_ms > now_ms - 3 * HOUR_MS or at_ms not in log
            log[at_ms] = log.get(at_ms, 0) + (chance.randrange(9) if fresh else 0)
        claim = driver.claim()
        window = driver.window(claim)
        starts = range(window.start_ms, window.end_ms, HOUR_MS)
        whole = number in (0, 59) or number % 8 == 0
        absent = frozenset(a for a in starts if not whole and chance.random() < 0.4)
        there = {a: n for a, n in log.items() if window.holds(a) and a not in absent}
        assert not driver.poll(there, claim=claim, absent=absent).held
        if not floor_ms:
            floor_ms, base = window.start_ms, 0.0 if history else sum(there.values())
        while driver.read_slice(log) is not None:
            pass
        driver.clock.step(HOUR_MS // 2)

    since_ms = started_ms - 2 * DAY_MS if history else floor_ms
    assert driver.counter() == sum(n for a, n in log.items() if a >= since_ms) - base
