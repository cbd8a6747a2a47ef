"""Ledgers that are closed when their test ends; each test that takes one runs on both databases."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, VirtualClock

Start = Callable[..., LedgerDriver]
"""Opens a ledger at an instant, with a query of these traits."""


ON_SQLITE = pytest.mark.parametrize("database", [None], ids=["sqlite"])
"""For a test of what only SQLite has."""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Return the URL of an empty ledger on PostgreSQL; None for SQLite."""
    if request.param == "sqlite":
        return None
    emptied: Callable[[], str] = request.getfixturevalue("emptied")
    return emptied()


@pytest.fixture
def start(tmp_path: Path, database: str | None) -> Iterator[Start]:
    with ExitStack() as opened:

        def started(at_ms: int = START_MS, **traits: Any) -> LedgerDriver:
            clock = VirtualClock(at_ms)
            made = LedgerDriver(tmp_path, spec(**traits), clock=clock, postgresql=database)
            return opened.enter_context(made)

        yield started


@pytest.fixture
def driver(start: Start) -> LedgerDriver:
    return start()
