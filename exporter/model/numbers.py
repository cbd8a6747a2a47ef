"""Numbers in vendors' answers: what may become a count or a level, and what is drift."""

import re
from typing import Any, TypeAlias

from exporter.errors import SchemaError
from exporter.model.samples import LARGEST_EXACT

Number: TypeAlias = int | float | str
"""A number as an answer spells it: ``12``, ``12.0``, ``1.2e1`` or ``"12"``."""

_TEXT = re.compile(r"-?\d{1,17}(\.\d{1,17})?([eE][+-]?\d{1,3})?", re.ASCII)


def parse_number(value: Any) -> float | None:
    """Return the number that ``value`` is or, as text, spells; None if it is neither."""
    if isinstance(value, str):
        spelled = _TEXT.fullmatch(value)
        return spelled and (float(value) if spelled[1] or spelled[2] else int(value))
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def count(value: Number | None, path: str) -> int:
    """Return ``value`` as a whole number from 0 to 2^53; raise ``SchemaError`` naming ``path``."""
    number = level(value, path)
    if number != int(number):
        raise SchemaError(f"{path}: expected a whole number", "non_integer")
    return int(number)


def optional_count(value: Number | None, path: str) -> int | None:
    """Return ``value`` as a count, or None if the answer has no such field."""
    return None if value is None else count(value, path)


def level(value: Number | None, path: str, *, least: float = 0) -> float:
    """Return ``value`` as a level from ``least`` to 2^53; raise ``SchemaError`` naming ``path``."""
    if value is None:
        raise SchemaError(f"{path}: missing", "missing")
    number = parse_number(value)
    rounded = isinstance(number, float) and number == LARGEST_EXACT  # it may have been larger
    if number is None or rounded or not number <= LARGEST_EXACT:  # also rejects NaN
        found = ", found text" if number is None and isinstance(value, str) else ""
        raise SchemaError(f"{path}: expected a number up to 2^53{found}", "unexpected_type")
    if number < least:
        raise SchemaError(f"{path}: negative", "negative")
    return number
