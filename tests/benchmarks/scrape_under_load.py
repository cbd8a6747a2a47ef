"""Whether scrapes come through beside a thousand idle connections: 50 a second, for a minute.

    python -m tests.benchmarks.scrape_under_load [SECONDS]

Four processes: two made-up vendors (``simulate``), the exporter (``run``) that polls them every
five seconds, and this one. Scrapes leave on time, whether or not the one before has been answered;
the time of one runs from when it was due, so that waiting counts. Each connection of the thousand
has asked once and then keeps still, as an idle scraper's does. Prints wall times.
"""

import asyncio
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.processes import OPENMETRICS, ROOT, Server, exporter

IDLE = 1_000
A_SECOND = 50
PATIENCE_S = 10
VENDORS = ("voiceflow", "flowxo")
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: exporter.test\r\n\r\n"
SCRAPE = (
    f"GET /metrics HTTP/1.1\r\nHost: exporter.test\r\nAccept: {OPENMETRICS}\r\n"
    "Accept-Encoding: gzip\r\n\r\n"
).encode()


class Connection:
    """A connection that stays open from request to request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, address: str) -> "Connection":
        """Connect."""
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, request: bytes) -> int:
        """Return the size of the body that comes back; raise where it is not 200 and whole."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise ConnectionError(head.partition(b"\r\n")[0].decode())
        size = int(head.partition(b"content-length:")[2].split()[0])
        await self._reader.readexactly(size)
        return size

    @property
    def open(self) -> bool:
        """Return whether the other side has not closed it."""
        return not self._reader.at_eof()

    def close(self) -> None:
        """Close it."""
        self._writer.close()


class Scraper:
    """Scrapes on time over connections that are free, or new ones."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._free: list[Connection] = []
        self.seconds: list[float] = []
        self.failed = 0
        self.size = 0

    async def scrape(self, due: float) -> None:
        """Scrape once; ``due`` is when it should have begun."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = self._free.pop() if self._free else await Connection.to(self._address)
                self.size = await connection.ask(SCRAPE)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.failed += 1
            return
        self._free.append(connection)
        self.seconds.append(time.perf_counter() - due)


async def _load(server: Server, seconds: float) -> dict[str, float]:
    at = server.connect()
    address = f"{at.host}:{at.port}"
    idle = [await Connection.to(address) for _ in range(IDLE)]
    for connection in idle:
        await connection.ask(HEALTHY)
    scraper, cpu = Scraper(address), server.cpu_s()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * A_SECOND)):
            due = began + number / A_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))  # noqa: TID251 - its own pace
            group.create_task(scraper.scrape(due))
    spent = server.cpu_s() - cpu
    still = sum(connection.open for connection in idle)
    for connection in idle:
        connection.close()
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
def vendor(name: str) -> Iterator[dict[str, Any]]:
    """Run a made-up vendor; yield the target that polls it."""
    command = [sys.executable, "-m", "exporter", "simulate", name]
    with subprocess.Popen(command, text=True, cwd=ROOT, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        try:
            assert process.stdout is not None
            told = "".join(iter(process.stdout.readline, "\n"))
            yield yaml.safe_load(told)["targets"][0]
        finally:
            process.kill()


def measure(seconds: float = 60) -> dict[str, float]:
    """Return the figures of ``seconds`` of load: counts, milliseconds and bytes by name."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = [stack.enter_context(vendor(name)) for name in VENDORS]
        settings = folder / "exporter.yaml"
        document = {"version": 1, "allow_inline_secrets": True, "targets": targets}
        settings.write_text(yaml.safe_dump(document), "utf-8")
        server = stack.enter_context(exporter(settings))
        return asyncio.run(_load(server, seconds))


if __name__ == "__main__":
    print(json.dumps(measure(*map(float, sys.argv[1:])), indent=2))  # noqa: T201 - its purpose
