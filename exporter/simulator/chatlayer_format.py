"""Chatlayer's formats that all answers share: versions, errors, empty fields, names of fields."""

import zlib
from collections.abc import Mapping
from typing import Any, Literal

BOT = "b7x2k9"
TEAM = "t4q8w1"
Version = Literal["LIVE", "DRAFT"]
VERSIONS: tuple[Version, ...] = ("LIVE", "DRAFT")

MAPS = frozenset({"labels", "attributes"})

# The gRPC status that the gateway gives for each HTTP status.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}


def error_body(status: int, reason: str) -> Any:
    """Return an error as grpc-gateway writes it."""
    return {"code": _CODES.get(status, 2), "message": reason, "details": []}


def version_of(environment: str) -> Version:
    """Return the version that an occurrence of the truth belongs to."""
    return "DRAFT" if environment == "staging" else "LIVE"


def choice(name: str, many: int) -> int:
    """Return a number below ``many`` that is always the same for ``name``."""
    return zlib.crc32(name.encode()) % many


def formatted(payload: Any, modes: Mapping[str, Any]) -> Any:
    """Return ``payload`` in the format that the modes ask for."""
    payload = _without_empty(payload) if "omit_empty" in modes else payload
    return _camel_case(payload) if "camel_case" in modes else payload


def _without_empty(value: Any) -> Any:
    """Return ``value`` without fields that are empty or 0, as proto3 writes them by default."""
    match value:
        case dict():
            kept = {key: _without_empty(each) for key, each in value.items()}
            return {key: each for key, each in kept.items() if each not in ("", 0, None, [], {})}
        case list():
            return [_without_empty(each) for each in value]
        case _:
            return value


def _camel_case(value: Any) -> Any:
    """Return ``value`` with field names in camel case; the keys of maps are the customer's own."""
    match value:
        case dict():
            return {
                _camel(key): each if key in MAPS else _camel_case(each)
                for key, each in value.items()
            }
        case list():
            return [_camel_case(each) for each in value]
        case _:
            return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
