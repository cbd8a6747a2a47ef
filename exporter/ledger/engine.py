"""Opens the ledger: one process per file, durable commits, an up-to-date schema."""

import errno
import fcntl
import os
import re
import sqlite3
import struct
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from threading import Event
from typing import IO, Any
from urllib.parse import quote

import sqlalchemy as sa

from exporter.clock import Clock, DatabaseClock
from exporter.errors import LedgerError, MachineError
from exporter.ledger.tables import metadata
from exporter.model.samples import SECOND_MS

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs"}
    | {f"fuse.{name}" for name in ("ceph", "glusterfs", "juicefs", "rclone", "s3fs", "sshfs")}
)
MOUNTS = Path("/proc/mounts")
BUSY_MS = 2_000  # other writers take milliseconds; a stop may have to wait this long twice

MIGRATING = 10_877
NEWEST = "9"
"""The schema version that this program writes: the last one in ``migrations/versions``."""
WROTE, SERVER, ONLY_READS = "wrote", "server", "only_reads"
WRITES = ("INSERT", "UPDATE", "DELETE")
REVISION = sa.table("alembic_version", sa.column("version_num", sa.Text))
OURS = frozenset({REVISION.name, "self_counter"})
"""Tables that every schema of the ledger has."""
FOREIGN = "the database of another program; change ledger.url"
IN_MEMORY = frozenset({None, "", ":memory:"})
USED_BYTES = (
    "SELECT (page_count - freelist_count) * page_size "
    "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
LOCKED_BYTE = 2**62
"""Far beyond the end of the file and the bytes that SQLite locks."""
if sys.platform == "darwin":  # untested: the number and the layout of XNU's sys/fcntl.h
    SET_LOCK, LOCK = 90, struct.pack("qqihh", LOCKED_BYTE, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
else:
    SET_LOCK = fcntl.F_OFD_SETLK
    LOCK = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, LOCKED_BYTE, 1, 0)


@dataclass(frozen=True, slots=True)
class Opened:
    """An open ledger.

    ``files`` are those of SQLite: the ledger itself, then its log. ``lock`` keeps other processes
    out until this one ends. ``check`` is SQLite's check of the whole file, which runs while the
    ledger is loaded; it raises ``LedgerError``. Once ``hurried`` is set, no call waits for long.
    """

    engine: sa.Engine
    files: tuple[Path, ...] = ()
    lock: IO[bytes] | None = None
    check: "Future[None] | None" = None
    hurried: Event = field(default_factory=Event)

    @property
    def place(self) -> str:
        """Return the ledger's location as the user wrote it, without a password."""
        return _place(self.engine)

    @property
    def key_file(self) -> Path | None:
        """Return the path of the sketch key of a SQLite ledger; None for a ledger in memory."""
        return Path(f"{self.files[0]}.key") if self.files else None

    @property
    def shared(self) -> bool:
        """Return whether other processes may have the ledger open as well."""
        return self.engine.dialect.name == "postgresql"

    def displaced(self) -> str:
        """Return an error message if the file at the ledger's path was deleted or replaced."""
        try:
            found = [part.stat() for part in self.files]
        except OSError:
            found = []
        if self.lock is None or (
            found and os.path.samestat(found[0], os.fstat(self.lock.fileno()))
        ):
            return ""
        name = _place(self.engine)
        return f"{name}: deleted or replaced under the running exporter; put it back or restart"

    def close(self) -> None:
        """Close the ledger; the lock goes last, because closing its handle drops SQLite's locks."""
        self.engine.dispose()
        if self.lock is not None:
            self.lock.close()


def clock_of(url: str, own: Clock) -> Clock:
    """Return the clock of the ledger at ``url``: all replicas of a shared one use the server's."""
    shared = sa.make_url(url).get_backend_name() == "postgresql"
    return DatabaseClock(own) if shared else own


def open_engine(url: str, clock: Clock, *, allow_network_fs: bool = False) -> Opened:
    """Open the ledger at ``url`` and migrate it; raises ``LedgerError`` and ``MachineError``.

    SQLite: WAL, ``synchronous=FULL`` (a scraped counter must survive a power loss), mode 0600.
    """
    hurried = Event()
    made = create_engine(url, hurried, clock)
    sa.event.listen(made, "after_cursor_execute", _note_write)
    sa.event.listen(made, "begin", has_written)  # forget writes that were rolled back
    path = _file(made)
    lock = None if path is None else _lock(path, allow_network_fs=allow_network_fs)
    opened = Opened(made, lock=lock, hurried=hurried)
    try:
        check = None if path is None else _start_check(made, path)
        migrate(made, check)
    except Exception as error:
        opened.close()
        if not isinstance(error, sa.exc.DBAPIError | sqlite3.Error):
            raise
        raise LedgerError(f"{_place(made)}: {cause(error)}; {_hint(made, error)}") from error
    names = () if path is None else (path, Path(f"{path}-wal"), Path(f"{path}-shm"))
    return replace(opened, files=tuple(name for name in names if name.exists()), check=check)


def server_of(connection: sa.Connection) -> int:
    """Return the server run that this transaction is on; 0 for SQLite, which has only one."""
    return int(connection.info.get(SERVER, 0))


def has_written(connection: sa.Connection) -> bool:
    """Return whether this transaction changed rows, and reset; call once, before its commit."""
    return bool(connection.info.pop(WROTE, False))


def _note_write(connection: sa.Connection, cursor: Any, statement: str, *_more: object) -> None:
    if statement.startswith(WRITES) and cursor.rowcount:
        connection.info[WROTE] = True


def create_engine(
    url: str, hurried: Event | None = None, clock: Clock | None = None, **options: Any
) -> sa.Engine:
    """Return an engine for short transactions, even while another process has the ledger open.

    It neither locks nor migrates the ledger; call ``check_schema`` before using it. Raises
    ``MachineError`` if the driver is missing.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database not in IN_MEMORY:
            parsed = parsed.set(database=os.path.realpath(str(parsed.database)))
        made = sa.create_engine(parsed, **options)
        sa.event.listen(made, "connect", _set_pragmas)
        sa.event.listen(made, "begin", _begin)
        return made
    check_driver(url)
    from exporter.ledger import postgresql  # noqa: PLC0415 - psycopg is optional

    parsed = parsed.set(drivername="postgresql+psycopg")
    return postgresql.create_engine(parsed, hurried or Event(), clock, **options)


def check_driver(url: str) -> None:
    """Raise ``MachineError`` if the driver of this ledger is missing."""
    if sa.make_url(url).get_backend_name() == "sqlite":
        return
    try:
        import psycopg  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise MachineError(
            f"ledger.url: psycopg, the driver for PostgreSQL, cannot be loaded ({error}); install "
            "the wheel with [postgresql], see docs/install.md"
        ) from None


def _begin(tx: sa.Connection) -> None:
    # A transaction that may write waits for its turn here, so that it is not refused half way.
    only_reads = tx.get_execution_options().get(ONLY_READS)
    tx.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def is_there(url: str) -> bool:
    """Return whether there is a ledger at ``url``, as far as is known without connecting."""
    parsed = sa.make_url(url)
    return parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").is_file()


def existing_file(url: str) -> Path:
    """Return the file of the SQLite ledger at ``url``; raise ``LedgerError`` if there is none."""
    path = Path(sa.make_url(url).database or "")
    if not is_there(url):
        raise LedgerError(f"{path}: there is no ledger yet; has the exporter run?")
    return path


def read_only(url: str) -> sa.Engine:
    """Return an engine that reads the ledger at ``url`` while an exporter writes it."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return create_engine(url, execution_options=options)
    path = existing_file(url)

    def connect() -> sqlite3.Connection:
        place = f"file:{quote(str(path.absolute()))}?mode=ro"
        # We send BEGIN ourselves: one snapshot for all reads, and in WAL mode no writer waits.
        return sqlite3.connect(
            place,
            uri=True,
            timeout=BUSY_MS / SECOND_MS,
            isolation_level=None,
            check_same_thread=False,
        )

    made = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.NullPool)
    sa.event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return made


