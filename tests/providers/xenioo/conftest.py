"""The account that most tests ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.xenioo.account import Account


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    made = Account(tmp_path)
    yield made
    made.driver.close()
