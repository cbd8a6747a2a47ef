"""What a bot's engagement should be, and how far off it is (specification: engagement.md)."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from exporter.engagement.events import distance, show_habit
from exporter.engagement.hours import DAY_H, WEEK_H, Calendar, HourlyCounts, known
from exporter.engagement.level import STRETCH_H, SlowMean, levels, roughness
from exporter.engagement.table import weekly_table
from exporter.model.samples import HOUR_MS

WINDOWS = (1, 3, 6, 12, 24, 48)
"""Lengths of the windows that are judged, in hours."""
LEARN_H = 5 * WEEK_H
LAG_H = max(WINDOWS)
"""The newest hours stay out of the table, so that no window is compared with itself."""
TAIL_H = WEEK_H + LAG_H
"""Judging begins this long before the end, so that a week precedes even the longest window."""
SHIFTED_H = 12
"""Windows up to this long may be an hour off if the zone is not known."""

DOUBT, DOUBT_OWN, DOUBT_FIRST = 0.6, 0.8, 2.0
"""Variance of an expectation after one week, in units of the usual variance. The second is added if
each hour is expected at its own mean; the third is for events not yet distinguishable from a habit,
and falls with the cube of the weeks."""
SLOW_DAYS = 7.0
LONGEST_DAYS = 28.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was learnt about a bot from the hours before ``end_ms``.

    ``table`` is by local hour of the week, ``roughness`` by window: the standard deviation beyond
    chance, as a share. ``weeks`` is how much is known, ``doubt`` the variance of the expectation
    itself in units of the usual variance. ``mean`` is the slow mean at ``tail_ms``, where judging
    begins. ``holidays`` has the share of the usual that each holiday held, by day.
    """

    table: tuple[float, ...]
    roughness: Mapping[int, float]
    weeks: float
    doubt: float
    mean: SlowMean
    tail_ms: int
    end_ms: int
    holidays: Mapping[dt.date, float]


@dataclass(frozen=True, slots=True)
class WindowScore:
    """A window of ``hours``: its engagement, expectation, usual deviation and score.

    ``deviation`` is in events, ``score`` in deviations after stabilising the variance. Gauges show
    the four in this order (``ENGAGEMENT``).
    """

    hours: int
    engagement: float
    expected: float
    deviation: float
    score: float


@dataclass(frozen=True, slots=True)
class HourExpectation:
    """One hour as expected before it began; None: not known, or not judged."""

    start_ms: int
    engagement: float | None
    expected: float | None
    deviation: float | None


def learn(hours: HourlyCounts, calendar: Calendar) -> Expectation | None:
    """Return what to expect of a bot after ``hours``; None while less than a week is known.

    The bot's history begins with its first message.
    """
    hours = hours.since(hours.end_ms - LEARN_H * HOUR_MS).from_first_count()
    weeks = sum(count is not None for count in hours.counts) / WEEK_H
    if weeks < 1:
        return None
    free = calendar.holidays(hours)
    counts = _without_holidays(hours.counts, free)
    week_hours = calendar.week_hours(hours)
    old = max(0, len(counts) - LAG_H)
    habit = show_habit(counts[:old], week_hours[:old])
    habitual = sum(habit)
    if not habitual:
        return None
    table = weekly_table(counts[:old], week_hours[:old], habit)
    base = [table.usual[hour] for hour in week_hours]
    per_day = DAY_H * sum(c for c, h in zip(known(counts), habit, strict=False) if h) / habitual
    half_life = min(LONGEST_DAYS, SLOW_DAYS * sqrt(1 + 100 / max(per_day, 1e-9)))
    habit += [count is not None for count in counts[old:]]
    found = levels(counts, base, habit, SlowMean(half_life * DAY_H))
    habit_weeks = habitual / WEEK_H
    tail = max(0, len(counts) - TAIL_H)
    return Expectation(
        table=table.usual,
        roughness=roughness(WINDOWS, counts, base, found, table.own / max(1.0, habit_weeks)),
        weeks=weeks,
        doubt=_doubt(habit_weeks, table.own),
        mean=found.means[min(tail + STRETCH_H, len(counts))],
        tail_ms=hours.start_ms + tail * HOUR_MS,
        end_ms=hours.end_ms,
        holidays=_holidays(hours.counts, free, base, found.expected),
    )


def judge(
    expectation: Expectation,
    hours: HourlyCounts,
    calendar: Calendar,
    arrived: Sequence[float] = (),
) -> dict[int, WindowScore]:
    """Return the fully known windows that end with the newest of ``hours``, by length.

    ``arrived`` has the share of the newest hour that has usually arrived, of the one before, …
    """
    return _Tail.of(expectation, hours, calendar, arrived).windows()


def expected_hours(
    expectation: Expectation,
    hours: HourlyCounts,
    calendar: Calendar,
    arrived: Sequence[float] = (),
) -> tuple[HourExpectation, ...]:
    """Return the hours of the tail, oldest first, each as expected before it began."""
    return _Tail.of(expectation, hours, calendar, arrived).hours()


