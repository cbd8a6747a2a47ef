"""A ledger's URL as SQLAlchemy takes it."""

import pytest

from exporter.ledger.engine import create_engine


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://shop@db/ledger", "postgresql+psycopg"),
        ("postgresql+psycopg://shop@db/ledger", "postgresql+psycopg"),
        ("sqlite:///ledger.db", "sqlite"),
    ],
)
def test_postgresql_is_spoken_to_through_the_driver_that_is_installed(
    url: str, driver: str
) -> None:
    assert create_engine(url).url.drivername == driver
