"""P13: every instant since the first poll was read, is in a recorded gap, or is still to come."""

from collections.abc import Callable
from random import Random

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger.tables import gap
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from tests.support.builders import spec
from tests.support.driver import LedgerDriver, scratch
from tests.support.examples import examples
from tests.support.history import History, readings

REACH_MS = 3 * DAY_MS
waits = st.lists(
    st.tuples(st.integers(1, 9 * 24 * 60), st.sampled_from(["answered", "failed", "broken off"])),
    min_size=1,
    max_size=8,
)


@examples(30)
@given(waits, st.sampled_from([1, 6, 48]))
def test_what_was_never_read_is_a_gap(story: list[tuple[int, str]], lookback: int) -> None:
    find_gaps(story, lookback)


@examples(3)
@given(waits, st.sampled_from([1, 6, 48]))
def test_what_was_never_read_is_a_gap_on_postgresql(
    emptied: Callable[[], str], story: list[tuple[int, str]], lookback: int
) -> None:
    find_gaps(story, lookback, emptied())


def find_gaps(story: list[tuple[int, str]], lookback: int, url: str | None = None) -> None:
    query = spec(reach_ms=REACH_MS, lookback_ms=lookback * HOUR_MS)
    with scratch() as folder, LedgerDriver(folder, query, postgresql=url) as driver:
        read: list[Window] = []
        settled: set[int] = set()
        for minutes, ending in [(1, "answered"), *story, (1, "answered")]:
            driver.clock.step(minutes * 60_000)
            windows = poll(driver, ending)
            until_ms = driver.clock.now_ms() - HOUR_MS - driver.spec.settle_ms
            settled |= {h for window in windows for h in hours(window) if h <= until_ms}
            read += windows
        cursor_ms = driver.claim().cursor_ms

        assert cursor_ms is not None
        unread = hours(Window(read[0].start_ms, cursor_ms)) - set().union(*map(hours, read))
        with driver.transaction() as tx:
            recorded = [Window(row.from_ms, row.to_ms) for row in tx.execute(sa.select(gap))]
        gaps = [hour for window in recorded for hour in hours(window)]
        assert set(gaps) >= unread
        assert not settled & set(gaps)
        assert len(gaps) == len(set(gaps))


def poll(driver: LedgerDriver, ending: str) -> list[Window]:
    """Poll; return what was read."""
    claim = driver.claim()
    window = driver.window(claim)
    if ending == "failed":
        driver.fail(claim)
        return []
    parts = readings(History(), driver.spec, window, Random(0), parts=3)  # noqa: S311
    if ending == "broken off":
        driver.apply(claim, parts[0])
        driver.fail(claim)
        return [parts[0].window]
    for reading in parts:
        driver.apply(claim, reading)
    driver.end(claim)
    return [window]


def hours(window: Window) -> set[int]:
    return set(range(window.start_ms, window.end_ms, HOUR_MS))
