"""What may become a count: whole numbers up to 2^53, as JSON or text spells them."""

from typing import Any

import msgspec
import pytest

from exporter.errors import SchemaError
from exporter.model.numbers import Number, count


def decoded(text: str) -> Any:
    return msgspec.json.decode(text, type=Number)


@pytest.mark.parametrize("text", ["9007199254740992", '"9007199254740992"'])
def test_the_largest_exact_number_is_one(text: str) -> None:
    assert count(decoded(text), "n") == 2**53


@pytest.mark.parametrize(
    "text",
    [
        *("9007199254740993", "9007199254740993.0", '"9007199254740993.0"', "1e300", "1e-3"),
        *("-1", "true", '"1_0"', '"NaN"', '""'),
    ],
)
def test_what_is_larger_or_may_have_been_is_refused(text: str) -> None:
    with pytest.raises((SchemaError, msgspec.ValidationError)):
        count(decoded(text), "n")
