"""Flow XO's units of time: hours, days and months of a fixed UTC offset."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exporter.simulator.traffic import Window

UNITS = frozenset({"hour", "day", "month"})


@dataclass(frozen=True, slots=True)
class UnitBucket:
    """One unit: ``start_ms`` is its border, ``window`` the part of it that is counted."""

    unit: str
    offset_ms: int
    start_ms: int
    window: Window


def buckets(
    unit: str, window: Window, offset_ms: int, *, whole_first: bool, extra: bool
) -> Iterator[UnitBucket]:
    """Yield the units that the window touches, and with ``extra`` the one that starts at its end.

    ``whole_first`` counts the first unit from its border, even where the window starts inside it.
    """
    first_ms, end_ms = window
    start_ms = _floor(unit, first_ms + offset_ms) - offset_ms
    while start_ms < end_ms or (extra and start_ms == end_ms):
        next_ms = _next(unit, start_ms + offset_ms) - offset_ms
        from_ms = start_ms if whole_first else max(start_ms, first_ms)
        until_ms = next_ms if start_ms == end_ms else min(next_ms, end_ms)
        yield UnitBucket(unit, offset_ms, start_ms, (from_ms, until_ms))
        start_ms = next_ms


def label(bucket: UnitBucket, *, spaced: bool) -> str:
    """Return the ``_id``: ``2026-02`` is documented, the forms of days and hours are guesses."""
    local = _local(bucket.start_ms + bucket.offset_ms)
    hour = "%Y-%m-%d %H:00" if spaced else "%Y-%m-%dT%H"
    return local.strftime({"month": "%Y-%m", "day": "%Y-%m-%d", "hour": hour}[bucket.unit])


def stamp(at_ms: int) -> str:
    """Return an instant as ``2026-02-01T00:00:00.000Z``."""
    return _local(at_ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def parse_instant(text: str, offset_ms: int) -> int | None:
    """Return UTC milliseconds of a date or date-time; without a zone it is local time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return _ms(at.replace(tzinfo=UTC)) - offset_ms
    return _ms(at)


def _floor(unit: str, local_ms: int) -> int:
    at = _local(local_ms).replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        at = at.replace(hour=0)
    return _ms(at.replace(day=1) if unit == "month" else at)


def _next(unit: str, local_ms: int) -> int:
    longest = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31)}
    return _floor(unit, _ms(_local(local_ms) + longest[unit]))


def _local(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
