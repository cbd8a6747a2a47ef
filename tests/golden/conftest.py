"""``pytest tests/golden --update-golden`` writes down what is shown now."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden pages")


@pytest.fixture
def update(pytestconfig: pytest.Config) -> bool:
    """Say whether the golden pages are to be written instead of compared with."""
    return bool(pytestconfig.getoption("--update-golden", default=False))
