"""Numbers in vendors' answers: what may become a count or a level, and what is drift."""

import re
from typing import TypeAlias

from exporter.errors import SchemaError
from exporter.model.samples import LARGEST_EXACT

Number: TypeAlias = int | float
"""A JSON number as decoded; ``count`` decides whether it is whole, so that the error has a kind."""

_NUMBER = re.compile(r"-?\d{1,17}(\.\d{1,9})?", re.ASCII)


def count(value: Number | None, path: str) -> int:
    """Return ``value`` as a count, whole and from 0 to 2^53; raise ``SchemaError`` naming ``path``."""
    number = level(value, path)
    if number != int(number):
        raise SchemaError(f"{path}: expected a whole number", "non_integer")
    return int(number)


def optional_count(value: Number | None, path: str) -> int | None:
    """Return ``value`` as a count, or None if the answer has no such field."""
    return None if value is None else count(value, path)


def spelled_count(value: Number | str | None, path: str) -> int:
    """Return a count that may be spelled as text; raise ``SchemaError`` naming ``path``."""
    if not isinstance(value, str):
        return count(value, path)
    if not _NUMBER.fullmatch(value):
        raise SchemaError(f"{path}: expected a number")
    return count(float(value) if "." in value else int(value), path)


def level(value: Number | None, path: str) -> Number:
    """Return ``value`` as a level, finite and from 0 to 2^53; raise ``SchemaError`` naming ``path``."""
    if value is None:
        raise SchemaError(f"{path}: missing", "missing")
    if not value <= LARGEST_EXACT:  # also refuses NaN
        raise SchemaError(f"{path}: expected a number up to 2^53", "unexpected_type")
    if value < 0:
        raise SchemaError(f"{path}: negative", "negative")
    return value
