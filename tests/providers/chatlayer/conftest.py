"""What the tests of event lists begin with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.providers.chatlayer.care import Care, Open


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Open]:
    """Return ``begin(**settings)``: a target whose first poll has succeeded."""
    opened: list[Care] = []

    def start(*, first: bool = True, **settings: Any) -> Care:
        opened.append(Care(tmp_path, **settings))
        if first:
            assert opened[-1].poll().outcome == "ok"
        return opened[-1]

    yield start
    for care in opened:
        care.driver.close()
        assert care.service.writes() == []
