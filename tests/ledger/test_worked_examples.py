"""The worked examples of the specification (docs/specification/counting.md), poll by poll."""

import datetime as dt
from typing import Any

import pytest

from exporter.errors import SchemaError
from exporter.model.samples import HOUR_MS
from tests.ledger.conftest import Start
from tests.support.builders import RECEIVED, received, spec
from tests.support.driver import Hours, LedgerDriver

COST = "chatbot_llm_cost_usd_total"


def at(hour: int, minute: int = 0, day: int = 3) -> int:
    return round(dt.datetime(2026, 3, day, hour, minute, tzinfo=dt.UTC).timestamp() * 1000)


def go_to(driver: LedgerDriver, instant_ms: int) -> None:
    driver.clock.step(instant_ms - driver.clock.now_ms())


def numbers(driver: LedgerDriver) -> tuple[float, float]:
    return driver.counter(), driver.overhang()


def test_late_data_and_a_small_retraction_cost_no_accuracy(start: Start) -> None:
    driver = start(at(10, 20))
    polls = [
        ((10, 20), {9: 100, 10: 30}, (0, 0)),
        ((10, 40), {9: 100, 10: 55}, (25, 0)),
        ((11, 10), {9: 104, 10: 80, 11: 12}, (66, 0)),
        ((11, 15), {9: 104, 10: 78, 11: 14}, (66, 0)),
        ((11, 20), {9: 104, 10: 70, 11: 15}, (66, 7)),
        ((12, 5), {9: 104, 10: 70, 11: 40, 12: 3}, (87, 0)),
    ]

    seen = []
    for clock, hours, _ in polls:
        go_to(driver, at(*clock))
        driver.poll({at(hour): value for hour, value in hours.items()})
        seen.append(numbers(driver))

    assert seen == [expected for _, _, expected in polls]


def test_a_large_retraction_is_written_off_after_six_hours(start: Start) -> None:
    driver = start(at(1, 0), history=True)
    driver.poll({at(0): 1000})
    driver.counter()
    seen = []

    for hour in range(8):
        go_to(driver, at(2 + hour, 0))
        hours = {at(0): 600} | {at(2 + h): 20.0 for h in range(hour)}
        driver.poll(hours)
        seen.append((hour, *numbers(driver)))

    assert [seen[0], *seen[5:]] == [(0, 1000, 400), (5, 1000, 300), (6, 1000, 0), (7, 1020, 0)]
    assert driver.counted("written_off_total") == 280


def test_an_outage_inside_the_window_loses_nothing(start: Start) -> None:
    driver = start(at(9, 50))
    driver.poll({at(8): 500})
    go_to(driver, at(10, 10))
    driver.poll({at(8): 1000, at(10): 22})
    assert driver.counter() == 522

    go_to(driver, at(15, 10))
    hours = {8: 1000, 10: 80, 11: 90, 12: 70, 13: 60, 14: 65, 15: 9}
    driver.poll({at(hour): value for hour, value in hours.items()})

    assert driver.counter() == 874


CASES: dict[str, tuple[bool, list[Hours], dict[str, float], float]] = {
    "history is counted when asked for": (
        True, [{at(7): 50, at(8): 60, at(9): 70, at(10): 30}], {"": 210}, 0,
    ),
    "a channel that appears later counts from nothing": (
        False, [{("web", at(10)): 30}, {("web", at(10)): 31, ("sms", at(10)): 4}],
        {"web": 1, "sms": 4}, 0,
    ),
    "a late row of an hour before the first poll counts": (
        False, [{at(9): 5}, {at(9): 5, at(8): 3}], {"": 3}, 0,
    ),
    "an hour that is no longer mentioned is zero": (
        True, [{at(9): 50, at(10): 10}, {at(10): 12}], {"": 60}, 48,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_polls_add_up_to(start: Start, case: str) -> None:
    history, polls, counters, overhang = CASES[case]
    driver = start(history=history)

    for hours in polls:
        driver.poll(hours)

    assert (driver.counters(), driver.overhang()) == (counters, overhang)


def test_rows_older_than_the_first_range_never_count(start: Start) -> None:
    driver = start(lookback_ms=2 * HOUR_MS)
    driver.poll({at(9): 5.0})
    driver.reopen(spec(lookback_ms=9 * HOUR_MS))

    driver.poll({at(9): 6.0, at(3): 1000.0})

    assert driver.counter() == 1


@pytest.mark.parametrize("restarts", [False, True])
def test_a_new_series_is_zero_until_that_was_scraped(
    start: Start,
    restarts: bool,
) -> None:
    driver = start(history=True)
    driver.poll({at(10): 40.0})
    assert driver.shown() == {("shop", "", ""): 0}

    if restarts:
        driver.reopen()
        assert driver.shown() == {("shop", "", ""): 0}
    driver.confirm_zero_scraped()

    assert driver.shown() == {("shop", "", ""): 40}
    if restarts:
        driver.reopen()
        assert driver.shown() == {("shop", "", ""): 40}


def test_a_family_that_could_not_be_read_stays_as_it_was(driver: LedgerDriver) -> None:
    driver.poll({at(10): 5.0})
    driver.poll({at(10): 9.0})

    driver.poll({}, kept=frozenset({RECEIVED}))
    driver.poll({at(10): 10.0})

    assert numbers(driver) == (5, 0)


@pytest.mark.parametrize(
    ("before", "after", "held"),
    [
        ((3, 0.0003), (3, 0.0001), False),  # USD: 300 parts become 100
        ((10_000, 5), (0, 5), True),
        ((0, 500), (0, 10), True),
    ],
)
def test_a_collapse_is_judged_in_units(
    start: Start, before: tuple[float, float], after: tuple[float, float], *, held: bool
) -> None:
    parts = 1_000_000
    driver = start(per_unit={COST: parts})

    def poll(messages: float, dollars: float) -> bool:
        cost = (COST, ("shop", "", "gpt")), at(9), round(dollars * parts)
        return driver.poll(counts=[(received(), at(9), messages), cost]).held

    poll(0, 0)
    poll(*before)

    assert poll(*after) == held


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ({"kept": frozenset({RECEIVED})}, f"{RECEIVED} cannot begin"),
        ({"unfit": "row.chan is absent in all 8 rows"}, "row.chan is absent"),
    ],
)
def test_a_first_read_must_be_whole(
    driver: LedgerDriver, lacks: dict[str, Any], words: str
) -> None:
    with pytest.raises(SchemaError, match=f"a first read must be whole: {words}"):
        driver.poll({at(10): 5.0}, **lacks)


def test_a_later_read_may_lack_a_label(driver: LedgerDriver) -> None:
    driver.poll({at(10): 5.0})

    driver.poll({at(10): 9.0}, unfit="row.chan is absent in all 8 rows")

    assert numbers(driver) == (4, 0)


def test_a_series_that_the_settings_name_is_zero_before_the_first_poll(start: Start) -> None:
    driver = start(known=(received("web"),))
    before = driver.shown()

    driver.poll({("web", at(10)): 30.0})
    driver.poll({("web", at(10)): 31.0})

    assert (before, driver.counter("web")) == ({("shop", "", "web"): 0}, 1)
