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
NUMBERS = count()


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


@contextmanager
def server() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL while the block lasts; root runs it as user ``postgres``."""
    owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    (folder / "password").write_text(PASSWORD, "utf-8")
    for path in (folder, folder / "password"):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])

    def run(*command: str) -> None:
        user = owner.pw_name if os.geteuid() == 0 else None
        subprocess.run(  # noqa: S603 - Debian's own programs
            command, cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL
        )

    data, options = str(folder / "data"), f"-p {port} -k {folder} -c fsync=off"
    try:
        auth = ("--auth-host=scram-sha-256", "--auth-local=trust", "--pwfile=password")
        run("initdb", "-D", data, "-U", "postgres", "--no-sync", "--locale=C", "-E", "UTF8", *auth)
        run("pg_ctl", "-D", data, "-w", "-l", "log", "-o", options, "start")
        made = PostgreSQL(folder, port)
        made.administer(f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'")
        yield made
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


class Way:
    """A way to a port of loopback; nothing passes while ``silent``, and nobody is told."""

    def __init__(self, listener: socket.socket, port: int) -> None:
        self.port = int(listener.getsockname()[1])
        self.silent = threading.Event()
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
        one, other = listener.accept()[0], socket.create_connection(("127.0.0.1", self._to))
        self._others |= {one: other, other: one}
        for end in (one, other):
            self._ready.register(end, selectors.EVENT_READ, self._pass_on)

    def _pass_on(self, end: socket.socket) -> None:
        if end not in self._others:
            return
        try:
            if data := end.recv(65_536):
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
