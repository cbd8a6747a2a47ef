"""Whether scrapes come through beside a thousand idle connections: 50 a second, for a minute.

    python -m tests.benchmarks.scrape_under_load [SECONDS]

Four processes: two simulators (``simulate``), the exporter (``run``) that polls them every five
seconds, and this one. Scrapes leave on time, whether or not the one before has been answered; the
time of one runs from when it was due, so that waiting counts. Each connection of the thousand has
asked once and then keeps still, as an idle scraper's does. Prints wall times.
"""

import asyncio
import json
import math
import resource
import sys
import tempfile
import time
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import Any

import yaml

from tests.benchmarks.filled import write
from tests.benchmarks.processes import HERE, OPENMETRICS, Server, exporter, program

IDLE = 1_000
A_SECOND = 50
DEADLINE_S = 10
VENDORS = ("voiceflow", "flowxo")
HEAD = " HTTP/1.1\r\nHost: exporter.test\r\n"
HEALTHY = f"GET /-/healthy{HEAD}\r\n".encode()
SCRAPE = f"GET /metrics{HEAD}Accept: {OPENMETRICS}\r\nAccept-Encoding: gzip\r\n\r\n".encode()
Connection = tuple[StreamReader, StreamWriter]


async def ask(connection: Connection, request: bytes) -> int:
    """Return the size of the body that comes back; raise where it is not 200 and whole."""
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise ConnectionError(head.partition(b"\r\n")[0].decode())
    return len(await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0])))


@dataclass(slots=True)
class Scraper:
    """Scrapes on time over connections that are free, or new ones."""

    host: str
    port: int
    free: list[Connection] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    size: int = 0

    async def connect(self) -> Connection:
        return await asyncio.open_connection(self.host, self.port)

    async def scrape(self, due: float) -> None:
        """Scrape once; ``due`` is when it should have begun."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                connection = self.free.pop() if self.free else await self.connect()
                self.size = await ask(connection, SCRAPE)
        except (OSError, TimeoutError, IncompleteReadError):
            self.failed += 1
            return
        self.free.append(connection)
        self.seconds.append(time.perf_counter() - due)


async def _load(server: Server, seconds: float) -> dict[str, float]:
    host, _, port = server.address.rpartition(":")
    scraper = Scraper(host, int(port))
    idle = [await scraper.connect() for _ in range(IDLE)]
    for connection in idle:
        await ask(connection, HEALTHY)
    cpu, began = server.cpu_s(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * A_SECOND)):
            due = began + number / A_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))  # noqa: TID251 - its own pace
            group.create_task(scraper.scrape(due))
    spent = server.cpu_s() - cpu
    still = sum(not reader.at_eof() for reader, _ in idle)
    for _, writer in idle:
        writer.close()
    times = sorted(scraper.seconds)
    return {
        "seconds": seconds,
        "scrapes": len(times) + scraper.failed,
        "failed": scraper.failed,
        "idle_connections": still,
        "p50_ms": 1000 * _share(times, 0.5),
        "p99_ms": 1000 * _share(times, 0.99),
        "longest_ms": 1000 * _share(times, 1),
        "body_bytes": scraper.size,
        "server_cpu_share": spent / (time.perf_counter() - began),
    }


def _share(times: list[float], share: float) -> float:
    """Return the value that ``share`` of ``times``, which are sorted, do not exceed."""
    return times[max(0, math.ceil(share * len(times)) - 1)] if times else math.nan


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
        server = stack.enter_context(exporter(write(folder, *targets)))
        return asyncio.run(_load(server, seconds))


if __name__ == "__main__":
    print(json.dumps(measure(*map(float, sys.argv[1:])), indent=2))  # noqa: T201 - its purpose
