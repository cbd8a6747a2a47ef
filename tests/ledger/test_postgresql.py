"""A PostgreSQL that is silent, slow, wrong or missing: bounded waits, and errors with a cause."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
import sqlalchemy as sa

from exporter.clock import SystemClock
from exporter.errors import LedgerError
from exporter.ledger import engine, postgresql, tables, transfer
from exporter.ledger.store import Ledger
from exporter.ledger.transactions import PAUSE_S
from exporter.model.families import NORMALISED
from exporter.model.query import Budget
from tests.docs.pages import snippets
from tests.support.builders import spec
from tests.support.postgresql import PASSWORD, PostgreSQL, Way, way_to

CLOCK = SystemClock()


def open_at(url: str) -> Ledger:
    ledger = Ledger(url, clock=CLOCK, families=NORMALISED)
    ledger.sync_queries([spec()])
    return ledger


def refusal(url: str) -> str:
    """Return with what a ledger at ``url`` cannot be opened."""
    with pytest.raises(LedgerError) as refused:
        open_at(url)
    return str(refused.value)


@contextmanager
def taking_at_most(seconds: float) -> Iterator[None]:
    started = CLOCK.monotonic()
    yield
    assert CLOCK.monotonic() - started < seconds


@pytest.fixture
def way(postgresql_server: PostgreSQL) -> Iterator[Way]:
    with way_to(postgresql_server.port) as made:
        yield made


@pytest.fixture
def ledger(postgresql_server: PostgreSQL, way: Way) -> Iterator[Ledger]:
    made = open_at(postgresql_server.url(postgresql_server.database(), port=way.port))
    yield made
    made.close()


def test_a_call_to_a_server_that_falls_silent_fails(
    ledger: Ledger, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "SILENT_S", 1.5)
    assert ledger.claim() is not None

    way.silent.set()
    with taking_at_most(3), pytest.raises(LedgerError, match=r"no answer within 1\.5 s"):
        ledger.next_due_ms()
    with taking_at_most(1), pytest.raises(LedgerError, match="did not answer a moment ago"):
        ledger.next_due_ms()
    with taking_at_most(1):
        ledger.close()


def test_a_call_in_the_middle_of_a_transaction_fails_too(
    ledger: Ledger, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "SILENT_S", 1.5)

    def delete_all() -> None:
        with ledger._transactions.begin() as tx:
            tx.execute(sa.text("DELETE FROM query"))
            way.silent.set()
            tx.execute(sa.text("SELECT 1"))

    with taking_at_most(3), pytest.raises(LedgerError, match="no answer"):
        delete_all()

    way.silent.clear()
    threading.Event().wait(PAUSE_S)
    assert ledger.claim() is not None


def test_a_call_that_waits_ends_soon_once_the_process_stops(
    ledger: Ledger, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "SILENT_S", 60)
    monkeypatch.setattr(postgresql, "HURRIED_S", 1)
    way.silent.set()
    hurry = threading.Timer(0.5, ledger.hurry)
    hurry.start()

    with taking_at_most(3), pytest.raises(LedgerError, match="no answer"):
        ledger.next_due_ms()
    hurry.join()


def test_a_server_that_accepts_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgresql, "SILENT_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, taking_at_most(3):
        said = refusal(f"postgresql://shop@127.0.0.1:{silent.getsockname()[1]}/ledger")

    assert "no connection within 1.5 s; check that the server runs" in said


def test_a_name_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "SILENT_S", 1)
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(60) and [])

    with taking_at_most(3):
        said = refusal("postgresql://shop@db.example/ledger")
    answer.set()

    assert "no connection within 1 s" in said


def test_numbers_come_whole_whatever_a_role_says(ledger: Ledger) -> None:
    with ledger._transactions.begin() as tx:
        tx.execute(sa.text("ALTER ROLE CURRENT_USER SET extra_float_digits = -10"))
    try:
        other = engine.create_engine(
            ledger._opened.engine.url.render_as_string(hide_password=False)
        )
        with other.begin() as tx:
            found = tx.execute(sa.text("SELECT 9007199254740991::float8, 123457290::float8")).one()
        other.dispose()
    finally:
        with ledger._transactions.begin() as tx:
            tx.execute(sa.text("ALTER ROLE CURRENT_USER RESET extra_float_digits"))

    assert found == (2**53 - 1, 123_457_290)


def test_the_server_bounds_each_transaction(ledger: Ledger) -> None:
    with ledger._transactions.begin() as tx:
        bounds = [
            tx.execute(sa.text(f"SHOW {name}")).scalar_one()
            for name in (
                "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
                "application_name",
            )
        ]  # fmt: skip

    assert bounds == ["4s", "3s", "10s", "chatbot-exporter"]


def test_a_row_that_another_holds_is_not_waited_for_without_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql.TRANSACTION_MS, "lock_timeout", 200)
    claim = ledger.claim()
    assert claim is not None
    other = engine.create_engine(ledger._opened.engine.url.render_as_string(hide_password=False))

    with other.begin() as tx:
        tx.execute(sa.text("SELECT * FROM query FOR UPDATE"))
        with pytest.raises(LedgerError, match="lock timeout"):
            ledger.end_poll(claim, next_poll_ms=1)
    other.dispose()


def test_the_url_overrides_bounds_of_the_connection(postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.url(postgresql_server.database())
    made = engine.create_engine(f"{url}?application_name=mine&keepalives_idle=99")

    with made.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        given = driver.info.get_parameters()
    made.dispose()

    assert given.items() >= {
        "application_name": "mine", "keepalives_idle": "99", "keepalives_interval": "5",
        "tcp_user_timeout": "5000", "connect_timeout": "3",
    }.items()  # fmt: skip


def test_nothing_is_prepared_for_a_later_transaction(ledger: Ledger) -> None:
    for _ in range(9):
        ledger.next_due_ms()
    with ledger._transactions.begin() as tx:
        assert tx.execute(sa.text("SELECT name, statement FROM pg_prepared_statements")).all() == []


def test_a_migration_may_take_longer(
    postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "SILENT_S", 0.5)
    monkeypatch.setitem(postgresql.TRANSACTION_MS, "statement_timeout", 300)
    upgrade = engine._upgrade

    def slow(connection: sa.Connection) -> None:
        connection.execute(sa.text("SELECT pg_sleep(1.5)"))
        upgrade(connection)

    monkeypatch.setattr(engine, "_upgrade", slow)

    open_at(postgresql_server.url(postgresql_server.database())).close()


def test_a_check_may_take_longer_and_says_why_it_fails(
    postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql_server.url(postgresql_server.database())
    open_at(url).close()
    monkeypatch.setitem(postgresql.TRANSACTION_MS, "statement_timeout", 300)

    def check(statement: str) -> list[str]:
        asked = lambda tx: [*tx.execute(sa.text(statement)).scalars()][:0]  # noqa: E731
        monkeypatch.setattr(transfer, "_wrong_gaps", asked)
        return transfer.check(url, CLOCK)

    assert check("SELECT pg_sleep(1.5)") == []
    with pytest.raises(LedgerError, match='cannot be used: column "nothing" does not exist'):
        check("SELECT nothing")


def test_counts_survive_the_silence(ledger: Ledger, way: Way) -> None:
    budget = Budget("account", 60_000, 0)
    claim = ledger.claim()
    assert claim is not None
    ledger.spend(claim, budget)
    ledger.hurry()
    way.silent.set()
    with pytest.raises(LedgerError):
        ledger.end_poll(claim, next_poll_ms=1)
    way.silent.clear()
    threading.Event().wait(PAUSE_S)

    ledger.end_poll(claim, next_poll_ms=1)

    assert ledger.next_due_ms() == 1
    with ledger._transactions.begin() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(tables.budget)) == 1


Change = Callable[[str], str]


@pytest.mark.parametrize(
    ("setup", "change", "said"),
    [
        ((), lambda url: url.replace(PASSWORD, "wrong"), "authentication failed.*PGPASSWORD"),
        ((), lambda url: url.replace(f":{PASSWORD}", ""), "no password supplied.*PGPASSWORD"),
        ((), lambda url: url.replace("127.0.0.1", "db.invalid"), "resolve host 'db.invalid'.*host"),
        ((), lambda url: url.replace("/ledger", "/none"), '"none_.*" does not exist; create it'),
        ((), lambda url: f"{url}?sslmode=require", "does not support SSL.*sslmode"),
        ((), lambda url: f"{url}?sslmode=often", 'invalid sslmode value: "often".*sslmode'),
        ((), lambda url: f"{url}?sslmod=require", 'invalid connection option "sslmod".*correct'),
        (("REVOKE CONNECT ON DATABASE {0} FROM PUBLIC, shop", "ALTER DATABASE {0} OWNER TO postgres"),
            str, "permission denied for database.*docs/postgresql.md"),
        (("ALTER DATABASE {0} OWNER TO postgres",), str, "permission denied for schema.*grant"),
        (("ALTER DATABASE {0} SET default_transaction_read_only = on",), str,
            "read-only transaction.*target_session_attrs=read-write"),
    ],
)  # fmt: skip
def test_a_ledger_that_cannot_be_opened_says_why(
    postgresql_server: PostgreSQL, setup: tuple[str, ...], change: Change, said: str
) -> None:
    database = postgresql_server.database()
    postgresql_server.administer(*(statement.format(database) for statement in setup))
    url = change(postgresql_server.url(database))

    text = refusal(url)

    assert text.startswith(url.replace(f":{PASSWORD}@", ":***@").replace(":wrong@", ":***@"))
    assert re.search(said, text), text
    assert "\n" not in text
    assert PASSWORD not in text
    assert "is it a ledger?" not in text


def test_the_grants_of_the_guide_are_enough(postgresql_server: PostgreSQL) -> None:
    database = postgresql_server.database()
    (grants,) = (each.text for each in snippets("sql") if each.text.startswith("GRANT"))
    ours = f"ALTER DATABASE {database} OWNER TO postgres; REVOKE ALL ON DATABASE {database} FROM PUBLIC;"
    for usual, name in (("DATABASE ledger", f"DATABASE {database}"), ("TO chatbot", "TO shop")):
        assert usual in grants
        grants = grants.replace(usual, name)
    where = f"host={postgresql_server.folder} port={postgresql_server.port} user=postgres"

    with psycopg.connect(f"{where} dbname={database}", autocommit=True) as connection:
        connection.execute((ours + grants).encode())

    open_at(postgresql_server.url(database)).close()


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    said = refusal(f"postgresql://shop@127.0.0.1:{port}/ledger?password={PASSWORD}")

    assert said == (
        f"postgresql://shop@127.0.0.1:{port}/ledger: connection to server at "
        f'"127.0.0.1", port {port} failed: Connection refused; '
        "check that the server runs and can be reached"
    )


def test_a_server_that_is_too_old_is_named() -> None:
    ok, key = b"R\0\0\0\x08\0\0\0\0", b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x01"
    version = b"server_version\x009.6.24\0"
    status = b"S" + (len(version) + 4).to_bytes(4, "big") + version
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as client:
                client.recv(1024)
                client.sendall(ok + status + key + b"Z\0\0\0\x05I")
                client.recv(1024)

        server = threading.Thread(target=answer)
        server.start()
        port = listener.getsockname()[1]
        said = refusal(f"postgresql://shop@127.0.0.1:{port}/ledger?sslmode=disable")
        server.join()

    assert "PostgreSQL 9.6.24 is older than 10; upgrade the server" in said


def test_tables_of_another_program_are_not_migrated(postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.url(postgresql_server.database())
    other = engine.create_engine(url)
    with other.begin() as tx:
        tx.execute(sa.text("CREATE TABLE alembic_version (version_num TEXT)"))
        tx.execute(sa.text("INSERT INTO alembic_version VALUES ('2')"))
    other.dispose()

    assert "the database of another program; change ledger.url" in refusal(url)


def test_a_table_of_the_same_name_is_not_touched(postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.url(postgresql_server.database())
    other = engine.create_engine(url)
    with other.begin() as tx:
        tx.execute(sa.text("CREATE TABLE query (text TEXT)"))

    said = refusal(url)

    with other.begin() as tx:
        assert sa.inspect(tx).get_table_names() == ["query"]
    other.dispose()
    assert 'relation "query" already exists; give the ledger a database of its own' in said


def test_replicas_that_start_together_migrate_once(postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.url(postgresql_server.database())
    opened: list[int] = []

    def start() -> None:
        with closing(Ledger(url, clock=CLOCK, families=NORMALISED)) as ledger:
            opened.append(ledger.sizes()[1])

    replicas = [threading.Thread(target=start) for _ in range(3)]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join()

    assert opened == [int(engine.NEWEST)] * 3
