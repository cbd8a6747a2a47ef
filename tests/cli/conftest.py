"""A ledger with a past, and the settings file it belongs to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.driver import LedgerDriver
from tests.support.telling import explained


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerDriver]:
    monkeypatch.setenv("FLOWXO_API_KEY", "sk-C4n4ry")
    found = explained(tmp_path)
    yield found
    found.close()
