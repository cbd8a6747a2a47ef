"""Which folders hold tests of the whole, and how hard the properties try.

Random examples come from a new seed each time, in CI from the same one: a change there is judged,
not its luck. ``HYPOTHESIS_PROFILE=thorough`` runs ten times the examples.
"""

import asyncio
import inspect
import io
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import HealthCheck, Phase, settings

from exporter.ledger import engine
from exporter.ledger.store import Ledger
from exporter.ledger.tables import metadata
from exporter.logs import configure_logs
from exporter.model.families import NORMALISED
from tests.support.driver import scratch
from tests.support.postgresql import PostgreSQL, server
from tests.support.virtual import VirtualClock, run_virtual

pytest.register_assert_rewrite(  # so that their asserts explain themselves
    "tests.e2e.processes", "tests.faults.bench"
)

IN_MEMORY = {"exposition", "faults", "golden", "ledger", "polling", "providers"}
"""Folders whose ledgers live in memory: that commits reach the disk is tested with processes."""
SLOW = {"browser", "dashboards", "e2e", "faults", "fuzz", "kill", "packaging", "properties"}
HERE = Path(__file__).parent

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
PHASES = [phase for phase in Phase if phase is not Phase.explain]  # it takes hours with a ledger
usual = settings(deadline=None, suppress_health_check=QUIET, phases=PHASES, print_blob=True)
settings.register_profile("usual", usual)
settings.register_profile("thorough", usual, max_examples=1_000)
settings.register_profile("same", usual, derandomize=True, database=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "same" if os.environ.get("CI") == "true" else "usual")
)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    if shutil.which("initdb") is None:
        pytest.skip("no PostgreSQL on this machine")
    with server() as made:
        yield made


@pytest.fixture(scope="session")
def emptied(postgresql_server: PostgreSQL) -> Iterator[Callable[[int], str]]:
    """Yield what returns the URL of an empty ledger on PostgreSQL, by its number from 0 on.

    Each is migrated once: a new one would cost half a second.
    """
    made: list[sa.Engine] = []

    def empty(number: int = 0) -> str:
        while number >= len(made):
            url = postgresql_server.url(postgresql_server.database())
            Ledger(url, clock=VirtualClock(), families=NORMALISED).close()
            made.append(engine.create_engine(url))
        with made[number].begin() as tx:
            for table in reversed(metadata.sorted_tables):
                tx.execute(sa.delete(table))
        return made[number].url.set(drivername="postgresql").render_as_string(hide_password=False)

    yield empty
    for each in made:
        each.dispose()


@pytest.fixture
def logs_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back at the end what ``configure_logs`` has changed."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines(logs_as_before: None) -> io.StringIO:
    """Return the log of all that happens, as JSON."""
    del logs_as_before
    stream = io.StringIO()
    configure_logs("debug", "json", stream=stream)
    return stream


@pytest.fixture
def clock() -> VirtualClock:
    """Return the clock on which a test runs that is a coroutine."""
    return VirtualClock()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine: in virtual time, unless it is marked otherwise."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {
        name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters
    }
    if pyfuncitem.get_closest_marker("real_time"):
        asyncio.run(pyfuncitem.obj(**given))
    else:
        run_virtual(pyfuncitem.obj(**given), pyfuncitem._request.getfixturevalue("clock"))
    return True


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Yield a folder of the test's own, in memory where nothing asks for a disk."""
    if request.path.relative_to(HERE).parts[0] not in IN_MEMORY:
        yield tmp_path
        return
    with scratch() as folder:
        yield folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)