def is_conflict(error: sa.exc.SQLAlchemyError) -> bool:
    """Return whether ``error`` is a conflict with another replica, so that a retry may succeed."""
    if not isinstance(error, sa.exc.DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    from exporter.ledger import postgresql  # noqa: PLC0415 - psycopg is optional

    return postgresql.is_conflict(error)


def cause(error: Exception) -> str:
    """Return the database's own message as one line, without any rows quoted after it."""
    said = error if isinstance(error, sqlite3.Error) else getattr(error, "orig", None)
    line = str(said or type(error).__name__).partition("\n")[0]
    return re.sub("^connection (failed|is bad): |FATAL: +", "", line)


def _hint(engine: sa.Engine, error: Exception) -> str:
    if engine.dialect.name == "sqlite":
        locked = "database is locked" in cause(error)
        return "close the program that holds it" if locked else "is it a ledger?"
    from exporter.ledger import postgresql  # noqa: PLC0415 - psycopg is optional

    return postgresql.hint(cause(error))


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Begin a transaction on a ledger that another process may write; raises ``LedgerError``."""
    try:
        with engine.begin() as tx:
            yield tx
    except sa.exc.SQLAlchemyError as error:
        raise LedgerError(f"the ledger cannot be read: {cause(error)}") from error


def check_schema(engine: sa.Engine) -> None:
    """Raise ``LedgerError`` unless the ledger has the schema of this program."""
    with engine.connect() as connection:
        found = _revision(connection)
    if found != NEWEST:
        raise LedgerError(
            f"the ledger has schema {found or 0}, this program {NEWEST}; use the version that runs, or "
            "let this one run first"
        )


def migrate(engine: sa.Engine, check: "Future[None] | None" = None) -> None:
    """Upgrade the schema after ``check`` and a backup copy; refuse one from a newer version."""
    with engine.connect() as connection:
        found = _revision(connection)
    if found == NEWEST:
        return
    if found is not None and found not in revisions():
        raise LedgerError(
            f"{_place(engine)}: schema {found} is newer than this program; upgrade it"
        )
    path = _file(engine)
    if found is not None and path is not None:
        if check is not None:
            check.result()  # a damaged file is not migrated
        copy_to(engine, Path(f"{path}.v{found}.bak"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # if replicas start together, only one migrates
            allow_minutes(connection)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATING)))
        _upgrade(connection)


def allow_minutes(connection: sa.Connection) -> None:
    """Lift the database's time limits for this transaction, if it has any."""
    if connection.dialect.name == "postgresql":
        from exporter.ledger import postgresql  # noqa: PLC0415 - psycopg is optional

        postgresql.allow_minutes(connection)


def revisions() -> list[str]:
    """Return the schema versions that this program knows, newest first."""
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


def _revision(connection: sa.Connection) -> str | None:
    """Return the schema version that Alembic recorded; None if there is none yet."""
    tables = set(sa.inspect(connection).get_table_names())
    if REVISION.name not in tables:
        return None
    if not tables >= OURS:
        raise LedgerError(f"{_place(connection.engine)}: {FOREIGN}")
    return connection.execute(sa.select(REVISION.c.version_num)).scalar()


def row_counts(connection: sa.Connection, tables: Iterable[sa.Table]) -> dict[str, int]:
    """Return row counts by table; on PostgreSQL its latest estimates, since counting may take minutes.

    Tables without an estimate, which are small, are left out.
    """
    if connection.dialect.name == "postgresql":
        number = "SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)"
        found = {
            table.name: int(connection.execute(sa.text(number), {"name": table.name}).scalar_one())
            for table in tables
        }
        return {name: rows for name, rows in found.items() if rows >= 0}
    return {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in tables
    }


def used_bytes(connection: sa.Connection) -> int | None:
    """Return the bytes in use, of the file or of all tables; None for a ledger in memory."""
    if connection.dialect.name == "postgresql":
        sizes = [sa.func.pg_total_relation_size(name) for name in metadata.tables]
        return int(connection.execute(sa.select(sum(sizes[1:], sizes[0]))).scalar_one())
    if _file(connection.engine) is None:
        return None
    return int(connection.exec_driver_sql(USED_BYTES).scalar_one())


def _lock(path: Path, *, allow_network_fs: bool) -> IO[bytes]:
    """Return the ledger's file, locked. Links to the file share the lock.

    SQLite locks other bytes. The lock belongs to the handle, because the locks of the process end
    when SQLite closes one of its own handles.
    """
    if not path.parent.is_dir():
        raise LedgerError(f"{path}: the folder does not exist; create it or change ledger.url")
    if not allow_network_fs and _file_system(path.parent) in NETWORK_FILE_SYSTEMS:
        raise LedgerError(f"{path}: SQLite is not safe on a network file system; move the ledger")
    try:
        handle = os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "rb")
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}; check ledger.url and its owner") from None
    try:
        fcntl.fcntl(handle, SET_LOCK, LOCK)
    except OSError as error:
        handle.close()
        problem = f"the file cannot be locked: {error.strerror}; move the ledger to a local disk"
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            problem = "another exporter runs on this ledger; stop it first"
        raise LedgerError(f"{path}: {problem}") from None
    return handle


