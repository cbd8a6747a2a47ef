"""Opening the ledger: one process a file, durable commits, the schema brought up to date."""

import fcntl
import os
import shutil
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from exporter.errors import LedgerError

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph"})

MIGRATING = 10_877
PSYCOPG = "postgresql+psycopg"
NEWEST = "2"
"""The schema that this program writes: the last of ``migrations/versions``."""
WROTE = "wrote"
WRITES = ("INSERT", "UPDATE", "DELETE")
REVISION = sa.table("alembic_version", sa.column("version_num", sa.Text))


@dataclass(frozen=True, slots=True)
class Opened:
    """A ledger that is open; all but the engine is None where it has no file of its own.

    ``lock`` keeps other processes out until this one ends. ``check`` is SQLite's of the whole
    file, which goes on beside the reading of it; its result is None or a ``LedgerError``.
    """

    engine: sa.Engine
    lock: IO[str] | None = None
    check: "Future[None] | None" = None


def open_engine(url: str, *, allow_network_fs: bool = False) -> Opened:
    """Return the ledger at ``url``, migrated; raises ``LedgerError``.

    SQLite: WAL, ``synchronous=FULL`` (a scraped counter must survive a power loss), mode 0600.
    """
    opened = Opened(sa.create_engine(address(url)))
    sa.event.listen(opened.engine, "after_cursor_execute", _note_write)
    try:
        if opened.engine.dialect.name == "sqlite":
            opened = _open_sqlite(opened.engine, allow_network_fs=allow_network_fs)
        if opened.check is not None and _revision(opened.engine) not in {None, NEWEST}:
            opened.check.result()  # a file that is damaged is not migrated
        migrate(opened.engine)
    except sa.exc.DBAPIError as error:
        raise LedgerError(f"{_place(opened.engine)}: {error.orig}; is it a ledger?") from error
    return opened


def has_written(connection: sa.Connection) -> bool:
    """Say whether a statement of this transaction changed rows; asked once, before its commit."""
    return bool(connection.info.pop(WROTE, False))


def _note_write(connection: sa.Connection, cursor: Any, statement: str, *_more: object) -> None:
    if statement.startswith(WRITES) and cursor.rowcount:
        connection.info[WROTE] = True


def beside(url: str) -> sa.Engine:
    """Return an engine for short transactions beside the process that has the ledger open.

    It neither locks the ledger nor migrates it; ``check_schema`` says whether it may be used.
    """
    engine = sa.create_engine(address(url))
    if engine.dialect.name == "sqlite":
        _listen(engine)
    return engine


def check_schema(engine: sa.Engine) -> None:
    """Raise ``LedgerError`` where the ledger's schema is not the one of this program."""
    found, newest = schema_version(engine), newest_schema()
    if found != newest:
        raise LedgerError(
            f"the ledger has schema {found}, this program {newest}; use the version that runs, or "
            "let this one run first"
        )


def address(url: str) -> sa.URL:
    """Return ``url`` as SQLAlchemy takes it: PostgreSQL is spoken to through psycopg 3."""
    found = sa.make_url(url)
    return found.set(drivername=PSYCOPG) if found.drivername == "postgresql" else found


def migrate(engine: sa.Engine) -> None:
    """Bring the schema up to date, after a copy of a SQLite file; refuse one from the future."""
    found = _revision(engine)
    if found == NEWEST:
        return
    if found is not None and found not in revisions():
        raise LedgerError(
            f"{_place(engine)}: schema {found} is newer than this program; upgrade it"
        )
    path = _file(engine)
    if found is not None and path is not None:
        _copy(engine, path, f"{path}.v{found}.bak")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # of replicas that start together, one migrates
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
        _upgrade(connection)


def revisions() -> list[str]:
    """Return the schemas that this program knows, newest first."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - only migrations load Alembic

    return [each.revision for each in ScriptDirectory.from_config(_scripts()).walk_revisions()]


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # noqa: PLC0415 - only migrations load Alembic

    config = _scripts()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _scripts() -> Any:
    from alembic.config import Config  # noqa: PLC0415 - only migrations load Alembic

    config = Config()
    folder = resources.files("exporter.ledger") / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    return config


def schema_version(engine: sa.Engine) -> int:
    """Return the number of the schema in use."""
    return int(_revision(engine) or 0)


def newest_schema() -> int:
    """Return the number of the schema that this program writes."""
    return int(NEWEST)


def _revision(engine: sa.Engine) -> str | None:
    """Return the schema in use, as Alembic notes it; None where there is none yet."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(REVISION.name):
            return None
        return connection.execute(sa.select(REVISION.c.version_num)).scalar()


def size_bytes(engine: sa.Engine) -> int | None:
    """Return the ledger's size on disk; None where it has no file of its own."""
    path = _file(engine)
    if path is None:
        return None
    parts = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    return sum(part.stat().st_size for part in parts if part.exists())


def used_bytes(connection: sa.Connection) -> int | None:
    """Return how much of the ledger's file holds rows; None where it has no file of its own."""
    if _file(connection.engine) is None:
        return None
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def key_path(engine: sa.Engine) -> Path | None:
    """Return where the installation's key is kept, beside the ledger; None beside no file."""
    path = _file(engine)
    return None if path is None else Path(f"{path}.key")


def _open_sqlite(engine: sa.Engine, *, allow_network_fs: bool) -> Opened:
    path = _file(engine)
    _listen(engine)
    if path is None:
        return Opened(engine)
    if not path.parent.is_dir():
        raise LedgerError(f"{path}: the folder does not exist; create it or change ledger.url")
    if not allow_network_fs and _file_system(path.parent) in NETWORK_FILE_SYSTEMS:
        raise LedgerError(f"{path}: SQLite is not safe on a network file system; move the ledger")
    _touch_private(path)
    held = _lock(path)
    engine.connect().close()  # switches a new file to WAL, before others read it
    beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-check")
    check = beside.submit(_check, path)
    beside.shutdown(wait=False)
    return Opened(engine, held, check)


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as connection:  # takes no lock, as the engine's would
            verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise LedgerError(f"{path}: the ledger is damaged ({verdict}); restore a backup")


def _lock(path: Path) -> IO[str]:
    _touch_private(Path(f"{path}.lock"))
    handle = Path(f"{path}.lock").open("a")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise LedgerError(f"{path}: another exporter runs on this ledger; stop it first") from None
    return handle


def _copy(engine: sa.Engine, path: Path, target: str) -> None:
    """Copy the ledger with all that was committed: the log is written into it first."""
    with engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy2(path, target)


def _touch_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}; check ledger.url and its owner") from None


def _listen(engine: sa.Engine) -> None:
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin_immediate)


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, so that reads and writes are one transaction
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=5000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _file(engine: sa.Engine) -> Path | None:
    name = engine.url.database
    if engine.dialect.name != "sqlite" or name in {None, "", ":memory:"}:
        return None
    return Path(str(name))


def _place(engine: sa.Engine) -> str:
    return str(_file(engine) or engine.url.render_as_string(hide_password=True))


def _file_system(folder: Path) -> str:
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    resolved = str(folder.resolve())
    found = [line.split()[1:3] for line in mounts.read_text("utf-8").splitlines()]
    holding = [
        (point, kind) for point, kind in found if f"{resolved}/".startswith(point.rstrip("/") + "/")
    ]
    return max(holding, key=lambda pair: len(pair[0]), default=("", "unknown"))[1]
