"""Xenioo's ``GroupLabel`` as an hour or a local day: pure functions.

The vendor does not document the form of a group label. Every usual form is accepted; any other is
an error. Source: https://docs.xenioo.com, "Account Statistics Data"
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from exporter.errors import SchemaError
from exporter.model.samples import HOUR_MS, Window, floor_to
from exporter.providers.base.times import instant_ms

GroupMode: TypeAlias = Literal["hour", "day"]

_DATE_ONLY = re.compile(r"\d{4}-\d\d-\d\d|\d{8}")
_DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_EPOCH_UNITS = {10: 1, 13: 1000}
_CENTURY = "20"


@dataclass(frozen=True, slots=True)
class GroupLabels:
    """Parses the group labels of one response.

    ``zone`` applies to labels without an offset; ``form`` is a ``strptime`` format, tried first.
    """

    mode: GroupMode
    zone: str
    form: str | None = None

    def window(self, label: Any, path: str) -> Window:
        """Return the group's window; raise ``SchemaError`` at ``path`` if it cannot be parsed."""
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise SchemaError(f"{path}: expected a time")
        at, has_hour = _parse_time(str(label).strip(), self.form)
        tz, found = ZoneInfo(self.zone), None
        with suppress(OverflowError):  # the first and last days of the calendar
            if at is not None and self.mode == "day":
                found = _day(at, tz)
            elif at is not None and has_hour:
                found = _hour(at, tz)
        if found is None:
            hint = "see timezone and label_format"
            raise SchemaError(f"{path}: not the start of a whole {self.mode}; {hint}")
        return found


def day_window(day: date, zone: str) -> Window:
    """Return a local day of ``zone``: 23, 24 or 25 hours."""
    tz = ZoneInfo(zone)
    start, end = (datetime.combine(day + timedelta(days=n), time(), tz) for n in (0, 1))
    return Window(instant_ms(start), instant_ms(end))


def closed_day(until_ms: int, zone: str) -> date:
    """Return the newest local day of ``zone`` that ended by ``until_ms``, in whole hours."""
    until = datetime.fromtimestamp(floor_to(until_ms, HOUR_MS) / 1000, ZoneInfo(zone))
    return until.date() - timedelta(days=1)


def _parse_time(text: str, form: str | None) -> tuple[datetime | None, bool]:
    """Return the time in ``text``, None if there is none, and whether it has an hour."""
    if form and (at := _strptime(text, form)):
        return at, True
    has_hour = not _DATE_ONLY.fullmatch(text)
    if text.isascii() and text.isdecimal():
        return _parse_digits(text), has_hour
    try:
        return datetime.fromisoformat(text), has_hour
    except ValueError:
        return None, False


def _parse_digits(text: str) -> datetime | None:
    """Return the time of ``2026020309``, or of seconds or milliseconds since 1970."""
    if text.startswith(_CENTURY) and len(text) in _DIGITS:
        return _strptime(text, _DIGITS[len(text)])
    if unit := _EPOCH_UNITS.get(len(text)):
        return datetime.fromtimestamp(int(text) / unit, UTC)
    return None


def _strptime(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - a label without offset is local
    except ValueError:
        return None


def _hour(at: datetime, tz: ZoneInfo) -> Window | None:
    local = at.astimezone(tz) if at.tzinfo else at
    if (local.minute, local.second, local.microsecond) != (0, 0, 0):
        return None
    if at.tzinfo:
        return Window(instant_ms(at), instant_ms(at) + HOUR_MS)
    first_ms, second_ms = (instant_ms(at.replace(tzinfo=tz, fold=fold)) for fold in (0, 1))
    # In autumn one label stands for two hours: one bucket of both.
    return Window(first_ms, max(first_ms, second_ms) + HOUR_MS)


def _day(at: datetime, tz: ZoneInfo) -> Window | None:
    local = at.astimezone(tz) if at.tzinfo else at
    return day_window(local.date(), tz.key) if local.time() == time() else None
