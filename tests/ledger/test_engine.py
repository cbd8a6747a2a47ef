"""One process a file, whatever its name; a file that is lost or another program's is named."""

import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.errors import LedgerError
from exporter.ledger import engine
from exporter.ledger.store import Ledger
from exporter.ledger.writes import WriteHealth
from exporter.model.families import NORMALISED
from exporter.model.samples import HOUR_MS, floor_to
from exporter.telemetry.counters import Telemetry
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, VirtualClock

HOUR = floor_to(START_MS, HOUR_MS)
READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM series").fetchall()
connection.close()
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LedgerDriver]:
    with LedgerDriver(tmp_path) as opened:
        yield opened


def open_at(path: Path) -> Ledger:
    return Ledger(f"sqlite:///{path}", clock=VirtualClock(START_MS), families=NORMALISED)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs", "fuse.glusterfs", "lustre"])
def test_a_network_file_system_is_refused_unless_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(engine, "_file_system", lambda _folder: kind)
    path = tmp_path / "ledger.db"

    with pytest.raises(LedgerError, match="not safe on a network file system"):
        open_at(path)

    url, clock = f"sqlite:///{path}", VirtualClock(START_MS)
    Ledger(url, clock=clock, families=NORMALISED, allow_network_fs=True).close()


def test_a_network_file_system_whose_path_has_a_blank_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mounts = tmp_path / "my share", tmp_path / "mounts"
    folder.mkdir()
    point = str(folder).replace(" ", "\\040")
    mounts.write_bytes(b"/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /\xe9t\xe9 ext4 rw 0 0\n")
    with mounts.open("a") as file:
        file.write(f"server:/share {point} nfs4 rw 0 0\n")
    monkeypatch.setattr(engine, "MOUNTS", mounts)

    with pytest.raises(LedgerError, match="not safe on a network file system"):
        open_at(folder / "ledger.db")


def test_a_file_that_cannot_be_locked_is_not_said_to_be_another_exporters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SET_LOCK", -1)

    with pytest.raises(LedgerError, match="the file cannot be locked: Invalid argument; move"):
        open_at(tmp_path / "ledger.db")


def try_to_open(path: Path, said: Connection) -> None:
    try:
        open_at(path).close()
    except LedgerError as error:
        said.send(str(error))
    else:
        said.send("")