@dataclass(frozen=True, slots=True)
class _Tail:
    """The newest hours, each with its value in the table (None: not judged) and its level.

    ``may_shift``: the clock may be an hour off, since the zone is not known.
    """

    expectation: Expectation
    start_ms: int
    counts: Sequence[float | None]
    base: Sequence[float | None]
    week_hours: Sequence[int]
    level: Sequence[float]
    may_shift: bool

    @classmethod
    def of(
        cls,
        expectation: Expectation,
        hours: HourlyCounts,
        calendar: Calendar,
        arrived: Sequence[float],
    ) -> "_Tail":
        hours = hours.since(expectation.tail_ms)
        free, week_hours = calendar.holidays(hours), calendar.week_hours(hours)
        table = [expectation.table[hour] for hour in week_hours]
        for age, share in enumerate(arrived[: len(table)], 1):
            table[-age] *= share
        usual = _without_holidays(hours.counts, free)
        habit = [count is not None for count in usual]
        return cls(
            expectation=expectation,
            start_ms=hours.start_ms,
            counts=hours.counts,
            base=[
                value if day is None else _of_holiday(expectation, calendar, day, value)
                for value, day in zip(table, free, strict=True)
            ],
            week_hours=week_hours,
            level=levels(usual, table, habit, expectation.mean).expected,
            may_shift=not calendar.known,
        )

    def windows(self) -> dict[int, WindowScore]:
        found = {}
        for length in WINDOWS:
            start = len(self.counts) - length
            counts = [count for count in self.counts[start:] if count is not None]
            base = [value for value in self.base[start:] if value is not None]
            if start >= 0 and len(counts) == len(base) == length:
                usual = sum(base)
                if self.may_shift and length <= SHIFTED_H:
                    usual *= min(1.0, self._shifted(start))
                found[length] = self._scored(length, sum(counts), usual * self.level[start])
        return found

    def hours(self) -> tuple[HourExpectation, ...]:
        return tuple(
            HourExpectation(start_ms, count, None, None)
            if value is None
            else HourExpectation(start_ms, count, value * level, self._deviation(1, value * level))
            for start_ms, count, value, level in zip(
                range(self.start_ms, self.start_ms + len(self.counts) * HOUR_MS, HOUR_MS),
                self.counts,
                self.base,
                self.level,
                strict=False,
            )
        )

    def _shifted(self, start: int) -> float:
        """Return the table's least value for the hours with the clock an hour off, as a share."""
        table, hours = self.expectation.table, self.week_hours[start:]
        usual, *shifted = (
            sum(table[(hour + off) % WEEK_H] for hour in hours) for off in (0, -1, 1)
        )
        return min(shifted) / usual if usual > 0 else 1.0

    def _deviation(self, length: int, expected: float) -> float:
        rough = self.expectation.roughness[length] * expected
        return self._doubt * sqrt(expected + 0.375 + rough * rough)

    def _scored(self, length: int, engagement: float, expected: float) -> WindowScore:
        off = distance(engagement, expected, self.expectation.roughness[length])
        deviation = self._deviation(length, expected)
        return WindowScore(length, engagement, expected, deviation, off / self._doubt)

    @property
    def _doubt(self) -> float:
        return sqrt(1 + self.expectation.doubt)


def _doubt(weeks: float, own: float) -> float:
    """Return the variance of an expectation, in units of the usual variance.

    ``own`` is the part of the table that is each hour's own mean.
    """
    return (DOUBT + DOUBT_OWN * own) / weeks + DOUBT_FIRST / weeks**3


def _without_holidays(
    counts: Sequence[float | None], free: Sequence[dt.date | None]
) -> list[float | None]:
    return [count if day is None else None for count, day in zip(counts, free, strict=True)]


def _of_holiday(
    expectation: Expectation, calendar: Calendar, day: dt.date, usual: float
) -> float | None:
    """Return what to expect of an hour of the holiday ``day``, by the last one of that name."""
    name = calendar.holiday(day)
    before = [
        other for other in expectation.holidays if other < day and calendar.holiday(other) == name
    ]
    return usual * expectation.holidays[max(before)] if before else None


def _holidays(
    counts: Sequence[float | None],
    free: Sequence[dt.date | None],
    base: Sequence[float],
    level: Sequence[float],
) -> dict[dt.date, float]:
    """Return the share of the usual that each fully known holiday held."""
    shares = {}
    for day in {each for each in free if each is not None}:
        hours = [at for at, each in enumerate(free) if each == day and counts[at] is not None]
        usual = sum(base[at] * level[at] for at in hours)
        if len(hours) >= DAY_H - 1 and usual > 0:
            shares[day] = sum(counts[at] or 0.0 for at in hours) / usual
    return shares
