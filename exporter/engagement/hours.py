"""Hours of one bot: their counts, their place in the local week, and holidays."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from exporter.model.samples import HOUR_MS

DAY_H = 24
WEEK_H = 7 * DAY_H


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
        """Return the hours from ``start_ms`` on; all of them where they begin later."""
        at = max(0, (start_ms - self.start_ms) // HOUR_MS)
        return HourlyCounts(self.start_ms + at * HOUR_MS, self.counts[at:])

    def from_first_count(self) -> "HourlyCounts":
        """Return the hours from the first with a count above 0 on."""
        at = next((at for at, count in enumerate(self.counts) if count), len(self.counts))
        return self.since(self.start_ms + at * HOUR_MS)


def no_holiday(_: dt.date) -> str | None:
    """Return None: there are no holidays."""
    return None


@dataclass(frozen=True)
class Calendar:
    """A bot's clock. ``known`` is false where ``zone`` is only the default, UTC.

    ``holiday`` returns the name of a day that is a holiday, else None.

    With a known zone the hours of the week move with the local clock, so that a change of the clock
    is no change for the bot.
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
        """Return the holiday that each hour belongs to; None for usual days."""
        if not self.has_holidays:
            return (None,) * len(hours.counts)
        days = [at.date() for at in _local(self.zone, hours.start_ms, len(hours.counts))]
        free = {day for day in set(days) if self.holiday(day) is not None}
        return tuple(day if day in free else None for day in days)


@lru_cache(maxsize=64)  # bots of one account ask for the same hours
def _local(zone: str, start_ms: int, number: int) -> tuple[dt.datetime, ...]:
    tz = ZoneInfo(zone)
    return tuple(
        dt.datetime.fromtimestamp((start_ms + n * HOUR_MS) / 1000, tz) for n in range(number)
    )
