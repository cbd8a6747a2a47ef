"""The schema on disk is the one in code, and an older ledger is migrated to it."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from exporter.errors import LedgerError
from exporter.ledger import engine
from exporter.ledger.tables import metadata
from exporter.model.samples import DAY_MS, HOUR_MS, Event, floor_to
from tests.ledger.conftest import ON_SQLITE, Start
from tests.support.builders import RECEIVED, received
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS


def test_the_newest_schema_is_the_last_migration() -> None:
    assert engine.revisions()[0] == engine.NEWEST


def test_a_migrated_ledger_has_the_tables_and_columns_of_the_code(driver: LedgerDriver) -> None:
    made = sa.create_engine(driver.url)

    with made.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)

    made.dispose()
    assert differences == []


def test_only_a_ledger_of_this_schema_is_used_beside_its_process(tmp_path: Path) -> None:
    book = LedgerDriver(tmp_path)
    beside, empty = engine.create_engine(book.url), engine.create_engine("sqlite://")

    engine.check_schema(beside)
    with pytest.raises(LedgerError, match="the ledger has schema 0, this program 9;"):
        engine.check_schema(empty)

    beside.dispose()
    empty.dispose()
    book.close()


def rewrite_as_schema(number: int, url: str, folder: Path) -> None:
    """Replace the ledger at ``url`` by one of an older schema with the same rows."""
    made = sa.create_engine(url)
    with made.begin() as tx:
        rows = {
            name: [dict(row._mapping) for row in tx.execute(sa.select(table))]
            for name, table in metadata.tables.items()
        }
    made.dispose()
    for file in folder.glob("ledger.db*"):
        file.unlink()
    made = sa.create_engine(url)
    with made.begin() as tx:
        config = engine._scripts()
        config.attributes["connection"] = tx
        command.upgrade(config, str(number))
        old = sa.MetaData()
        old.reflect(tx)
        for name, table in old.tables.items():
            for row in rows.get(name, []):
                if name == "query" and number == 1:
                    row |= {"naming": row.pop("label_rules"), "last_fault": row.pop("last_error")}
                known = {column: row[column] for column in row.keys() & table.columns.keys()}
                tx.execute(sa.insert(table).values(**known))
    made.dispose()


@ON_SQLITE
def test_a_ledger_of_schema_1_shows_the_same_after_its_migration(
    driver: LedgerDriver, tmp_path: Path
) -> None:
    hour = floor_to(START_MS, HOUR_MS)
    for value in (10.0, 14.0, 12.0):
        driver.poll({hour: value, hour - HOUR_MS: 3.0})
    before = driver.view()
    driver.close()
    rewrite_as_schema(1, driver.url, tmp_path)

    driver.open()
    after = driver.view()
    driver.poll({hour: 15.0, hour - HOUR_MS: 3.0})

    assert (after.shown, after.state) == (before.shown, before.state)
    assert (before.state.overhang, driver.counter()) == ({RECEIVED: 2}, 5)
    assert (tmp_path / "ledger.db.v1.bak").is_file()


@ON_SQLITE
def test_a_collapse_quarantined_under_schema_8_is_judged_anew(start: Start, tmp_path: Path) -> None:
    driver = start()
    hour = floor_to(START_MS, HOUR_MS)
    driver.poll({hour: 500.0})
    held = [driver.poll().held, driver.poll().held]
    driver.close()
    rewrite_as_schema(8, driver.url, tmp_path)

    driver.open()

    held += [driver.poll().held for _ in range(3)]
    assert held == [True, True, True, True, False]


@ON_SQLITE
def test_a_stream_of_schema_7_does_not_count_again_what_it_has_forgotten(
    start: Start, tmp_path: Path
) -> None:
    driver = start(stream=True)
    driver.poll(watermark_ms=START_MS)
    times = range(START_MS, START_MS + 80 * HOUR_MS, 20 * HOUR_MS)
    events = [Event(bytes([n]) * 16, at_ms, (received("web"),)) for n, at_ms in enumerate(times)]
    for each in events:
        driver.poll(events=[each], watermark_ms=each.at_ms)
        driver.clock.step(20 * HOUR_MS)
    driver.close()
    rewrite_as_schema(7, driver.url, tmp_path)

    driver.open(replace(driver.spec, ids_kept_ms=9 * DAY_MS))
    driver.poll(events=events, watermark_ms=events[-1].at_ms)

    assert driver.counter("web") == 4
    assert driver.counted("late_events_total", outcome="ignored") == 1
