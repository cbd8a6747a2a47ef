"""The level of a bot (how much of its weekly table to expect next), and its roughness.

Roughness is how far, beyond chance, its windows usually are from their expectation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import NamedTuple

from exporter.engagement.events import distance, is_event
from exporter.engagement.hours import DAY_H, WEEK_H, known, running_sums

STRETCH_H = 6
EVENT, PERSIST_EVENT = 3.5, 3.0
"""Deviations beyond which a stretch is an event, and beyond which nothing of it persists."""
WEEK_LASTS, DAY_LASTS, STRETCH_LASTS = 0.8, 0.24, 0.4
"""Powers: how much of the deviation of the last week, day and stretch is expected to persist."""
PRIOR = 100.0
WEEK_MOST, PERSIST_MOST = 2.0, 1.3
LEVEL_PRIOR = 30.0

REFERENCE = 0.12
"""The roughness of the scale on which errors are measured."""
ERRORS_H = 4 * WEEK_H
LEAST_EXPECTED, LEAST_H = 5.0, 3 * DAY_H
STEADY = 0.075
"""Roughness of a bot about which nothing is known; no bot is taken to be steadier."""
ROUGHEST = 0.6
SAME_WEEKS = 1.3
"""Factor by which the variance of errors is larger in weeks that were not learnt from."""
OWN_HIDES = 0.6
"""The part of one week's variance that does not show if hours are expected at their own mean."""
BOTS_DIFFER, WINDOWS_DIFFER = 0.75, 0.15
"""Standard deviations of the logarithm of variance: between bots, and between windows of a bot."""
ROUGHER_MOST = 0.8
OVERLAP = 0.35
"""Since windows overlap, they carry about a third of the information that separate ones would."""
EIGHTY_IN_100 = 1.2816
"""80 % of normal errors are within this number of standard deviations."""
UNCERTAIN = 2.2**2
"""Variance of the logarithm of a variance that one error shows; six hours count as one error."""


@dataclass(frozen=True, slots=True)
class SlowMean:
    """The mean of seen / table, from sums whose weights halve every ``half_life_h`` hours."""

    half_life_h: float
    seen: float = 0.0
    table: float = 0.0

    @property
    def level(self) -> float:
        return (self.seen + LEVEL_PRIOR) / (self.table + LEVEL_PRIOR)

    def after(self, seen: float, table: float) -> "SlowMean":
        """Return the mean after one more hour."""
        keep = 0.5 ** (1 / self.half_life_h)
        return SlowMean(self.half_life_h, self.seen * keep + seen, self.table * keep + table)


@dataclass(frozen=True, slots=True)
class Levels:
    """By hour: the level ``expected`` before it began (and of the next hour), and ``habit``.

    ``habit`` is false for hours of events. ``means`` are the slow means behind ``expected``.
    """

    expected: list[float]
    habit: list[bool]
    means: list[SlowMean]


def levels(
    counts: Sequence[float | None], table: Sequence[float], habit: Sequence[bool], mean: SlowMean
) -> Levels:
    """Return the levels of hours that the weekly table puts at ``table``, beginning at ``mean``.

    Slow mean and week are one stretch behind, so that events are recognised before they enter.
    """
    habit = list(habit)
    seen = [count if each else 0.0 for count, each in zip(known(counts), habit, strict=True)]
    base = [value if each else 0.0 for value, each in zip(table, habit, strict=True)]
    raw_seen = running_sums(known(counts))
    raw_base = running_sums(
        0.0 if count is None else value for count, value in zip(counts, table, strict=True)
    )

    def off(start: int, end: int, level: float) -> tuple[float, float]:
        """Return what was seen and what was expected in habitual hours."""
        hours = slice(max(0, start), max(0, end))
        return sum(seen[hours]), sum(base[hours]) * level

    means, steady, expected = [mean], [mean.level], [mean.level]
    for end in range(1, len(counts) + 1):
        start = end - STRETCH_H
        if start >= 0 and is_event(
            raw_seen[end] - raw_seen[start],
            (raw_base[end] - raw_base[start]) * steady[max(0, end - DAY_H)],
            EVENT,
        ):
            habit[start:end] = [False] * STRETCH_H
            seen[start:end] = base[start:end] = [0.0] * STRETCH_H
        if start > 0:
            mean = mean.after(seen[start - 1], base[start - 1])
        means.append(mean)
        week = off(start - WEEK_H, start, mean.level)
        level = mean.level * _share(*week, WEEK_MOST) ** WEEK_LASTS
        steady.append(level)
        for length, power in ((DAY_H, DAY_LASTS), (STRETCH_H, STRETCH_LASTS)):
            recent = off(end - length, end, steady[-1])
            if not is_event(*recent, PERSIST_EVENT):
                level *= _share(*recent, PERSIST_MOST) ** power
        expected.append(level)
    return Levels(expected, habit, means)


