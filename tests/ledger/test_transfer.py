"""A ledger moves from SQLite to PostgreSQL and back, and a damaged one is found."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from exporter.cli import main
from exporter.clock import SystemClock
from exporter.errors import LedgerError
from exporter.ledger import engine, transfer
from exporter.ledger.store import Ledger
from exporter.ledger.tables import gap, metadata, series
from exporter.model.families import NORMALISED
from tests.ledger.test_replicas import count, shown
from tests.support.builders import spec
from tests.support.postgresql import PostgreSQL

CLOCK = SystemClock()


def filled(folder: Path) -> str:
    """Return a SQLite ledger that shows 4."""
    url = f"sqlite:///{folder}/ledger.db"
    ledger = Ledger(url, clock=CLOCK, families=NORMALISED)
    ledger.sync_queries([spec()])
    count(ledger, 5)
    count(ledger, 9)
    ledger.close()
    (folder / "ledger.db.key").write_bytes(bytes(range(32)))
    return url


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return what a ledger holds, without what belongs to processes."""
    made = engine.create_engine(url)
    with made.connect() as tx:
        found = {
            name: sorted(map(tuple, tx.execute(sa.select(table))), key=repr)
            for name, table in metadata.tables.items()
            if name not in transfer.LEFT_OUT | {"query"}
        }
    made.dispose()
    return found


def test_a_ledger_goes_on_where_it_is_copied_to(
    tmp_path: Path, postgresql_server: PostgreSQL
) -> None:
    there = postgresql_server.url(postgresql_server.database())
    here, back = filled(tmp_path), f"sqlite:///{tmp_path}/back.db"

    result = CliRunner().invoke(main, ["ledger", "copy", "--from", here, "--to", there])
    again = CliRunner().invoke(main, ["ledger", "copy", "--from", here, "--to", there])
    ledger = Ledger(there, clock=CLOCK, families=NORMALISED)
    ledger.sync_queries([spec()])
    running = CliRunner().invoke(main, ["ledger", "check", "--url", there])
    went_on = shown(ledger)
    count(ledger, 12)
    ledger.close()
    transfer.copy(there, back, CLOCK)

    assert (result.exit_code, "series: 1" in result.output) == (0, True), result.output
    assert "this ledger has rows; copy to a new database" in again.output
    assert "an exporter runs on it; stop it first" in running.output
    assert went_on == [4]
    assert rows(there) == rows(back) != rows(here)
    assert (tmp_path / "back.db.key").read_bytes() == bytes(range(32))
    assert transfer.check(there, CLOCK) == transfer.check(back, CLOCK) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (sa.update(series).values(c=series.c.c + 1), "the counter amounts to 5, its buckets to 4"),
        (
            sa.insert(gap).values(query_id=1, from_ms=2, to_ms=2, reason="unreadable"),
            "shop/hourly: the gap from 2 to 2 is invalid",
        ),
    ],
)
def test_a_damaged_ledger_is_found(tmp_path: Path, change: sa.Executable, said: str) -> None:
    url = filled(tmp_path)
    right = CliRunner().invoke(main, ["ledger", "check", "--url", url])
    made = engine.create_engine(url)
    with made.begin() as tx:
        tx.execute(change)
    made.dispose()

    result = CliRunner().invoke(main, ["ledger", "check", "--url", url])

    assert (right.exit_code, right.output) == (0, "The ledger is in order.\n")
    assert (result.exit_code, said in result.output) == (1, True), result.output


@pytest.mark.parametrize("options", [["check", "--url"], ["copy", "--to", "{to}", "--from"]])
def test_a_mistyped_path_is_no_empty_ledger(tmp_path: Path, options: list[str]) -> None:
    to, url = f"sqlite:///{tmp_path}/to.db", f"sqlite:///{tmp_path}/mistyped.db"

    result = CliRunner().invoke(main, ["ledger", *(each.format(to=to) for each in options), url])

    assert (result.exit_code, "mistyped.db: there is no ledger" in result.output) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("a b", "expected sqlite:///FILE or postgresql://HOST/DATABASE"),
        ("postgresql://h:abc/db", "expected sqlite:///FILE or postgresql://HOST/DATABASE"),
        ("mysql://x", "expected sqlite:///FILE or postgresql://HOST/DATABASE"),
        ("sqlite:///ledger.db?x=1", "a file takes no options"),
        ("sqlite:///:memory:", "a ledger in memory loses its counts"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [["check", "--url"], ["copy", "--to", "{0}", "--from"], ["copy", "--from", "{0}", "--to"]],
)
def test_what_is_no_ledgers_url_is_named(
    tmp_path: Path, options: list[str], url: str, said: str
) -> None:
    given = [each.format(f"sqlite:///{tmp_path}/other.db") for each in options]

    result = CliRunner().invoke(main, ["ledger", *given, url])

    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert list(tmp_path.iterdir()) == []


def test_a_copy_does_not_take_the_key_of_another_ledger(tmp_path: Path) -> None:
    old, new = filled(tmp_path), f"sqlite:///{tmp_path}/new.db"
    stale = tmp_path / "new.db.key"
    stale.write_bytes(bytes(32))

    with pytest.raises(LedgerError, match="the key of another ledger; delete it first"):
        transfer.copy(old, new, CLOCK)
    stale.unlink()
    transfer.copy(old, new, CLOCK)

    assert stale.read_bytes() == bytes(range(32))


def test_a_ledger_is_not_copied_to_itself(tmp_path: Path) -> None:
    url = filled(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "ledger.db")

    for itself in (url, f"sqlite:///{tmp_path}/link.db"):
        with pytest.raises(LedgerError, match="cannot be copied to itself"):
            transfer.copy(url, itself, CLOCK)
