"""What a poll of 10,000 buckets costs the ledger, in processor time of this process.

200 series of 50 hours each on SQLite, as one reading; each figure is the median of its rounds,
in milliseconds, with the commit. The rounds are interleaved.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporter.ledger.rows import Applied
from exporter.model.samples import HOUR_MS, CountRow, Reading, Window, floor_to
from tests.support.builders import RECEIVED, spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

SERIES = 200
HOURS = 50
END_MS = floor_to(START_MS, HOUR_MS)
WINDOW = Window(END_MS - HOURS * HOUR_MS, END_MS)


def measure(rounds: int) -> dict[str, float]:
    """Return processor milliseconds of one applied reading, by what it changed."""
    taken: dict[str, list[float]] = {name: [] for name in _readings(0)}
    with tempfile.TemporaryDirectory() as folder:
        query = spec(caps={RECEIVED: SERIES}, lookback_ms=HOURS * HOUR_MS)
        driver = LedgerDriver(Path(folder), query)
        _apply(driver, _rows(0, range(HOURS)))
        for number in range(rounds):
            for name, rows in _readings(number).items():
                taken[name].append(_apply(driver, rows))
        driver.close()
    return {f"cpu_ms_{name}": statistics.median(times) for name, times in taken.items()}


def _readings(number: int) -> Mapping[str, Sequence[CountRow]]:
    """Return a round's readings in the order in which they are applied."""
    every, newest = range(HOURS), range(HOURS - 1, HOURS)
    return {
        "all_changed": _rows(2 * number + 1, every),
        "nothing_changed": _rows(2 * number + 1, every),
        "newest_hour_changed": _rows(2 * number + 1, every, newest),
    }


def _rows(step: int, hours: range, grown: range = range(0)) -> list[CountRow]:
    """Return rows by hour as vendors give them, each with labels of its own; none is 0."""
    return [
        (
            (RECEIVED, (f"project-{number % 10}", "main", f"channel-{number}")),
            WINDOW.start_ms + hour * HOUR_MS,
            float(100 + number + step + (hour in grown)),
        )
        for hour in hours
        for number in range(SERIES)
    ]


def _apply(driver: LedgerDriver, rows: Sequence[CountRow]) -> float:
    claim = driver.claim()
    reading = Reading(WINDOW, counts=rows)
    started_ms = driver.clock.now_ms()
    before = time.process_time()
    applied: Applied = driver.ledger.apply(claim, reading, started_ms=started_ms)
    taken = (time.process_time() - before) * 1000
    if applied.held or applied.rows != SERIES * HOURS:
        raise AssertionError(applied)
    driver.end(claim)
    return taken
