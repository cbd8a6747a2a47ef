"""Made-up bots whose true means are known: the oracle of what should be expected of them."""

import datetime as dt
import math
import random
from collections.abc import Callable
from zoneinfo import ZoneInfo

from exporter.engagement.hours import HourlyCounts
from exporter.model.samples import HOUR_MS

MONDAY_MS = round(dt.datetime(2026, 1, 5, tzinfo=dt.UTC).timestamp() * 1000)
DAY, WEEK = 24, 168

Mean = Callable[[dt.datetime], float]
"""The true mean of the hour that begins at a local time."""


def rhythm(per_day: float) -> Mean:
    """Return quiet nights and weekends of six tenths."""

    def mean(at: dt.datetime) -> float:
        of_day = 1 + 0.8 * math.cos((at.hour - 14) / DAY * 2 * math.pi)
        return per_day / DAY * of_day * (0.6 if at.weekday() > 4 else 1.0)

    return mean


def means(mean: Mean, hours: int, zone: str = "UTC", start_ms: int = MONDAY_MS) -> list[float]:
    tz = ZoneInfo(zone)
    return [
        mean(dt.datetime.fromtimestamp((start_ms + n * HOUR_MS) / 1000, tz)) for n in range(hours)
    ]


def drawn(true: list[float], seed: int = 1) -> list[float]:
    """Return Poisson numbers with these means."""
    rng = random.Random(seed)  # noqa: S311 - made-up bots
    return [float(poisson(rng, mean)) for mean in true]


def counts(values: list[float] | list[float | None], start_ms: int = MONDAY_MS) -> HourlyCounts:
    return HourlyCounts(start_ms, tuple(values))


def poisson(rng: random.Random, mean: float) -> int:
    """Return a Poisson number; a rounded normal one where that is as good."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, number = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        number += 1
    return number
