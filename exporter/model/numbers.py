"""Numbers of vendors' answers: what may become a count or a level, and what is drift."""

from typing import TypeAlias

from exporter.errors import SchemaError
from exporter.model.samples import LARGEST_EXACT

Number: TypeAlias = int | float
"""A JSON number as decoded; whether it is whole is decided here, so that the fault has a kind."""


def count(value: Number | None, path: str) -> int:
    """Return ``value`` as a count: whole, from 0 to 2^53; raise ``SchemaError`` label_rules ``path``."""
    number = level(value, path)
    if number != int(number):
        raise SchemaError(f"{path}: expected a whole number", "non_integer")
    return int(number)


def level(value: Number | None, path: str) -> Number:
    """Return ``value`` as a level: finite, from 0 to 2^53; raise ``SchemaError`` label_rules ``path``."""
    if value is None:
        raise SchemaError(f"{path}: missing", "missing")
    if not value <= LARGEST_EXACT:  # so written, NaN is refused too
        raise SchemaError(f"{path}: expected a number up to 2^53", "unexpected_type")
    if value < 0:
        raise SchemaError(f"{path}: negative", "negative")
    return value
