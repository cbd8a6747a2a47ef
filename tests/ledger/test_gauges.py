"""Gauges: which reading is shown, for how long, and which rows have a place under the caps."""

from typing import Any

import pytest

from exporter.errors import SchemaError
from exporter.model.samples import HOUR_MS, GaugeRow, Window, floor_to
from tests.ledger.conftest import Start
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

USERS, RETURNING = "chatbot_active_users", "chatbot_returning_users"
LIST = "chatbot_top_intent_matches"
HOUR = floor_to(START_MS, HOUR_MS)
WEEK = GaugeRow((USERS, ("shop", "", "", "7d")), Window(0, HOUR - HOUR_MS), 3)
CAPS: dict[str, dict[str, Any]] = {
    "total": {"total_cap": 2},
    "target": {"target_cap": 2},
    "family": {"caps": {LIST: 2}},
}


def hour(end_ms: int, value: float) -> GaugeRow:
    return GaugeRow((USERS, ("shop", "", "web", "hour")), Window(end_ms - HOUR_MS, end_ms), value)


def top(driver: LedgerDriver, *intents: str) -> None:
    """Poll a list of these intents, each with its rank as its value."""
    rows = [
        GaugeRow((LIST, ("shop", "", intent, "1h")), Window(HOUR - HOUR_MS, HOUR), rank)
        for rank, intent in enumerate(intents, 1)
    ]
    driver.poll(lists=rows, lists_of=frozenset({LIST}))


def shown(driver: LedgerDriver) -> dict[str, float]:
    return {labels[2]: value for labels, value in driver.shown(LIST).items()}


@pytest.mark.parametrize("cap", CAPS)
def test_a_list_at_a_cap_takes_a_new_entry_for_one_that_left_and_else_keeps_those_shown(
    start: Start, cap: str
) -> None:
    driver = start(**CAPS[cap])
    top(driver, "buy", "pay")

    top(driver, "help", "buy")
    left, dropped = shown(driver), driver.counted("dropped_series_total")
    top(driver, "pay", "help", "buy")

    assert (left, dropped) == ({"help": 1, "buy": 2}, 0)
    assert shown(driver) == {"help": 2, "buy": 3}
    assert driver.counted("dropped_series_total") == 1
    assert driver.dropped() == {f"{cap}_limit"}


def test_a_list_gives_its_places_to_no_other_kind_until_it_is_replaced(start: Start) -> None:
    driver = start(total_cap=1)
    top(driver, "buy")

    driver.poll(levels=[hour(HOUR, 7)])
    before = driver.shown(USERS)
    top(driver)
    driver.poll(levels=[hour(HOUR, 7)])

    assert (before, shown(driver)) == ({}, {})
    assert list(driver.shown(USERS).values()) == [7]


def test_the_newest_settled_bucket_is_shown_and_a_revision_replaces_it(start: Start) -> None:
    driver = start(settle_ms=HOUR_MS)
    hours = [hour(HOUR - HOUR_MS, 3), hour(HOUR, 5), hour(HOUR + HOUR_MS, 1)]

    driver.poll(buckets=hours)
    first = driver.shown(USERS)
    driver.poll(buckets=[hour(HOUR - HOUR_MS, 4)])

    assert (list(first.values()), list(driver.shown(USERS).values())) == ([3], [4])


def test_a_level_is_the_newest_bucket_whatever_the_order(driver: LedgerDriver) -> None:
    driver.poll(levels=[hour(HOUR + HOUR_MS, 9), hour(HOUR, 5)])

    assert list(driver.shown(USERS).values()) == [9]


def test_a_level_that_a_reading_does_not_mention_stays(driver: LedgerDriver) -> None:
    window = Window(HOUR - HOUR_MS, HOUR)
    held = [GaugeRow((name, ("shop", "", "web", "hour")), window, 1) for name in (USERS, RETURNING)]
    other = GaugeRow((RETURNING, ("shop", "", "sms", "hour")), window, 2)

    driver.poll(levels=held)
    driver.poll(levels=[held[0], other])

    assert [sorted(driver.shown(name).values()) for name in (USERS, RETURNING)] == [[1], [1, 2]]


@pytest.mark.parametrize(
    ("reading", "periods_ms"),
    [
        ({"buckets": [hour(HOUR - HOUR_MS, 3)]}, 3 * HOUR_MS),
        ({"levels": [hour(HOUR - HOUR_MS, 3)]}, 3 * HOUR_MS),
        ({"lists": [WEEK], "lists_of": frozenset({USERS})}, 3 * 2 * HOUR_MS),
    ],
)
def test_a_gauge_is_withdrawn_three_periods_and_two_intervals_after_its_end(
    start: Start, reading: dict[str, Any], periods_ms: int
) -> None:
    driver = start(interval_ms=2 * HOUR_MS, settle_ms=HOUR_MS)
    driver.poll(**reading)
    withdrawn_ms = HOUR - HOUR_MS + periods_ms + 2 * 2 * HOUR_MS
    driver.clock.step(withdrawn_ms - 1 - driver.clock.now_ms())
    last = list(driver.shown(USERS).values())

    driver.clock.step(1)

    assert (last, driver.shown(USERS)) == ([3], {})


def test_two_queries_cannot_show_one_gauge(driver: LedgerDriver) -> None:
    driver.sync(driver.spec, spec(name="daily"))
    driver.poll(levels=[hour(HOUR, 1)])

    with pytest.raises(SchemaError, match="shown by another query"):
        driver.poll(levels=[hour(HOUR, 1)])


def test_a_gauge_that_another_query_shows_from_now_on_is_shown_by_that_one(
    driver: LedgerDriver,
) -> None:
    driver.poll(levels=[hour(HOUR, 1)])

    driver.sync(spec(meaning={"v": 2}), spec(name="daily", meaning={"v": 3}))
    before = driver.shown(USERS)
    claim = driver.claim()
    driver.poll(levels=[hour(HOUR, 2)], claim=claim)

    assert (before, claim.query) == ({}, "daily")
    assert list(driver.shown(USERS, driver.specs[1]).values()) == [2]
