"""Which folders hold tests of the whole, and how hard the properties try.

Random examples come from a new seed each time, in CI from the same one: a change there is judged,
not its luck. ``HYPOTHESIS_PROFILE=thorough`` runs ten times the examples.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support.postgresql import PostgreSQL, server

pytest.register_assert_rewrite(  # so that their asserts explain themselves
    "tests.e2e.processes", "tests.faults.bench"
)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)