def _start_check(engine: sa.Engine, path: Path) -> "Future[None]":
    _refuse_foreign(path)
    engine.connect().close()  # switch a new file to WAL before anything else reads it
    beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-check")
    check = beside.submit(_check, path)
    beside.shutdown(wait=False)
    return check


def _refuse_foreign(path: Path) -> None:
    """Raise ``LedgerError`` if another program made the database; write nothing."""
    # If there is no log, "immutable" keeps SQLite from creating one next to a foreign file.
    mode = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in names}
        (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application or (tables and not tables >= OURS):
        raise LedgerError(f"{path}: {FOREIGN}")


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as connection:  # unlike the engine's, takes no lock
            verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise LedgerError(f"{path}: the ledger is damaged ({verdict}); restore a backup")


def copy_to(engine: sa.Engine, target: Path) -> None:
    """Copy a SQLite ledger with everything that was committed.

    Reading the file without SQLite would release the locks that SQLite holds on it.
    """
    os.close(os.open(target, os.O_CREAT | os.O_RDWR, 0o600))
    with engine.connect() as connection, closing(sqlite3.connect(target)) as copy:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - only SQLite has a file
        driver.backup(copy)


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # our own BEGIN puts reads and writes in one transaction
    busy = f"busy_timeout={BUSY_MS}"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", busy):
        connection.execute(f"PRAGMA {pragma}")


def _file(engine: sa.Engine) -> Path | None:
    name = engine.url.database
    if engine.dialect.name != "sqlite" or name in IN_MEMORY:
        return None
    return Path(str(name))


def _place(engine: sa.Engine) -> str:
    """Return the ledger's location as the user wrote it, without driver and password."""
    url = engine.url.set(drivername="postgresql").difference_update_query(
        ["password", "sslpassword"]
    )
    return str(_file(engine) or url.render_as_string(hide_password=True))


def _unescaped(point: str) -> str:
    r"""Return a mount point of ``/proc/mounts``, where a blank is ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), point)


def _file_system(folder: Path) -> str:
    if not MOUNTS.exists():
        return "unknown"
    resolved = str(folder.resolve())
    lines = os.fsdecode(MOUNTS.read_bytes()).split("\n")
    found = [(_unescaped(line.split(" ")[1]), line.split(" ")[2]) for line in lines if line]
    holding = [
        (point, kind) for point, kind in found if f"{resolved}/".startswith(point.rstrip("/") + "/")
    ]
    return max(holding, key=lambda pair: len(pair[0]), default=("", "unknown"))[1]
