"""PostgreSQL as the ledger's database: every call has a time limit, and every error a cause."""

import re
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, wait
from functools import partial
from threading import Event, Thread
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen

from exporter.clock import Clock, DatabaseClock

T = TypeVar("T")

SILENT_S = 5.0
"""How long the server may send nothing; longer than its own statement timeout."""
HURRIED_S = 2.0
"""The same while the process stops; a stop may take 10 s in all."""
MIGRATION_S = 600.0
"""The same during a migration, whose statements may rewrite a large table."""
TICK_S = 0.25

TRANSACTION_MS = {
    "statement_timeout": 4_000,  # the slowest statement counts the rows of a table
    "lock_timeout": 3_000,  # other transactions take milliseconds
    "idle_in_transaction_session_timeout": 10_000,  # a frozen process must not keep its row locks
}
"""Limits kept by the server; set per transaction, as a pooler may switch sessions in between."""

CONNECT = {
    "application_name": "chatbot-exporter",
    "connect_timeout": 3,  # per address, so that the next one is tried after a silent one
    "keepalives_idle": 10,  # s; a dead peer of an idle connection is detected within 25 s
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,  # ms until sent data must be acknowledged
}
"""Parameters of libpq; the query of ``ledger.url`` overrides them."""

OLDEST = 10  # psycopg 3 supports no older server

NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
STARTED_US = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
"""Identifies the server run: it changes with a restart or a failover."""
STANDBY = "the server is a standby, which is read-only"
CONFLICTS = frozenset({
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "23505",  # unique_violation: another replica has just inserted the row
    "55P03",  # lock_not_available: another replica is still busy, such as with new settings
})  # fmt: skip

HINTS = (
    ("password|authentication failed", "check user and password (PGPASSWORD, PGPASSFILE)"),
    ("(resolve|translate) host", "check the host in ledger.url"),
    ("(database|role) .* does not exist", "create it or change ledger.url"),
    ("pg_hba", "let pg_hba.conf admit it, or set sslmode=require in ledger.url"),
    ("permission denied|not permitted", "grant what docs/postgresql.md lists"),
    ("SSL|sslmode |certificate", "check sslmode and sslrootcert in ledger.url"),
    ("^invalid|^missing", "correct ledger.url"),
    ("read-only", "add target_session_attrs=read-write to ledger.url"),
    ("already exists", "give the ledger a database of its own"),
    ("is older than", "upgrade the server"),
    ("", "check that the server runs and can be reached"),
)
"""Advice by libpq's message: libpq gives no code for a failed connection."""


def create_engine(url: sa.URL, hurried: Event, clock: Clock | None, **options: Any) -> sa.Engine:
    """Return an engine whose calls all have a time limit, a shorter one once ``hurried``.

    Each transaction passes the server's time to a ``DatabaseClock``. None begins on a standby,
    whose data may be old.
    """
    made = sa.create_engine(url, pool_timeout=SILENT_S, isolation_level="READ COMMITTED", **options)
    sa.event.listen(made, "do_connect", partial(_connect, hurried))
    sa.event.listen(made, "begin", partial(_begin, clock))
    return made


def is_conflict(error: sa.exc.SQLAlchemyError) -> bool:
    """Return whether ``error`` is a conflict with another transaction, so a retry may succeed."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in CONFLICTS


def hint(error: str) -> str:
    """Return what to do about ``error``, which kept the ledger from being opened."""
    return next(advice for cause, advice in HINTS if re.search(cause, error))


def allow_minutes(connection: sa.Connection) -> None:
    """Lift the limits for a migration; ``connection`` does not return to the pool."""
    driver = connection.connection.driver_connection
    connection.detach()
    assert isinstance(driver, _Connection)  # noqa: S101 - create_engine sees to it
    driver.silent_s = MIGRATION_S
    _set_bounds(dict.fromkeys(TRANSACTION_MS, 0), connection)


def _begin(clock: Clock | None, connection: sa.Connection) -> None:
    sent_s = clock.monotonic() if isinstance(clock, DatabaseClock) else 0.0
    try:
        at_ms, server, standby = _set_bounds(TRANSACTION_MS, connection)
    except sa.exc.DBAPIError:
        connection.invalidate()  # a pooler keeps the connection open when its server is gone
        raise
    if standby:
        connection.invalidate()  # a new connection may lead to the primary
        raise sa.exc.OperationalError("", {}, psycopg.OperationalError(STANDBY))
    connection.info["server"] = server
    if isinstance(clock, DatabaseClock):
        clock.adjust(at_ms, sent_s)


def _set_bounds(bounds: Mapping[str, int], connection: sa.Connection) -> tuple[int, int, bool]:
    """Set the transaction's limits; return the server's time, its run, and whether it is a standby.

    Also asks for floats with all digits, which a role or an older server may not send by default.
    """
    asked_for = {**bounds, "extra_float_digits": 3}
    calls = (f"set_config('{name}', '{value}', true)" for name, value in asked_for.items())
    asked = (NOW_MS, STARTED_US, "pg_is_in_recovery()", *calls)
    at_ms, server, standby, *_ = connection.exec_driver_sql(f"SELECT {', '.join(asked)}").one()
    return at_ms, server, standby


class _Connection(psycopg.Connection[Any]):
    """A connection that closes itself once the server has sent nothing for ``silent_s``."""

    hurried = Event()
    silent_s: float | None = None

    def wait(self, gen: PQGen[T], *_: Any, **__: Any) -> T:
        return super().wait(self._heard(gen), TICK_S)

    def _heard(self, gen: PQGen[T]) -> Generator[Any, Any, T]:
        silent_s = 0.0
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                silent_s = 0.0 if ready else silent_s + TICK_S
                if silent_s >= _patience_s(self.silent_s or SILENT_S, self.hurried):
                    self.close()
                    raise psycopg.OperationalError(f"no answer within {silent_s:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def _connect(
    hurried: Event, _dialect: Any, _record: Any, _arguments: Any, given: dict[str, Any]
) -> psycopg.Connection[Any]:
    """Connect within ``SILENT_S``, including the DNS lookup, which libpq does not limit."""
    # No prepared statements: a pooler does not keep them from one transaction to the next.
    parameters: dict[str, Any] = CONNECT | given | {"prepare_threshold": None}
    made: Future[_Connection] = Future()
    call = partial(_Connection.connect, **parameters)
    try:
        Thread(target=_run, args=(made, call), name="connect", daemon=True).start()
    except RuntimeError as error:
        raise psycopg.OperationalError(str(error)) from None
    waited_s = 0.0
    while not wait([made], TICK_S).done:
        waited_s += TICK_S
        if waited_s >= _patience_s(SILENT_S, hurried):
            made.add_done_callback(_close)
            raise psycopg.OperationalError(f"no connection within {waited_s:g} s")
    connection = made.result()
    connection.hurried = hurried
    if connection.info.server_version < OLDEST * 10_000:
        version = connection.info.parameter_status("server_version")
        connection.close()
        raise psycopg.OperationalError(f"PostgreSQL {version} is older than {OLDEST}")
    return connection


def _patience_s(usual_s: float, hurried: Event) -> float:
    return min(usual_s, HURRIED_S) if hurried.is_set() else usual_s


def _run(made: "Future[_Connection]", call: Callable[[], _Connection]) -> None:
    try:
        made.set_result(call())
    except Exception as error:  # noqa: BLE001 - raised where the result is awaited
        made.set_exception(error)


def _close(late: "Future[_Connection]") -> None:
    if late.exception() is None:
        late.result().close()
