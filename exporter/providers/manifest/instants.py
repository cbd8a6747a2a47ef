"""Instants as APIs write them, both ways."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from exporter.errors import SchemaError
from exporter.model.numbers import parse_number
from exporter.model.samples import DAY_MS, SECOND_MS
from exporter.providers.base.times import instant_ms, iso
from exporter.providers.manifest.expressions import Conversion, ExpressionError

LATEST_MS = 4_102_444_800_000  # the year 2100: a larger number is in another unit
_DATE = "%Y-%m-%d"
_PROBE = datetime(2001, 12, 31, 21, 0, tzinfo=UTC)


def unit_ms(conversion: Conversion) -> int:
    """Return the smallest step of what ``conversion`` writes."""
    return {"epoch_ms": 1, "iso": 1, "date": DAY_MS}.get(conversion.name, SECOND_MS)


def write(
    conversion: Conversion, at_ms: int, zone: str, *, past_repeated: bool = False
) -> str | int:
    """Return ``at_ms`` as an API calls it.

    A local time of the hour that a clock change repeats is that of the first of both. With
    ``past_repeated``, one of the second is written as an hour later, so that it bounds both.
    """
    match conversion.name:
        case "epoch_s":
            return at_ms // SECOND_MS
        case "epoch_ms":
            return at_ms
        case "iso":
            return iso(at_ms)
        case _:
            local = datetime.fromtimestamp(at_ms / SECOND_MS, ZoneInfo(zone))
            if past_repeated and local.fold and "%z" not in conversion.argument:
                local += timedelta(hours=1)
            return local.strftime(conversion.argument or _DATE)


def instant_reader(conversion: Conversion, zone: str, path: str) -> Callable[[Any], int]:
    """Return a function of a field's value; it raises ``SchemaError`` naming ``path``."""

    def read(value: Any) -> int:
        try:
            at_ms = _parse(conversion, value, zone)
        except (ValueError, TypeError, OverflowError):
            at_ms = -1
        if not 0 <= at_ms < LATEST_MS:
            raise SchemaError(f"{path}: expected an instant, as {conversion.name} writes it")
        return at_ms

    return read


def _parse(conversion: Conversion, value: Any, zone: str) -> int:
    if conversion.name in ("epoch_s", "epoch_ms"):
        number = parse_number(value)
        if number is None or not 0 <= number < LATEST_MS:
            return -1
        return round(number * (SECOND_MS if conversion.name == "epoch_s" else 1))
    if conversion.name == "iso":
        at = datetime.fromisoformat(value)
    else:
        at = datetime.strptime(value, conversion.argument or _DATE)  # noqa: DTZ007 - see below
    return instant_ms(at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone)))


def has_whole_hours(zone: str) -> bool:
    """Return whether the hours of ``zone`` begin with those of UTC, in winter and in summer."""
    return not any((at.utcoffset() or timedelta()) % timedelta(hours=1) for at in _middays(zone))


def changes_clock(zone: str) -> bool:
    """Return whether ``zone`` has summer time."""
    return len({at.utcoffset() for at in _middays(zone)}) > 1


def _middays(zone: str) -> list[datetime]:
    return [datetime(2026, month, 1, 12, tzinfo=ZoneInfo(zone)) for month in (1, 7)]


def check_format(conversion: Conversion, step_ms: int, zone: str) -> None:
    """Raise ``ExpressionError`` where a format cannot tell one bucket, or zone, from another."""
    hint = "as in strptime:%Y-%m-%d %H:%M"
    if conversion.name == "date" and step_ms < DAY_MS:
        raise ExpressionError("a date does not tell the hour", hint=hint)
    if conversion.name != "strptime":
        return
    try:
        text = _PROBE.strftime(conversion.argument)
        found = _parse(conversion, text, "UTC")
    except (ValueError, re.error):
        raise ExpressionError("not a format that can be read back", hint=hint) from None
    if found // step_ms != instant_ms(_PROBE) // step_ms:
        raise ExpressionError("the format does not tell one bucket from the next", hint=hint)
    if "%Z" in conversion.argument:  # which is read by the zone of the machine
        raise ExpressionError("the name of a zone is not its offset", hint="write %z")
    if "Z" in conversion.argument and zone != "UTC":
        raise ExpressionError(f"Z means UTC, and the times are those of {zone}", hint="write %z")
