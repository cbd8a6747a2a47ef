"""Which numbers of an answer may become counts."""

import pytest

from exporter.errors import SchemaError
from exporter.model.numbers import count, level


@pytest.mark.parametrize("value", [0, 7, 7.0, 2**53, "7", "7.0", "7e0", "0", "70E-1"])
def test_whole_numbers_are_counts_in_every_spelling(value: float | str) -> None:
    assert count(value, "count") == float(value)


def test_a_level_may_be_fractional() -> None:
    assert level(1.5, "share") == 1.5


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "missing"),
        (-1, "negative"),
        (1.5, "non_integer"),
        (2**53 + 1, "unexpected_type"),
        (10**400, "unexpected_type"),
        (float("nan"), "unexpected_type"),
        (float("inf"), "unexpected_type"),
        (True, "unexpected_type"),
        ("-7", "negative"),
        ("1.5", "non_integer"),
        ("many", "unexpected_type"),
        ("", "unexpected_type"),
        (" 7", "unexpected_type"),
        ("1e400", "unexpected_type"),
        ("٣", "unexpected_type"),
        ("9007199254740993", "unexpected_type"),
    ],
)
def test_an_impossible_count_is_an_error_that_names_its_field(
    value: float | str | None, kind: str
) -> None:
    with pytest.raises(SchemaError, match=r"^rows\[3\].count: ") as caught:
        count(value, "rows[3].count")

    assert caught.value.kind == kind
