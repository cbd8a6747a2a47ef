"""Events of a stream: each counts once, in whatever order and however often it is read."""

from dataclasses import replace

import pytest

from exporter.ledger.rows import Applied
from exporter.ledger.tables import seen_event
from exporter.model.samples import HOUR_MS, Event, Window
from tests.ledger.conftest import Start
from tests.support.builders import received
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

MINUTE_MS = 60_000
OVERLAP_MS = 15 * MINUTE_MS


@pytest.fixture
def driver(start: Start) -> LedgerDriver:
    """Return a stream that has been read up to its epoch, which is the start of virtual time."""
    opened = start(stream=True, lookback_ms=OVERLAP_MS, ids_kept_ms=HOUR_MS)
    drain(opened)
    return opened


def event(number: int, minute: float, content: int = 0) -> Event:
    """Return an event that happened so many minutes after the epoch."""
    at_ms = START_MS + round(minute * MINUTE_MS)
    return Event(number.to_bytes(16), at_ms, (received("web"),), content)


def drain(driver: LedgerDriver, *events: Event) -> Applied:
    """Poll: apply ``events`` as all that there are from the overlap up to now."""
    claim = driver.claim()
    window = driver.window(claim)
    return driver.poll(claim=claim, window=window, events=events, watermark_ms=window.end_ms)


def late(driver: LedgerDriver) -> dict[str, float]:
    counted = driver.ledger.self_counts().items()
    name = "chatbot_exporter_late_events_total"
    return {dict(labels)["outcome"]: n for (found, labels), n in counted if found == name}


def test_events_before_the_epoch_never_count(driver: LedgerDriver) -> None:
    driver.clock.step(5 * MINUTE_MS)

    drain(driver, event(1, -0.1), event(2, 0), event(3, 1))
    drain(driver, event(1, -0.1))

    assert driver.view().state.epoch_ms == START_MS
    assert driver.counter("web") == 2
    assert late(driver) == {"ignored": 1}


def test_the_overlap_is_read_again_and_counts_what_is_new(driver: LedgerDriver) -> None:
    driver.clock.step(40 * MINUTE_MS)
    drain(driver, *(event(n, 30 + n / 10) for n in range(25)))
    driver.clock.step(5 * MINUTE_MS)
    asked = driver.window(driver.claim())

    again = [event(n, 30 + n / 10) for n in range(25)]
    driver.clock.step(31_000)
    drain(driver, event(50, 39), *again, *(event(100 + n, 42) for n in range(14)))

    assert asked.start_ms == START_MS + 40 * MINUTE_MS - OVERLAP_MS
    assert driver.counter("web") == 40
    assert driver.counted("duplicate_events_total") == 25
    assert late(driver) == {"counted": 1}


@pytest.mark.parametrize(
    ("events", "counter", "drift"),
    [
        ([event(1, 1), event(1, 1)], 1, 0),
        ([event(1, 1, content=7), event(1, 1, content=8)], 1, 1),
        ([event(1, 1), event(1, 3)], 1, 0),
        ([event(1, 1), event(2, 1)], 2, 0),
    ],
)
@pytest.mark.parametrize("polls", [1, 2])
def test_an_id_counts_once(
    driver: LedgerDriver, events: list[Event], counter: int, drift: int, polls: int
) -> None:
    driver.clock.step(5 * MINUTE_MS)

    for some in [events] if polls == 1 else [[each] for each in events]:
        drain(driver, *some)

    assert driver.counter("web") == counter
    assert driver.counted("duplicate_events_total") == 2 - counter
    assert driver.counted("schema_drift_total") == drift


def test_ids_are_forgotten_an_hour_before_the_newest_event(driver: LedgerDriver) -> None:
    driver.clock.step(5 * MINUTE_MS)
    drain(driver, event(1, 0.5), event(2, 4))
    kept = []
    for minutes, events in ((57, [event(3, 61)]), (3, [event(4, 64.5)]), (3, [])):
        driver.clock.step(minutes * MINUTE_MS)
        drain(driver, *events)
        kept.append(driver.rows(seen_event))

    assert kept == [3, 3, 2]


def test_an_event_whose_id_was_forgotten_counts_no_more_when_ids_are_kept_for_longer(
    driver: LedgerDriver,
) -> None:
    driver.clock.step(HOUR_MS)
    drain(driver, event(1, 5), event(2, 59))
    for minute, number in ((119, 3), (150, 4)):
        driver.clock.step(HOUR_MS)
        drain(driver, event(number, minute))

    driver.sync(replace(driver.spec, ids_kept_ms=10 * HOUR_MS))
    drain(driver, *(event(n, minute) for n, minute in ((1, 5), (2, 59), (3, 119), (5, 120))))

    assert driver.counter("web") == 5
    assert late(driver) == {"counted": 1, "ignored": 1}


def test_as_long_as_no_id_was_forgotten_a_late_event_of_any_age_counts(
    driver: LedgerDriver,
) -> None:
    driver.clock.step(HOUR_MS)
    drain(driver, event(1, 50))

    drain(driver, event(2, 5))

    assert driver.counter("web") == 2
    assert late(driver) == {"counted": 1}


def test_the_watermark_is_never_ahead_of_the_clock_nor_goes_back(driver: LedgerDriver) -> None:
    marks = []
    for minutes in (5, -30, 10, 60):
        claim = driver.claim()
        driver.clock.step(minutes * MINUTE_MS)
        window = driver.window(claim)
        driver.poll(claim=claim, window=window, watermark_ms=window.end_ms)
        assert window.end_ms <= driver.clock.now_ms()
        marks.append(((driver.view().state.watermark_ms or 0) - START_MS) // MINUTE_MS)

    assert marks == [5, 5, 5, 45]


def test_the_cursor_stays_behind_the_watermark_in_whole_hours(driver: LedgerDriver) -> None:
    driver.clock.step(3 * HOUR_MS)
    claim = driver.claim()
    half = Window(START_MS, START_MS + HOUR_MS)
    driver.poll(claim=claim, window=half, watermark_ms=half.end_ms, more=True)

    state = driver.view().state

    assert state.watermark_ms == START_MS + HOUR_MS
    assert state.cursor_ms == START_MS + HOUR_MS - 20 * MINUTE_MS
