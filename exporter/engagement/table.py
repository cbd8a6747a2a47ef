"""What each hour of the week usually holds, relative to the level of its week."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import TypeAlias

from exporter.engagement.hours import DAY_H, WEEK_H

SAME_DAY = 9.0
"""Weekdays that differ by less than three standard errors (squared) are merged."""
CHANCE = 1.3
"""Variance of cells, in units of their noise, up to which they show no pattern of their own."""
CLEAR = 4.0
"""A cell's difference beyond two standard errors (squared) is its own, whatever others do."""
DAY_SD, HOUR_SD = 0.1, 0.15
"""How much days and hours vary by themselves, as a logarithm."""
WEEK_PRIOR = 20.0
UNSEEN = 1e6

Cells: TypeAlias = list[list[int]]
"""Groups of hours of the week."""


@dataclass(frozen=True, slots=True)
class _Week:
    """The hours of one week that show a habit: their counts and number, by hour of the week."""

    counts: list[float]
    hours: list[int]


@dataclass(frozen=True, slots=True)
class WeeklyTable:
    """What to expect of each hour of the week, at level 1.

    ``own`` is how far it is each hour's own mean (1), or shared by many hours (0).
    """

    usual: tuple[float, ...]
    own: float


def weekly_table(
    counts: Sequence[float | None], week_hours: Sequence[int], habit: Sequence[bool]
) -> WeeklyTable:
    """Return the table of the hours that show a habit.

    It is weekday times hour of day; hours depart from that only as far as their counts justify.
    """
    weeks = _weeks(counts, week_hours, habit)
    seen = _summed([week.counts for week in weeks])
    hours = [round(number) for number in _summed([week.hours for week in weeks])]
    table, groups, weights = _separable(weeks, seen, hours)
    if not any(table):
        return WeeklyTable(tuple(table), 0.0)
    predicted = [each * weight for each, weight in zip(table, weights, strict=True)]
    members = [[day for day in range(7) if groups[day] == group] for group in sorted(set(groups))]
    hours_of_groups = [[d * DAY_H + h for d in days] for days in members for h in range(DAY_H)]
    quarters = [list(range(q * 6, q * 6 + 6)) for q in range(28)]
    shared = [1.0] * WEEK_H
    for cells in (hours_of_groups, quarters, [[h] for h in range(WEEK_H)]):
        for cell, own in zip(cells, _correct(table, predicted, seen, hours, cells), strict=True):
            for hour in cell:
                shared[hour] *= 1 - own / len(cell)
    return WeeklyTable(
        tuple(table), 1 - sum(t * s for t, s in zip(table, shared, strict=True)) / sum(table)
    )


def _weeks(
    counts: Sequence[float | None], week_hours: Sequence[int], habit: Sequence[bool]
) -> list[_Week]:
    """Return the weeks that end with the newest hour, oldest first."""
    weeks = []
    for start in range(-(-len(counts) % WEEK_H), len(counts), WEEK_H):
        week = _Week([0.0] * WEEK_H, [0] * WEEK_H)
        for at in range(max(0, start), start + WEEK_H):
            if habit[at]:
                week.counts[week_hours[at]] += counts[at] or 0.0
                week.hours[week_hours[at]] += 1
        weeks.append(week)
    return weeks


def _summed(columns: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) for values in zip(*columns, strict=True)]


def _separable(
    weeks: Sequence[_Week], seen: Sequence[float], hours: Sequence[int]
) -> tuple[list[float], list[int], list[float]]:
    """Return weekday x hour of day, the group of each weekday, and each hour's sum of levels."""
    levels, weekdays, groups = [1.0] * len(weeks), [1.0] * 7, [0] * 7
    table = weights = [0.0] * WEEK_H
    for _ in range(3):
        weights = _weights(levels, weeks)
        shape = _shape(weekdays, seen, weights)
        if not any(shape):
            return shape * 7, groups, weights
        weekdays, groups = _weekdays(shape, seen, hours, weights)
        table = [weekday * each for weekday in weekdays for each in shape]
        levels = [_level(week, table) for week in weeks]
    return table, groups, _weights(levels, weeks)


def _weights(levels: Sequence[float], weeks: Sequence[_Week]) -> list[float]:
    return _summed(
        [[level * n for n in week.hours] for level, week in zip(levels, weeks, strict=True)]
    )


