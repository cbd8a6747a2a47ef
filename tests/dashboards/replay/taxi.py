"""Real counts instead of made-up ones: taxi passengers in New York, as bots of several sizes.

The file is ``nyc_taxi.csv`` of the Numenta Anomaly Benchmark (data/realKnownCause, MIT licence),
https://github.com/numenta/NAB: passengers by half hour of local time. It is not in this repository.
"""

import csv
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.dashboards.replay.scene import (
    DAY,
    DEPTHS,
    LEARNING_WEEKS,
    SPANS,
    VOLUMES,
    WEEK,
    Account,
    Bot,
    Episode,
    EventKind,
)
from tests.engagement.bots import poisson

ZONE = ZoneInfo("America/New_York")
UNUSUAL = (
    (date(2014, 7, 4), 3),  # Independence Day and its weekend
    (date(2014, 9, 1), 1),  # Labor Day
    (date(2014, 11, 2), 1),  # marathon
    (date(2014, 11, 27), 2),  # Thanksgiving
    (date(2014, 12, 24), 3),  # Christmas
    (date(2014, 12, 31), 2),  # New Year
    (date(2015, 1, 26), 3),  # snow storm
)
"""Days that are unusual in the counts, from a day on for so many: no alert there is wrong."""
DROP_EVERY_H = 2 * WEEK


def account(path: Path, seed: int, bots: int, holidays: tuple[str, ...] = ()) -> Account:
    """Return bots with the counts of the file, thinned to their size, and drops injected."""
    start, counts = hourly(path)
    hours = len(counts)
    unusual = tuple(_episode(start, day, days) for day, days in UNUSUAL)
    unusual = tuple(each for each in unusual if each.start >= 0 and each.end <= hours)
    mean = sum(counts) / hours * DAY
    made = []
    for index in range(bots):
        rng = random.Random(f"{seed}/taxi/{index}")  # noqa: S311 - made-up drops
        volume = VOLUMES[index % len(VOLUMES)]
        drops = _drops(rng, hours, unusual)
        thinned = tuple(
            _thinned(rng, count * volume / mean, hour, drops) for hour, count in enumerate(counts)
        )
        made.append(Bot(f"bot{index}", volume, thinned, (*unusual, *drops)))
    return Account(
        "flowxo",
        tuple(made),
        late=(),
        restarts=frozenset(),
        start_ms=round(start.timestamp() * 1000),
        timezone=ZONE.key,
        holidays=holidays,
    )


def hourly(path: Path) -> tuple[datetime, list[float]]:
    """Return the first hour of the file and the counts of all hours from it on.

    In the night in which the clock goes back, one row holds both hours of the same name.
    """
    by_hour: dict[datetime, float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            local = datetime.fromisoformat(row["timestamp"]).replace(minute=0)
            by_hour[local] = by_hour.get(local, 0.0) + float(row["value"])
    start = min(by_hour).replace(tzinfo=ZONE).astimezone(UTC)
    end = max(by_hour).replace(tzinfo=ZONE).astimezone(UTC)
    counts = []
    for hour in range((end - start) // timedelta(hours=1) + 1):
        local = (start + timedelta(hours=hour)).astimezone(ZONE)
        twice = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
        counts.append(by_hour[local.replace(tzinfo=None, fold=0)] / (2 if twice else 1))
    return start, counts


def _episode(start: datetime, day: date, days: int) -> Episode:
    begins = datetime(day.year, day.month, day.day, tzinfo=ZONE)
    first = round((begins - start) / timedelta(hours=1))
    return Episode(EventKind.HOLIDAY, first, first + days * DAY, 0)


def _drops(rng: random.Random, hours: int, unusual: tuple[Episode, ...]) -> tuple[Episode, ...]:
    """Draw a drop for every two weeks, apart from the unusual days."""
    found = []
    for first in range(LEARNING_WEEKS * WEEK, hours - DROP_EVERY_H + 1, DROP_EVERY_H):
        span = rng.choice(SPANS)
        start = first + rng.randrange(DROP_EVERY_H - 4 * DAY)
        if span < DAY:  # half a day means the busy half
            start += (12 - start) % DAY
        drop = Episode(EventKind.STEP, start, start + span, rng.choice(DEPTHS))
        if all(drop.end + 2 * DAY < each.start or each.end + 2 * DAY < start for each in unusual):
            found.append(drop)
    return tuple(found)


def _thinned(
    rng: random.Random, mean: float, hour: int, drops: tuple[Episode, ...]
) -> tuple[int, int]:
    left = next((1 - drop.depth for drop in drops if drop.start <= hour < drop.end), 1.0)
    return poisson(rng, 0.6 * mean * left), poisson(rng, 0.4 * mean * left)
