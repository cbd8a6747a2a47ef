"""A PostgreSQL of the tests' own, and a way to it that can fall silent."""

import os
import pwd
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

PASSWORD = "C4n4ry-7f3a"
# Debian keeps the programs of each version apart.
PROGRAMS = ":".join(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))))
os.environ["PATH"] += f":{PROGRAMS}"
NUMBERS = count()
MEMORY, NEEDED_BYTES = Path("/dev/shm"), 2**30  # noqa: S108 - a private folder is made inside


@dataclass(frozen=True)
class PostgreSQL:
    """A server on loopback; role ``shop`` owns the databases that ``database`` makes."""

    folder: Path
    port: int

    def administer(self, *statements: str) -> None:
        """Run ``statements`` as superuser, each a transaction of its own."""
        where = f"host={self.folder} port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def database(self) -> str:
        """Return the name of a new database."""
        name = f"ledger_{next(NUMBERS)}"
        self.administer(f"CREATE DATABASE {name} OWNER shop")
        return name

    def url(self, database: str, *, password: str = PASSWORD, port: int | None = None) -> str:
        """Return the ledger's URL for ``database``."""
        return f"postgresql://shop:{password}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the server, and return when it answers."""
        options = f"-p {self.port} -k {self.folder} -c fsync=off"
        self.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """End the server as a crash would."""
        self.run("pg_ctl", "-D", "data", "-m", "immediate", "stop")

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "-D", "data", "-w", "promote")

    def run(self, *command: str) -> None:
        """Run a program of PostgreSQL's; as user ``postgres`` where we are root."""
        user = _owner().pw_name if os.geteuid() == 0 else None
        subprocess.run(  # noqa: S603 - Debian's own programs
            command, cwd=self.folder, user=user, check=True, stdout=subprocess.DEVNULL
        )


def _owner() -> pwd.struct_passwd:
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


@contextmanager
def _empty() -> Iterator[PostgreSQL]:
    """Yield a server that has no data yet."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > NEEDED_BYTES
    folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir=MEMORY if roomy else None))
    os.chown(folder, _owner().pw_uid, _owner().pw_gid)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    try:
        yield PostgreSQL(folder, port)
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            PostgreSQL(folder, port).stop()
        shutil.rmtree(folder)


@contextmanager
def server() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL while the block lasts."""
    with _empty() as made:
        password = made.folder / "password"
        password.write_text(PASSWORD, "utf-8")
        os.chown(password, _owner().pw_uid, _owner().pw_gid)
        auth = ("--auth-host=scram-sha-256", "--auth-local=trust", "--pwfile=password")
        made.run(
            "initdb", "-D", "data", "-U", "postgres", "--no-sync", "--locale=C", "-E", "UTF8", *auth
        )
        made.start()
        made.administer(f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'")
        yield made


@contextmanager
def standby_of(primary: PostgreSQL, *, synchronous: bool) -> Iterator[PostgreSQL]:
    """Run a standby of ``primary``, which waits for it at each commit if it is ``synchronous``."""
    with _empty() as made:
        source = f"host={primary.folder} port={primary.port} user=postgres"
        made.run("pg_basebackup", "-d", source, "-D", "data", "-R", "-c", "fast", "--no-sync")
        made.start()
        if synchronous:
            primary.administer(
                "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"
            )
        yield made


class Pooler:
    """A pgbouncer in transaction mode before a server."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self._settings, self._users = folder / "pgbouncer.ini", folder / "users"
        self._users.write_text(f'"shop" "{PASSWORD}"\n', "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def lead_to(self, port: int) -> None:
        """Start, or start again, before the server at ``port`` of loopback."""
        self.stop()
        self._settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            f"unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {self._users}\n"
            "pool_mode = transaction\nserver_login_retry = 1\nserver_fast_close = 1\n",
            "utf-8",
        )
        user = _owner().pw_name if os.geteuid() == 0 else None
        self._process = subprocess.Popen(  # noqa: S603 - Debian's own program
            ["/usr/sbin/pgbouncer", str(self._settings)], user=user, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """End it and all connections through it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def pgbouncer(behind: PostgreSQL) -> Iterator[Pooler]:
    """Run a pooler before a server."""
    made = Pooler(behind.folder)
    made.lead_to(behind.port)
    try:
        yield made
    finally:
        made.stop()


class Way:
    """A way to a port of loopback; nothing passes while ``silent``, and nobody is told.

    What passes is late by ``delay_s``.
    """

    def __init__(self, listener: socket.socket, port: int) -> None:
        self.port = int(listener.getsockname()[1])
        self.silent = threading.Event()
        self.delay_s = 0.0
        self._ended = threading.Event()
        self._to = port
        self._others: dict[socket.socket, socket.socket] = {}
        self._ready = selectors.DefaultSelector()
        self._ready.register(listener, selectors.EVENT_READ, self._accept)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Cut all connections."""
        self._ended.set()
        self._thread.join()
        self._ready.close()
        for end in self._others:
            end.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            if self.silent.is_set():
                self._ended.wait(0.05)
                continue
            for key, _ in self._ready.select(0.05):
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        one = listener.accept()[0]
        try:
            other = socket.create_connection(("127.0.0.1", self._to))
        except ConnectionRefusedError:
            one.close()
            return
        self._others |= {one: other, other: one}
        for end in (one, other):
            self._ready.register(end, selectors.EVENT_READ, self._pass_on)

    def _pass_on(self, end: socket.socket) -> None:
        if end not in self._others:
            return
        try:
            if data := end.recv(65_536):
                self._ended.wait(self.delay_s)
                self._others[end].sendall(data)
                return
        except ConnectionError:
            pass
        for each in (end, self._others[end]):
            self._ready.unregister(each)
            del self._others[each]
            each.close()


@contextmanager
def way_to(port: int) -> Iterator[Way]:
    """Pass connections on to ``port`` of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        way = Way(listener, port)
        try:
            yield way
        finally:
            way.close()