def _level(week: _Week, table: Sequence[float]) -> float:
    expected = sum(each * n for each, n in zip(table, week.hours, strict=True))
    return (sum(week.counts) + WEEK_PRIOR) / (expected + WEEK_PRIOR) if expected > 0 else 1.0


def _shape(
    weekdays: Sequence[float], seen: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Return the hours of the day, with a mean of 1; all 0 if nothing was seen."""
    shape = []
    for hour in range(DAY_H):
        base = sum(weekdays[day] * weights[day * DAY_H + hour] for day in range(7))
        shape.append(sum(seen[hour::DAY_H]) / base if base > 0 else 0.0)
    mean = sum(shape) / DAY_H
    return [each / mean for each in shape] if mean > 0 else shape


def _weekdays(
    shape: Sequence[float], seen: Sequence[float], hours: Sequence[int], weights: Sequence[float]
) -> tuple[list[float], list[int]]:
    """Return the level of each weekday, and the number of its group of like weekdays."""
    logs, variances = [0.0] * 7, [UNSEEN] * 7
    for day in range(7):
        here = slice(day * DAY_H, day * DAY_H + DAY_H)
        base = sum(each * weight for each, weight in zip(shape, weights[here], strict=True))
        days, total = sum(hours[here]) / DAY_H, sum(seen[here])
        if days > 0.2 and base > 0:  # noqa: PLR2004 - five hours of a day
            logs[day] = log(max(total / base, 1e-6))
            variances[day] = 1 / max(total, 1.0) + DAY_SD**2 / days
    known = [day for day in range(7) if variances[day] < UNSEEN]
    for day in set(range(7)) - set(known):  # never seen: like the rest of the weekend, or the week
        like = [other for other in known if (other > 4) == (day > 4)] or known  # noqa: PLR2004
        logs[day] = sum(logs[other] for other in like) / len(like) if like else 0.0
    return _pooled(logs, variances)


def _pooled(logs: Sequence[float], variances: Sequence[float]) -> tuple[list[float], list[int]]:
    """Merge levels that differ by no more than chance; return the levels and their groups."""
    days = sorted(range(7), key=lambda day: logs[day])
    groups = [(logs[day], 1 / variances[day], [day]) for day in days]
    while len(groups) > 1:
        gaps = [(b[0] - a[0]) ** 2 / (1 / a[1] + 1 / b[1]) for a, b in pairwise(groups)]
        at = gaps.index(min(gaps))
        if gaps[at] >= SAME_DAY:
            break
        a, b = groups[at : at + 2]
        weight = a[1] + b[1]
        mean = (a[0] * a[1] + b[0] * b[1]) / weight
        groups[at : at + 2] = [(mean, weight, a[2] + b[2])]
    levels, numbers = [0.0] * 7, [0] * 7
    for number, (value, _, members) in enumerate(groups):
        for day in members:
            levels[day], numbers[day] = exp(value), number
    return levels, numbers


def _correct(
    table: list[float],
    predicted: list[float],
    seen: Sequence[float],
    hours: Sequence[int],
    cells: Cells,
) -> list[float]:
    """Move cells of the table towards what was seen, as far as they differ beyond chance.

    ``predicted`` is what the table predicts for all hours ``seen``; it is changed with the table.
    Returns how far each cell was moved, as a share of the way.
    """
    found, excess, weight = [], 0.0, 0.0
    for cell in cells:
        expected = sum(predicted[hour] for hour in cell)
        off = log((sum(seen[hour] for hour in cell) + 1) / (expected + 1))
        repeated = sum(hours[hour] for hour in cell) / min(len(cell), 3)
        noise = 1 / (expected + 1) + HOUR_SD**2 / max(repeated, 0.5)
        found.append((cell, off, noise))
        excess += off * off / noise - CHANCE
        weight += 1 / noise
    pattern = max(0.0, excess / weight)
    shares = []
    for cell, off, noise in found:
        own = max(pattern, off * off - CLEAR * noise)
        shares.append(own / (own + noise))
        factor = exp(off * shares[-1])
        for hour in cell:
            table[hour] *= factor
            predicted[hour] *= factor
    return shares
