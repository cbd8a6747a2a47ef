"""Which hours show a bot's habit: not campaigns, holidays and earlier drops."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from statistics import median
from typing import NamedTuple

from exporter.engagement.scale import HIGH, LOW, distance, share

OFF = 3.5
"""Deviations from the usual quarter of a day beyond which it is an event."""
HIGH_AT_FIRST = 2.5
"""The same as a share of the usual, while there are fewer than three such quarters."""
QUARTER_H = 6
LEAST_KNOWN_H = 4


class _Quarter(NamedTuple):
    """A quarter of one day: its place in the week, its hours ``[start, end)``, its mean count."""

    place: int
    start: int
    end: int
    mean: float


def show_habit(counts: Sequence[float | None], week_hours: Sequence[int]) -> list[bool]:
    """Return for each hour whether it is known, and neither in nor beside an unusual quarter."""
    habit = [count is not None for count in counts]
    quarters = _quarters(counts, week_hours)
    by_place: dict[int, list[float]] = defaultdict(list)
    by_time_of_day: dict[int, list[float]] = defaultdict(list)
    for quarter in quarters:
        by_place[quarter.place].append(quarter.mean)
        by_time_of_day[quarter.place % 4].append(quarter.mean)
    unusual = [
        _is_unusual(quarter.mean, by_place[quarter.place], by_time_of_day[quarter.place % 4])
        for quarter in quarters
    ]
    for number, quarter in enumerate(quarters):
        if any(unusual[max(0, number - 1) : number + 2]):
            habit[quarter.start : quarter.end] = [False] * (quarter.end - quarter.start)
    return habit


def _quarters(counts: Sequence[float | None], week_hours: Sequence[int]) -> list[_Quarter]:
    """Return the quarters of which most hours are known."""
    found = []
    for place, group in groupby(range(len(counts)), lambda hour: week_hours[hour] // QUARTER_H):
        hours = list(group)
        seen = [count for hour in hours if (count := counts[hour]) is not None]
        if len(seen) >= LEAST_KNOWN_H:
            mean = QUARTER_H * sum(seen) / len(seen)
            found.append(_Quarter(place, hours[0], hours[-1] + 1, mean))
    return found


def _is_unusual(mean: float, same: Sequence[float], like: Sequence[float]) -> bool:
    few = len(same) <= 2  # noqa: PLR2004 - a median of two tells neither from the other
    usual = median(like if few else same)
    off, part = distance(mean, usual, 0.15), share(mean, usual)
    if few:
        return off > OFF and part > HIGH_AT_FIRST
    return abs(off) > OFF and not LOW <= part <= HIGH
