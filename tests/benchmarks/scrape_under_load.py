"""Whether scrapes come through beside a thousand idle connections: 50 a second, for a minute.

    python -m tests.benchmarks.scrape_under_load [SECONDS]

Four processes: two simulators (``simulate``), the exporter (``run``) that polls them every five
seconds, and this one. Scrapes leave on time, whether or not the one before has been answered; the
time of one runs from when it was due, so that waiting counts. Each connection of the thousand has
asked once and then keeps still, as an idle scraper's does. Prints wall times.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from queue import Empty, SimpleQueue
from subprocess import PIPE
from typing import Any

import yaml

from tests.benchmarks.filled import write
from tests.benchmarks.processes import HERE, OPENMETRICS, Server, exporter, program, scrape
from tests.benchmarks.table import spread_ms

IDLE = 1_000
A_SECOND = 50
DEADLINE_S = 10
VENDORS = ("voiceflow", "flowxo")


def idle_connection(server: Server) -> HTTPConnection:
    """Return a connection that has asked once."""
    connection = server.connect()
    connection.request("GET", "/-/healthy")
    assert connection.getresponse().read()
    return connection


def is_open(connection: HTTPConnection) -> bool:
    """Say whether the other side has neither closed nor answered."""
    connection.sock.settimeout(0)
    try:
        connection.sock.recv(1)
    except BlockingIOError:
        return True
    return False


def _load(server: Server, seconds: float) -> dict[str, float]:
    idle = [idle_connection(server) for _ in range(IDLE)]
    free: SimpleQueue[HTTPConnection] = SimpleQueue()

    def timed_scrape(due: float) -> tuple[float, int]:
        try:
            connection = free.get_nowait()
        except Empty:
            connection = server.connect(DEADLINE_S)
        size = scrape(connection, accept=OPENMETRICS)
        free.put(connection)
        return (time.perf_counter() - due) * 1000, size

    cpu, began = server.cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(DEADLINE_S * A_SECOND) as threads:
        scrapes = []
        for number in range(round(seconds * A_SECOND)):
            due = began + number / A_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))  # noqa: TID251 - its own pace
            scrapes.append(threads.submit(timed_scrape, due))
    share = (server.cpu_s() - cpu) / (time.perf_counter() - began)
    done = [each.result() for each in scrapes if each.exception() is None]
    return {
        "seconds": seconds,
        "scrapes": len(scrapes),
        "failed": len(scrapes) - len(done),
        "idle_connections": sum(map(is_open, idle)),
        **spread_ms([taken_ms for taken_ms, _ in done]),
        "body_bytes": done[-1][1],
        "server_cpu_share": share,
    }


@contextmanager
def simulator(name: str) -> Iterator[dict[str, Any]]:
    """Run a simulator; yield the target that polls it."""
    with program([*HERE, "simulate", name], stdout=PIPE) as process:
        assert process.stdout is not None
        yield yaml.safe_load("".join(iter(process.stdout.readline, "\n")))["targets"][0]


def measure(seconds: float = 60) -> dict[str, float]:
    """Return the numbers of ``seconds`` of load: counts, milliseconds and bytes by name."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = [stack.enter_context(simulator(name)) for name in VENDORS]
        return _load(stack.enter_context(exporter(write(folder, *targets))), seconds)


if __name__ == "__main__":
    print(json.dumps(measure(*map(float, sys.argv[1:])), indent=2))  # noqa: T201 - its purpose