def _share(seen: float, expected: float, most: float) -> float:
    """Return the share of ``expected`` that was seen, within ``most``, near 1 for few events."""
    return min(max((seen + PRIOR) / (expected + PRIOR), 1 / most), most)


class _Sums(NamedTuple):
    """Running sums over the hours: counts seen, values of the table, hours that show a habit."""

    seen: Sequence[float]
    base: Sequence[float]
    habit: Sequence[float]


class _Errors(NamedTuple):
    """Errors of one window; ``excess`` is the logarithm of their variance over a steady bot's.

    ``rough`` is the part of the steady bot's variance that is not chance, ``uncertain`` the
    variance of ``excess``.
    """

    excess: float
    rough: float
    uncertain: float


def roughness(
    windows: Sequence[int],
    counts: Sequence[float | None],
    table: Sequence[float],
    found: Levels,
    own: float,
) -> dict[int, float]:
    """Return the standard deviation beyond chance of each window, as a share of what it holds.

    It is learnt from the bot's own errors: of all windows together, then of each window. ``own`` is
    the part of ``table`` that is each hour's own mean, divided by the weeks.
    """
    sums = _Sums(running_sums(known(counts)), running_sums(table), running_sums(found.habit))
    unseen = SAME_WEEKS / (1 - OWN_HIDES * own)
    errors = {window: _errors(window, sums, found.expected, unseen) for window in windows}
    weighed = [
        (each, 1 / (each.uncertain + (WINDOWS_DIFFER * each.rough) ** 2))
        for each in errors.values()
        if each is not None
    ]
    shown = sum(each.rough * each.excess * weight for each, weight in weighed)
    precision = sum(each.rough**2 * weight for each, weight in weighed)
    rougher = max(0.0, OVERLAP * shown / (OVERLAP * precision + 1 / BOTS_DIFFER**2))
    return {
        window: min(STEADY * exp((rougher + _of_window(each, rougher)) / 2), ROUGHEST)
        for window, each in errors.items()
    }


def _of_window(errors: _Errors | None, rougher: float) -> float:
    """Return how much rougher a window is than all together, as the logarithm of a variance."""
    if errors is None:
        return 0.0
    rough = max(errors.rough, 0.05)
    own = (errors.excess - errors.rough * rougher) / rough
    certain = WINDOWS_DIFFER**2 / (WINDOWS_DIFFER**2 + errors.uncertain / rough**2)
    return min(max(own * certain, 0.0), ROUGHER_MOST)


def _errors(window: int, sums: _Sums, level: Sequence[float], unseen: float) -> _Errors | None:
    """Return the errors of the last weeks; None if there are too few.

    Their 80th percentile measures their spread, so that events count little. ``unseen`` is the
    factor by which the variance of errors is larger in weeks that the table was not learnt from.
    """
    seen, base, habit = sums
    last = len(seen) - 1 - DAY_H - window
    step = max(2, window // 4)
    errors, inverse = [], 0.0
    for start in range(max(0, last - ERRORS_H, min(WEEK_H, last // 2)), last, step):
        end = start + window
        expected = (base[end] - base[start]) * level[start]
        if expected >= LEAST_EXPECTED and habit[end] - habit[start] == window:
            errors.append(abs(distance(seen[end] - seen[start], expected, REFERENCE)))
            inverse += 1 / expected
    if len(errors) * step < LEAST_H:
        return None
    mean = len(errors) / inverse
    spread = max(sorted(errors)[int(0.8 * (len(errors) - 1))] / EIGHTY_IN_100, 1e-3)
    observed = unseen * spread**2 * (1 + REFERENCE**2 * mean)
    steady = 1 + STEADY**2 * mean
    return _Errors(
        excess=log(observed / steady),
        rough=STEADY**2 * mean / steady,
        uncertain=UNCERTAIN * max(window, 6) / (len(errors) * step),
    )
