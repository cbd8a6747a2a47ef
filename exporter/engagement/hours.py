"""Hours of one bot: counts, places in the local week, holidays, and how late counts arrive."""

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from zoneinfo import ZoneInfo

from exporter.model.samples import HOUR_MS, SECOND_MS

DAY_H = 24
WEEK_H = 7 * DAY_H

AGES = 3
"""How many of the newest hours may be incomplete."""
FINAL_H = 6
"""Hours after which a count is taken as final."""
KEEP_WEIGHT = 0.98
"""The weight that an observation keeps when the next one comes: about two days of hours count."""
LEAST_SHARE = 0.5
PRIOR = 50.0


@dataclass(frozen=True, slots=True)
class HourlyCounts:
    """Consecutive hours, oldest first, from ``start_ms`` on; None: not known."""

    start_ms: int
    counts: tuple[float | None, ...]

    @property
    def end_ms(self) -> int:
        """Return the end of the newest hour."""
        return self.start_ms + len(self.counts) * HOUR_MS

    def since(self, start_ms: int) -> "HourlyCounts":
        """Return the hours from ``start_ms`` on; all of them if they begin later."""
        at = max(0, (start_ms - self.start_ms) // HOUR_MS)
        return HourlyCounts(self.start_ms + at * HOUR_MS, self.counts[at:])

    def from_first_count(self) -> "HourlyCounts":
        """Return the hours from the first count above 0 on."""
        at = next((at for at, count in enumerate(self.counts) if count), len(self.counts))
        return self.since(self.start_ms + at * HOUR_MS)


def no_holiday(_: dt.date) -> str | None:
    """Return None: there are no holidays."""
    return None


@dataclass(frozen=True)
class Calendar:
    """A bot's clock; ``known`` is false if ``zone`` is the default, UTC.

    ``holiday`` returns the name of a day's holiday, or None.

    With a known zone, the hours of the week follow the local clock, so that summer time changes
    nothing for the bot.
    """

    zone: str = "UTC"
    holiday: Callable[[dt.date], str | None] = no_holiday

    @property
    def known(self) -> bool:
        return self.zone != "UTC"

    @property
    def has_holidays(self) -> bool:
        return self.holiday is not no_holiday

    def week_hours(self, hours: HourlyCounts) -> tuple[int, ...]:
        """Return the local hour of the week of each hour; 0 is Monday 00:00."""
        return tuple(
            at.weekday() * DAY_H + at.hour
            for at in _local(self.zone, hours.start_ms, len(hours.counts))
        )

    def holidays(self, hours: HourlyCounts) -> tuple[dt.date | None, ...]:
        """Return the holiday that each hour belongs to; None for ordinary days."""
        if not self.has_holidays:
            return (None,) * len(hours.counts)
        days = [at.date() for at in _local(self.zone, hours.start_ms, len(hours.counts))]
        free = {day for day in set(days) if self.holiday(day) is not None}
        return tuple(day if day in free else None for day in days)


@lru_cache(maxsize=64)  # bots of one account need the same hours
def _local(zone: str, start_ms: int, number: int) -> tuple[dt.datetime, ...]:
    tz = ZoneInfo(zone)
    return tuple(
        dt.datetime.fromtimestamp((start_ms + n * HOUR_MS) / SECOND_MS, tz) for n in range(number)
    )


@dataclass(frozen=True, slots=True)
class _Newest:
    """A query's counts at the time when ``end_ms`` became their end, newest hour first."""

    end_ms: int
    counts: tuple[float, ...]


@dataclass(slots=True)
class Arrivals:
    """Learns what share of its final count an hour has while it is among the newest."""

    _seen: list[float] = field(default_factory=lambda: [0.0] * AGES)
    _final: list[float] = field(default_factory=lambda: [0.0] * AGES)
    _waiting: deque[_Newest] = field(default_factory=deque)
    _end_ms: int = 0

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the shares of the newest hour, the one before it, and so on; 1 is all."""
        return tuple(
            min(1.0, max(LEAST_SHARE, (seen + PRIOR) / (final + PRIOR)))
            for seen, final in zip(self._seen, self._final, strict=True)
        )

    def note(self, end_ms: int, counts: Sequence[float | None]) -> None:
        """Learn from the counts of all bots of a query, oldest first, which end at ``end_ms``."""
        if end_ms == self._end_ms:
            return
        if end_ms < self._end_ms:  # the clock was ahead
            self._waiting.clear()
        if end_ms == self._end_ms + HOUR_MS:  # after a pause, hours had more time to arrive
            self._waiting.append(_Newest(end_ms, tuple(known(counts)[: -AGES - 1 : -1])))
        self._end_ms = end_ms
        while self._waiting and self._waiting[0].end_ms <= end_ms - FINAL_H * HOUR_MS:
            self._compare(self._waiting.popleft(), end_ms, counts)

    def _compare(self, newest: _Newest, end_ms: int, counts: Sequence[float | None]) -> None:
        at = len(counts) - (end_ms - newest.end_ms) // HOUR_MS
        for age, seen in enumerate(newest.counts):
            hour = at - 1 - age
            final = counts[hour] if hour >= 0 else None
            if final is not None:
                self._seen[age] = KEEP_WEIGHT * self._seen[age] + seen
                self._final[age] = KEEP_WEIGHT * self._final[age] + final


def running_sums(values: Iterable[float]) -> list[float]:
    """Return the sums of the first 0, 1, 2 … values."""
    return list(accumulate(values, initial=0.0))


def known(counts: Sequence[float | None]) -> list[float]:
    """Return ``counts`` with 0 for hours that are not known."""
    return [0.0 if count is None else count for count in counts]
