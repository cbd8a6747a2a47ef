"""How many events a second are counted, from a socket into a durable ledger.

    .venv/bin/python -m tests.benchmarks.chatlayer_events 2000000

The fake list runs in a process of its own. Prints events a second of the clock and of processor
time, and the memory along the way.
"""

import asyncio
import contextlib
import multiprocessing
import random
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import uvicorn

from exporter.clock import SystemClock
from exporter.config.model import Limits, Privacy
from exporter.config.secret import SecretContext
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.model.families import EVENTS, NORMALISED
from exporter.model.samples import Reading, Window
from exporter.polling.poll import PollContext, ScheduledQuery, poll
from exporter.providers.base.plugin import LabelSettings, Query, Target
from exporter.providers.chatlayer.options import ChatlayerOptions
from exporter.providers.chatlayer.provider import PROVIDER
from exporter.simulator.chatlayer import TOKEN
from exporter.simulator.chatlayer_format import BOT
from exporter.telemetry.counters import Telemetry
from tests.benchmarks.fast_events import PAGE_MS, PER_PAGE, FastEvents

T = TypeVar("T")

TELL_EVERY = 100_000


@contextlib.contextmanager
def served(total: int) -> Iterator[tuple[str, int]]:
    """Serve ``total`` events by a process of its own; yield its URL and when the first happened."""
    start_ms = time.time_ns() // 1_000_000 // PAGE_MS * PAGE_MS - 60_000
    start_ms -= total // PER_PAGE * PAGE_MS
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Accepted sockets inherit it; without it head and body of an answer are 40 ms apart.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listener, start_ms, total), daemon=True
        )
        server.start()
        try:
            yield url, start_ms
        finally:
            server.terminate()
            server.join()


def _serve(listener: socket.socket, start_ms: int, total: int) -> None:
    app = FastEvents(start_ms, total)
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


def target(url: str) -> Target:
    entries = {
        "name": "care",
        "provider": "chatlayer",
        "token": TOKEN,
        "base_url": url,
        "requests_per_second": 0,
        "bots": [{"id": BOT, "alias": "care"}],
        "collectors": ["events"],
        "events": {"event_map": {"handover": "chatbot_handovers_total"}},
    }
    around = SecretContext({}, Path(), inline=True)
    options = ChatlayerOptions.model_validate(entries, context=around)
    return PROVIDER.build(options, LabelSettings(Limits(), Privacy()))


async def offload(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)


def megabytes() -> float:
    """Return what the process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


@dataclass(slots=True)
class Watch:
    """Reads what each commit shows, as the exporter does, and tells of every hundred thousand."""

    ledger: Ledger
    key: tuple[str, str]
    peak_mb: float = 0.0
    told: int = 0

    async def published(self, _key: tuple[str, str]) -> None:
        seen = await asyncio.to_thread(self.counted)
        self.peak_mb = max(self.peak_mb, megabytes())
        if seen >= self.told + TELL_EVERY:
            self.told = seen
            click.echo(f"  {seen:>9,} events, {megabytes():.0f} MB", err=True)

    def counted(self) -> int:
        """Return the sum of what is shown; new series are let past their first 0."""
        view = self.ledger.view(self.key)
        if view.pending:
            self.ledger.confirm_zero_scraped([number for number, _ in view.pending])
            view = self.ledger.view(self.key)
        return round(sum(each.value for each in view.shown if each.family == EVENTS.name))


def begin(ledger: Ledger, query: Query, start_ms: int) -> None:
    """Let the query count from ``start_ms`` on, as if its first poll had been then."""
    ledger.sync_queries([query.spec])
    claim = claimed(ledger)
    begun = Reading(Window(start_ms, start_ms), watermark_ms=start_ms, memo={})
    ledger.apply(claim, begun, started_ms=start_ms)
    ledger.succeed(claim, next_poll_ms=0)


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


async def drain(url: str, folder: str, start_ms: int, total: int) -> dict[str, float]:
    """Poll until ``total`` events are counted; return the figures of those polls alone."""
    clock, rng = SystemClock(), random.Random(1)  # noqa: S311 - jitter
    asked = target(url)
    (query,) = asked.queries
    ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=clock, families=NORMALISED)
    begin(ledger, query, start_ms)
    watch = Watch(ledger, query.spec.key)
    desk = PollContext(ledger, clock, rng, Telemetry(), offload, watch.published)
    async with Transport() as wire:
        api = ApiClient(
            base_url=url,
            sign=asked.sign,
            transport=wire,
            clock=clock,
            requests_per_second=0,
        )
        started, cpu = time.perf_counter(), time.process_time()
        while watch.counted() < total:
            ended = await poll(desk, ScheduledQuery(query, api), claimed(ledger))
            assert ended.outcome == "ok", ended
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    counted = watch.counted()
    ledger.close()
    assert counted == total, counted
    return {
        "events": counted,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "rss_mb": watch.peak_mb,
        "events_per_s": counted / wall_s,
        "events_per_core_s": counted / cpu_s,
    }


def measure(total: int) -> dict[str, float]:
    """Count ``total`` events, whole pages of 100, and return what that took.

    ``wall_s`` and ``cpu_s`` are seconds, of the exporter's process alone; ``rss_mb`` is the most it
    had in memory after a commit. The counter is checked to be exactly ``total``.
    """
    with served(total) as (url, start_ms), tempfile.TemporaryDirectory() as folder:
        return asyncio.run(drain(url, folder, start_ms, total))


if __name__ == "__main__":
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
    click.echo(
        "{events:,} events in {wall_s:.1f} s: {events_per_s:,.0f} a second".format(**figures)
    )
    click.echo("{cpu_s:.1f} s of processor time: {events_per_core_s:,.0f} a core".format(**figures))
    click.echo("{rss_mb:.0f} MB at most".format(**figures))