def error_of_another_process(path: Path) -> str:
    """Return with what another process fails to open the ledger at ``path``; empty: it does not."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=try_to_open, args=(path, there))
    process.start()
    assert here.poll(60)
    said: str = here.recv()
    process.join()
    return said


def linked(path: Path, link: Callable[[Path, Path], None]) -> Path:
    made = path.parent / "elsewhere" / "other.db"
    made.parent.mkdir()
    link(made, path)
    return made


NAMES: dict[str, Callable[[Path], Path]] = {
    "the same": lambda path: path,
    "a symbolic link": lambda path: linked(path, Path.symlink_to),
    "a hard link": lambda path: linked(path, Path.hardlink_to),
}


@pytest.mark.parametrize("renamed", NAMES.values(), ids=NAMES)
def test_a_ledger_has_one_process_by_whatever_name(
    renamed: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    first = open_at(path)

    refused = error_of_another_process(renamed(path))
    first.close()

    assert "another exporter runs on this ledger; stop it first" in refused
    open_at(path).close()


def test_the_lock_is_no_obstacle_to_sqlite(driver: LedgerDriver, tmp_path: Path) -> None:
    driver.poll({HOUR: 1.0})

    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
        other.execute("VACUUM")
        other.execute("BEGIN EXCLUSIVE")
        other.rollback()
    driver.poll({HOUR: 3.0})

    assert driver.counter() == 2


def delete_all(path: Path) -> None:
    for file in path.parent.glob("ledger.db*"):
        file.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace_by_copy(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy.db"))
    path.with_name("copy.db").rename(path)


LOSSES: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "deleted with its log": delete_all,
    "its log deleted": lambda path: path.with_name("ledger.db-wal").unlink(),
    "moved": move,
    "replaced": replace_by_copy,
    "its folder deleted": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_a_file_lost_under_a_running_process_is_named(
    lose: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "ledger"
    folder.mkdir()
    driver = LedgerDriver(folder)
    writes = WriteHealth(driver.clock, Telemetry())
    driver.ledger._transactions._writes = writes
    driver.poll({HOUR: 1.0})

    lose(folder / "ledger.db")

    with pytest.raises(LedgerError, match=r"ledger\.db: .*deleted or replaced.*restart"):
        driver.poll({HOUR: 5.0})
    assert writes.failing
    with capture_logs() as said:
        driver.close()
    assert [line["event"] for line in said] == ["claims not released"]


def test_a_ledger_that_is_put_back_goes_on(driver: LedgerDriver, tmp_path: Path) -> None:
    driver.poll({HOUR: 1.0})
    move(tmp_path / "ledger.db")
    with pytest.raises(LedgerError):
        driver.view()

    (tmp_path / "moved.db").rename(tmp_path / "ledger.db")
    driver.poll({HOUR: 4.0})

    assert driver.counter() == 3


def test_a_write_that_was_undone_is_not_taken_for_a_later_one(driver: LedgerDriver) -> None:
    writes = WriteHealth(driver.clock, Telemetry())
    driver.ledger._transactions._writes = writes

    def fail_after_a_write() -> None:
        with driver.ledger._transactions.begin() as tx:
            tx.exec_driver_sql("UPDATE query SET fail_streak = 1")
            tx.exec_driver_sql("SELECT * FROM nowhere")

    with pytest.raises(LedgerError, match="no such table: nowhere"):
        fail_after_a_write()
    driver.ledger.next_due_ms()

    assert writes.failing


TABLE = "CREATE TABLE song (id INTEGER PRIMARY KEY, title TEXT);"
MIGRATED = (
    "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('2')"
)
OTHERS = {
    "tables": TABLE,
    "tables in WAL mode": f"PRAGMA journal_mode=WAL; {TABLE}",
    "migrations": TABLE + MIGRATED,
    "application": "PRAGMA application_id=252006673",
}


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in the files, except where SQLite's readers mark how far they have read."""
    shared = [file for file in folder.iterdir() if file.name.endswith("-shm")]
    return {file.name: b"" if file in shared else file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("kept_open", [False, True], ids=["closed", "in use"])
@pytest.mark.parametrize("script", OTHERS.values(), ids=OTHERS)
def test_another_programs_database_is_refused_and_left_as_it_is(
    script: str, tmp_path: Path, *, kept_open: bool
) -> None:
    path = tmp_path / "songs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.executescript(script)
        if not kept_open:
            other.close()
        files = contents(tmp_path)

        with pytest.raises(LedgerError, match=r"songs\.db: .*another program; change ledger\.url"):
            open_at(path)

        assert contents(tmp_path) == files


def test_a_file_that_is_refused_is_not_locked_any_more(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.executescript(TABLE)
        with pytest.raises(LedgerError, match="another program"):
            open_at(path)
        other.execute("DROP TABLE song")

    open_at(path).close()


def test_a_ledger_that_crashed_with_all_its_rows_in_the_log_is_opened(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    driver = LedgerDriver(tmp_path)  # whose schema is in the log, too
    driver.poll({HOUR: 1.0})
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for file in tmp_path.glob("ledger.db*"):
        shutil.copy(file, crashed / file.name)
    driver.close()

    again = LedgerDriver(crashed, clock=VirtualClock(START_MS + 1))

    assert again.counter() == 0
    again.close()


def test_a_stop_does_not_wait_for_who_holds_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_MS", 100)
    driver = LedgerDriver(tmp_path)
    driver.poll({HOUR: 1.0})

    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with capture_logs() as said:
            driver.close()

    assert [(line["event"], line["log_level"]) for line in said] == [
        ("claims not released", "warning")
    ]
    assert "database is locked" in said[0]["error"]


@pytest.mark.parametrize("call", ["maintain", "sizes", "self_counts", "next_due_ms"])
def test_a_database_that_another_process_holds_is_an_error_of_the_ledger(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_MS", 100)

    with (
        LedgerDriver(tmp_path) as driver,
        closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="database is locked"):
            getattr(driver.ledger, call)()


def test_the_copy_before_a_migration_has_all_that_was_committed(
    driver: LedgerDriver, tmp_path: Path
) -> None:
    driver.poll({HOUR: 1.0})
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
        before = list(other.iterdump())

    engine.copy_to(driver.ledger._opened.engine, tmp_path / "copy.db")

    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert list(copy.iterdump()) == before
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_copy_does_not_end_the_locks_that_sqlite_holds(
    driver: LedgerDriver, tmp_path: Path
) -> None:
    """Another program that ends would take itself for the last one, and delete the log."""
    driver.poll({HOUR: 1.0})
    engine.copy_to(driver.ledger._opened.engine, tmp_path / "copy.db")

    subprocess.run([sys.executable, "-c", READ, tmp_path / "ledger.db"], check=True)  # noqa: S603

    assert (tmp_path / "ledger.db-wal").exists()
    driver.poll({HOUR: 4.0})
    assert driver.counter() == 3


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
    assert engine.create_engine(url).url.drivername == driver
