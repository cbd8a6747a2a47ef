"""The schema on disk is the one in code, and Alembic is asked only where it is not."""

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from exporter.ledger import engine, upgrade
from exporter.ledger.tables import metadata
from tests.support.builders import Book
from tests.support.virtual import START_MS, VirtualClock

OPENED = """
import sys
from exporter.ledger import engine
engine.open_engine(sys.argv[1])
print("alembic" in sys.modules)
"""


def opened(url: str) -> str:
    """Return whether a process that opens the ledger at ``url`` loads Alembic."""
    told = subprocess.run([sys.executable, "-c", OPENED, url], capture_output=True, check=True)  # noqa: S603
    return told.stdout.decode().strip()


def test_the_newest_schema_is_the_last_migration() -> None:
    assert upgrade.revisions()[0] == engine.NEWEST


def test_a_migrated_ledger_has_the_tables_and_columns_of_the_code(tmp_path: Path) -> None:
    book = Book(tmp_path, VirtualClock(START_MS))
    book.ledger.close()
    made = sa.create_engine(book.url)

    with made.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)

    made.dispose()
    assert differences == []


def test_only_a_ledger_that_is_not_up_to_date_needs_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"

    assert (opened(url), opened(url)) == ("True", "False")


def test_the_schema_in_use_is_read_from_the_ledger(tmp_path: Path) -> None:
    book = Book(tmp_path, VirtualClock(START_MS))
    book.ledger.close()
    bare = sa.create_engine(book.url)

    assert engine.schema_version(bare) == engine.newest_schema() == 1
    assert engine.schema_version(sa.create_engine("sqlite://")) == 0
    bare.dispose()
