"""Ledgers that are closed when their test ends; each test that takes one runs on both databases."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from exporter.ledger import engine
from exporter.ledger.store import Ledger
from exporter.ledger.tables import metadata
from exporter.model.families import NORMALISED
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.postgresql import PostgreSQL
from tests.support.virtual import START_MS, VirtualClock

Start = Callable[..., LedgerDriver]
"""Opens a ledger at an instant, with a query of these traits."""


ON_SQLITE = pytest.mark.parametrize("database", [None], ids=["sqlite"])
"""For a test of what only SQLite has."""


@pytest.fixture(scope="session")
def migrated(postgresql_server: PostgreSQL) -> Iterator[tuple[str, sa.Engine]]:
    """Yield the URL of a migrated ledger, and what empties it: a new one would cost half a second."""
    url = postgresql_server.url(postgresql_server.database())
    Ledger(url, clock=VirtualClock(), families=NORMALISED).close()
    made = engine.create_engine(url)
    yield url, made
    made.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Return the URL of an empty ledger on PostgreSQL; None for SQLite."""
    if request.param == "sqlite":
        return None
    url, made = request.getfixturevalue("migrated")
    with made.begin() as tx:
        for table in reversed(metadata.sorted_tables):
            tx.execute(sa.delete(table))
    return str(url)


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
