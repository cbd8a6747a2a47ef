"""Servers as processes of their own: started, scraped, and what that cost them."""

import contextlib
import http
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from gzip import decompress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

ROOT = Path(__file__).parents[2]
TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
CHUNK = 1 << 20
HERE = (sys.executable, "-m", "exporter")


class Server:
    """A process that serves ``/metrics``; what it says on standard output are its answers."""

    def __init__(self, process: "Popen[str]", address: str) -> None:
        self._process = process
        self.address = address

    def cpu_s(self) -> float:
        """Return the processor time of all its threads so far, those that ended too."""
        return time.clock_gettime(
            ~self._process.pid << 3 | 2
        )  # CPUCLOCK_SCHED of linux/posix-timers.h

    def memory(self, field: str) -> int:
        """Return ``VmRSS`` or ``VmHWM`` of the process, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text("ascii")
        return int(status.split(field + ":")[1].split()[0]) * 1024

    def ask(self, word: str) -> str:
        """Write a line to the process and return the line that it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def connect(self, timeout_s: float = 120) -> http.client.HTTPConnection:
        """Return a connection, which stays open from scrape to scrape as Prometheus' does."""
        return http.client.HTTPConnection(self.address, timeout=timeout_s)

    def scrapes(self, number: int, *, gzip: bool = True, accept: str = TEXT) -> tuple[float, float]:
        """Scrape one after another; return processor and wall milliseconds of one."""
        with contextlib.closing(self.connect()) as connection:
            cpu, wall = self.cpu_s(), time.perf_counter()
            for _ in range(number):
                scrape(connection, gzip=gzip, accept=accept)
            spent = time.perf_counter() - wall
        return (self.cpu_s() - cpu) / number * 1000, spent / number * 1000

    def scrape(self, *, gzip: bool = True, accept: str = TEXT) -> int:
        """Scrape once, on a connection of its own; return how many bytes that were."""
        with contextlib.closing(self.connect()) as connection:
            return scrape(connection, gzip=gzip, accept=accept)

    def together(self, number: int, *, gzip: bool) -> None:
        with ThreadPoolExecutor(number) as threads:
            list(threads.map(lambda _: self.scrape(gzip=gzip), range(number)))


def scrape(connection: http.client.HTTPConnection, *, gzip: bool = True, accept: str = TEXT) -> int:
    """Return how many bytes a page has as sent; they are thrown away."""
    headers = {"Accept": accept} | ({"Accept-Encoding": "gzip"} if gzip else {})
    connection.request("GET", "/metrics", headers=headers)
    answer, size, buffer = connection.getresponse(), 0, bytearray(CHUNK)
    assert answer.status == http.HTTPStatus.OK
    while found := answer.readinto(buffer):
        size += found
    return size


def scrape_text(connection: http.client.HTTPConnection) -> str:
    """Return a page, fetched as Prometheus does, compressed."""
    connection.request("GET", "/metrics", headers={"Accept": TEXT, "Accept-Encoding": "gzip"})
    return decompress(connection.getresponse().read()).decode()


@contextlib.contextmanager
def program(command: Sequence[str], **options: Any) -> Iterator["Popen[str]"]:
    """Run one of our programs or peers; kill it in the end."""
    with Popen(command, text=True, cwd=ROOT, **options) as process:  # noqa: S603 - our own programs
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """Run a server that says its address in its first line."""
    with program(command, stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        yield Server(process, process.stdout.readline().strip())


@contextlib.contextmanager
def exporter(settings: Path, installed: Sequence[str] = HERE) -> Iterator[Server]:
    """Run the exporter itself on ``settings``."""
    command = [*installed, "run", "--config", str(settings)]
    command += ["--listen", "127.0.0.1:0", "--log.format", "json"]
    # Modules are compiled once, as an installed program's are.
    compiled = {"PYTHONPYCACHEPREFIX": f"{tempfile.gettempdir()}/chatbot-exporter-bytecode"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with program(command, env=kept | compiled, stderr=PIPE) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if '"serving"' in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield Server(process, json.loads(said)["address"])


def failure(*command: str | Path, folder: Path = ROOT) -> str:
    """Run ``command`` to its end; return what it says where it fails, or an empty text."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return f"exit code {done.returncode}: {done.stderr}" if done.returncode else ""
