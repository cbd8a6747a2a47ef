"""Which folders hold tests of the whole: processes, browsers, long histories."""

from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.faults.bench")  # so that its asserts explain themselves

SLOW = {"browser", "dashboards", "e2e", "faults", "fuzz", "kill", "packaging", "properties"}
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)
        if item.path.is_relative_to(HERE / "properties"):
            # A ledger that is "killed" there never closes its lock; the collector does.
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"))
            unraisable = "ignore::pytest.PytestUnraisableExceptionWarning"
            item.add_marker(pytest.mark.filterwarnings(unraisable))
