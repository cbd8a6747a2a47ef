"""Chatlayer's formats that all answers share: times, versions, errors, empty fields."""

import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

BOT = "b7x2k9"
TEAM = "t4q8w1"
VERSIONS = ("LIVE", "DRAFT")
CAMPAIGNS = (("", ""), ("spring24", "newsletter"), ("blackfriday", "social"))

MAPS = frozenset({"labels", "attributes"})

# The gRPC status that the gateway gives for each HTTP status.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def error_body(status: int, reason: str) -> Any:
    """Return an error as grpc-gateway writes it."""
    return {"code": _CODES.get(status, 2), "message": reason, "details": []}


def version_of(environment: str) -> str:
    """Return the version that an occurrence of the truth belongs to."""
    return "DRAFT" if environment == "staging" else "LIVE"


def chance(name: str, many: int) -> int:
    """Return a number below ``many`` that is always the same for ``name``."""
    return zlib.crc32(name.encode()) % many


def campaign_of(conversation: str) -> tuple[str, str]:
    """Return id and source of the campaign that a conversation came from, if it did."""
    return CAMPAIGNS[chance(conversation, len(CAMPAIGNS))]


def parse_instant(value: Any) -> int | None:
    """Return UTC milliseconds of an RFC 3339 time."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    except ValueError:
        return None


def stamp(at_ms: int, digits: int = 3) -> str:
    """Return an instant as RFC 3339 in UTC with ``digits`` digits of a second."""
    seconds, milliseconds = divmod(at_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{milliseconds:03d}000000"[:digits]
    return f"{text}.{fraction}Z" if digits else f"{text}Z"


def without_empty(value: Any) -> Any:
    """Return ``value`` without fields that are empty or 0, as proto3 writes them by default."""
    match value:
        case dict():
            kept = {key: without_empty(each) for key, each in value.items()}
            return {key: each for key, each in kept.items() if each not in ("", 0, None, [], {})}
        case list():
            return [without_empty(each) for each in value]
        case _:
            return value


def camel(value: Any) -> Any:
    """Return ``value`` with field names in camel case; the keys of maps are the customer's own."""
    match value:
        case dict():
            return {
                _camel(key): each if key in MAPS else camel(each) for key, each in value.items()
            }
        case list():
            return [camel(each) for each in value]
        case _:
            return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def spelled(payload: Any, modes: Mapping[str, Any]) -> Any:
    """Return ``payload`` in the spelling that the modes ask for."""
    payload = without_empty(payload) if "omit_empty" in modes else payload
    return camel(payload) if "camel_case" in modes else payload
