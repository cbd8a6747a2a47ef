"""Spans whose end is inclusive: what lies at the border of two of them."""

import pytest

from exporter.model.samples import HOUR_MS, Window
from exporter.providers.manifest.templates import Substitutes, fill


@pytest.mark.parametrize("form", ["iso", "strptime:%Y-%m-%dT%H:%M:%S.%fZ"])
def test_an_inclusive_end_with_fractions_of_a_second_is_a_millisecond_early(form: str) -> None:
    given = Substitutes({}, window=Window(0, HOUR_MS), inclusive=True)

    assert str(fill(f"window.end|{form}", given)).startswith("1970-01-01T00:59:59.999")
