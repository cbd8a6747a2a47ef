"""Instants and hours as the simulators read and write them."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
Instant = Annotated[
    str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
]
"""A parameter that is a date and time with a zone, as in RFC 3339."""


def milliseconds(instant: str) -> int:
    """Return UTC milliseconds of an ``Instant``."""
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def stamp(at_ms: int, digits: int = 3) -> str:
    """Return an instant as RFC 3339 in UTC with ``digits`` digits of a second."""
    seconds, rest_ms = divmod(at_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{rest_ms:03d}000000"[: digits + 1] if digits else "") + "Z"
