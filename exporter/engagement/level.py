"""The level of a bot, hour by hour: how much of its weekly table to expect next."""

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.engagement.hours import DAY_H, WEEK_H
from exporter.engagement.scale import is_event, known, running_sums

STRETCH_H = 6
EVENT, PERSIST_EVENT = 3.5, 3.0
"""Deviations beyond which a stretch is an event, and beyond which nothing of it persists."""
WEEK_LASTS, DAY_LASTS, STRETCH_LASTS = 0.8, 0.24, 0.4
"""Powers: how much of what the last week, day and stretch were off is expected to go on."""
PRIOR = 100.0
WEEK_MOST, PERSIST_MOST = 2.0, 1.3
LEVEL_PRIOR = 30.0


@dataclass(frozen=True, slots=True)
class SlowMean:
    """The mean of seen / table: sums of both whose weights halve in ``half_life_h`` hours."""

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
    """By hour: ``expected`` level from what came before it (one more for the next hour), ``habit``.

    ``habit`` is false for hours of events. ``means`` are the slow means that led to ``expected``.
    """

    expected: list[float]
    habit: list[bool]
    means: list[SlowMean]


def levels(
    counts: Sequence[float | None], table: Sequence[float], habit: Sequence[bool], mean: SlowMean
) -> Levels:
    """Return the levels of hours whose weekly table says ``table``, beginning at ``mean``.

    Slow mean and week are one stretch behind, so that an event is known as one before it enters.
    """
    habit = list(habit)
    seen = [count if each else 0.0 for count, each in zip(known(counts), habit, strict=True)]
    base = [value if each else 0.0 for value, each in zip(table, habit, strict=True)]
    raw_seen = running_sums(known(counts))
    raw_base = running_sums(
        0.0 if count is None else value for count, value in zip(counts, table, strict=True)
    )

    def off(start: int, end: int, level: float) -> tuple[float, float]:
        """Return what was seen, and what was expected, of habitual hours."""
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
    """Return which share of ``expected`` was seen, within ``most`` and drawn to 1 for few events."""
    return min(max((seen + PRIOR) / (expected + PRIOR), 1 / most), most)
