"""Instants as vendors write them, and the windows that requests ask for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from exporter.model.samples import DAY_MS, HOUR_MS, SECOND_MS, Window, ceil_to, floor_to

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def iso(at_ms: int) -> str:
    """Return UTC milliseconds as ``2026-03-01T09:00:00.000Z``."""
    text = datetime.fromtimestamp(at_ms / SECOND_MS, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def instant_ms(at: datetime) -> int:
    """Return the UTC milliseconds of ``at``, which is aware."""
    return (at - _EPOCH) // _MILLISECOND


def parse_instant(text: str, *, assume_utc: bool = False) -> int:
    """Return the UTC milliseconds of an ISO 8601 time; raise ``ValueError`` without an offset."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        if not assume_utc:
            raise ValueError(text)
        at = at.replace(tzinfo=UTC)
    try:
        return instant_ms(at)
    except OverflowError:
        raise ValueError(text) from None


def spans(window: Window, step_ms: int, span_ms: int | None) -> Iterator[Window]:
    """Yield ``window``, grown to whole steps, in parts of at most ``span_ms``, oldest first."""
    start_ms, end_ms = floor_to(window.start_ms, step_ms), ceil_to(window.end_ms, step_ms)
    part_ms = span_ms or max(end_ms - start_ms, step_ms)
    for at_ms in range(start_ms, end_ms, part_ms):
        yield Window(at_ms, min(at_ms + part_ms, end_ms))


def trailing(now_ms: int, length_ms: int) -> Window:
    """Return the newest whole hours before ``now_ms`` that together last ``length_ms``."""
    end_ms = floor_to(now_ms, HOUR_MS)
    return Window(end_ms - length_ms, end_ms)


def trailing_label(window: Window) -> str:
    """Return the label ``window`` of whole trailing days, as in ``trailing_7d``."""
    return f"trailing_{window.length_ms // DAY_MS}d"
