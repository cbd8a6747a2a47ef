"""Which hours show a bot's habit, as opposed to campaigns, holidays and earlier drops.

Counts are compared on a scale on which chance and roughness have the same size everywhere.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from math import asinh, sqrt
from statistics import median
from typing import NamedTuple

from exporter.engagement.hours import WEEK_H

LOW, HIGH = 0.6, 1.6
"""Six hours with less or more than this share of their expectation may be an event."""
OFF = 3.5
"""A quarter of a day that is more than this many deviations from the usual is an event."""
HIGH_AT_FIRST = 2.5
"""It must also exceed this share of the usual while there are fewer than three such quarters."""
QUARTER_H = 6
LEAST_KNOWN_H = 4
LEVEL_MOST = 4.0
"""A week's level is at most this many times the usual one, or its inverse; more is an event."""


class _Quarter(NamedTuple):
    """A quarter of one day: its place in the week, its hours ``[start, end)``, its count.

    ``week`` counts back from the newest; ``held`` is the count, scaled to six known hours.
    """

    place: int
    week: int
    start: int
    end: int
    held: float


def stabilise(count: float, roughness: float) -> float:
    """Return ``count`` on a scale where a variance of ``x + (roughness * x)**2`` becomes 1."""
    return 2 / roughness * asinh(roughness * sqrt(max(count, 0.0) + 0.375))


def distance(count: float, expected: float, roughness: float) -> float:
    """Return how many standard deviations ``count`` lies above ``expected``."""
    return stabilise(count, roughness) - stabilise(expected, roughness)


def share(count: float, expected: float) -> float:
    """Return ``count`` as a share of ``expected``, drawn towards 1 for small numbers."""
    return (count + 2) / (expected + 2)


def is_event(count: float, expected: float, limit: float) -> bool:
    """Return whether six hours are too far off their expectation to show a habit."""
    if LOW <= share(count, expected) <= HIGH:
        return False
    return abs(distance(count, expected, 0.12)) > limit


def show_habit(counts: Sequence[float | None], week_hours: Sequence[int]) -> list[bool]:
    """Return for each hour whether it is known, and neither in nor beside an unusual quarter.

    A quarter is compared with those of other weeks as if it had their level, so that growth is not
    an event.
    """
    habit = [count is not None for count in counts]
    quarters = _quarters(counts, week_hours)
    levels = _levels(quarters)
    by_place: dict[int, list[float]] = defaultdict(list)
    by_time_of_day: dict[int, list[float]] = defaultdict(list)
    for quarter in quarters:
        by_place[quarter.place].append(quarter.held / levels[quarter.week])
        by_time_of_day[quarter.place % 4].append(quarter.held / levels[quarter.week])
    unusual = [
        _is_unusual(
            quarter.held,
            by_place[quarter.place],
            by_time_of_day[quarter.place % 4],
            levels[quarter.week],
        )
        for quarter in quarters
    ]
    for number, quarter in enumerate(quarters):
        if any(unusual[max(0, number - 1) : number + 2]):
            habit[quarter.start : quarter.end] = [False] * (quarter.end - quarter.start)
    return habit


def _quarters(counts: Sequence[float | None], week_hours: Sequence[int]) -> list[_Quarter]:
    """Return the quarters most of whose hours are known."""
    found = []
    for place, group in groupby(range(len(counts)), lambda hour: week_hours[hour] // QUARTER_H):
        hours = list(group)
        seen = [count for hour in hours if (count := counts[hour]) is not None]
        if len(seen) >= LEAST_KNOWN_H:
            week = (len(counts) - 1 - hours[0]) // WEEK_H
            count = QUARTER_H * sum(seen) / len(seen)
            found.append(_Quarter(place, week, hours[0], hours[-1] + 1, count))
    return found


def _levels(quarters: Sequence[_Quarter]) -> dict[int, float]:
    """Return how busy each week is relative to the usual one, as the median of its quarters."""
    by_place: dict[int, list[float]] = defaultdict(list)
    for quarter in quarters:
        by_place[quarter.place].append(quarter.held)
    by_week: dict[int, list[float]] = defaultdict(list)
    for quarter in quarters:
        by_week[quarter.week].append(share(quarter.held, median(by_place[quarter.place])))
    return {
        week: min(max(median(shares), 1 / LEVEL_MOST), LEVEL_MOST)
        for week, shares in by_week.items()
    }


def _is_unusual(count: float, same: Sequence[float], like: Sequence[float], level: float) -> bool:
    few = len(same) <= 2  # noqa: PLR2004 - a median of two favours neither
    usual = level * median(like if few else same)
    off, part = distance(count, usual, 0.15), share(count, usual)
    if few:
        return off > OFF and part > HIGH_AT_FIRST
    return abs(off) > OFF and not LOW <= part <= HIGH
