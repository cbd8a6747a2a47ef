"""How many events a second are counted, from a socket into a durable ledger, and by a plain client.

The event list runs in a process of its own.
"""

import asyncio
import contextlib
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from pydantic import BaseModel

from exporter.clock import SystemClock
from exporter.http_client.transport import Transport
from exporter.ledger.offload import WorkerThread
from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.model.families import EVENTS, NORMALISED
from exporter.model.samples import Reading, Window
from exporter.polling.poll import PollContext, ScheduledQuery, poll
from exporter.providers.base.plugin import Query
from exporter.simulator import chatlayer
from exporter.simulator.chatlayer import BOT
from exporter.simulator.server import stamp
from exporter.telemetry.counters import Telemetry
from tests.benchmarks.peers.vendors import PAGE_MS, PER_PAGE
from tests.benchmarks.processes import running
from tests.providers.chatlayer.care import target
from tests.support.driver import shown_by


@contextlib.contextmanager
def served(total: int) -> Iterator[tuple[str, int]]:
    """Serve ``total`` events by a process of its own; yield its URL and when the first happened."""
    start_ms = SystemClock().now_ms() // PAGE_MS * PAGE_MS - 60_000 - total // PER_PAGE * PAGE_MS
    command = [sys.executable, "-m", "tests.benchmarks.peers.vendors", str(start_ms), str(total)]
    with running(command) as server:
        yield f"http://{server.address}", start_ms


def megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


@dataclass(slots=True)
class Watch:
    """Reads what each commit shows, as the exporter does."""

    ledger: Ledger
    key: tuple[str, str]
    peak_mb: float = 0.0

    async def published(self, _key: tuple[str, str]) -> None:
        await asyncio.to_thread(self.counted)
        self.peak_mb = max(self.peak_mb, megabytes())

    def counted(self) -> int:
        """Return the sum of what is shown; new series are let past their first 0."""
        view = shown_by(self.ledger, self.key)
        if view.pending:
            self.ledger.confirm_zero_scraped([number for number, _ in view.pending])
            view = shown_by(self.ledger, self.key)
        return round(sum(each.value for each in view.shown if each.family == EVENTS.name))


def begin(ledger: Ledger, query: Query, start_ms: int) -> None:
    """Let the query count from ``start_ms`` on, as if its first poll had been then."""
    ledger.sync_queries([query.spec])
    claim = claimed(ledger)
    begun = Reading(Window(start_ms, start_ms), watermark_ms=start_ms, memo={})
    ledger.apply(claim, begun, started_ms=start_ms, next_poll_ms=0)


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim()
    assert claim is not None
    return claim


async def drain(url: str, folder: str, start_ms: int, total: int) -> dict[str, float]:
    """Poll until ``total`` events are counted; return the values of those polls alone."""
    clock, rng = SystemClock(), random.Random(1)  # noqa: S311 - jitter
    settings = {
        "collectors": ["events"],
        "requests_per_second": 0,
        "events": {"event_map": {"handover": "chatbot_handovers_total"}},
    }
    read = target(chatlayer.target(url) | settings)
    query = read.queries[0]  # of the version LIVE
    ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=clock, families=NORMALISED)
    begin(ledger, query, start_ms)
    watch = Watch(ledger, query.spec.key)
    context = PollContext(ledger, clock, rng, Telemetry(), WorkerThread("ledger"), watch.published)
    api = read.client(Transport(), clock)
    started, cpu = time.perf_counter(), time.process_time()
    while watch.counted() < total:
        ended = await poll(context, ScheduledQuery(query, api), claimed(ledger))
        assert ended.outcome == "ok", ended
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    counted = watch.counted()
    ledger.close()
    assert counted == total, counted
    return {
        "events_per_core_s": counted / cpu_s,
        "events_per_s": counted / wall_s,
        "rss_mb": watch.peak_mb,
    }


def measure(total: int) -> dict[str, float]:
    """Count ``total`` events, whole pages of 100, and return what that took.

    Seconds are those of the exporter's process alone; ``rss_mb`` is the most it had in memory after
    a commit. The counter is checked to be exactly ``total``.
    """
    with served(total) as (url, start_ms), tempfile.TemporaryDirectory() as folder:
        return asyncio.run(drain(url, folder, start_ms, total))


class Event(BaseModel):
    """An event as the plain alternative reads it: no more than the fields that are counted."""

    id: str
    event: str
    version: str
    user_id: str
    channel_type: str
    conversation_id: str
    timestamp: datetime


class Page(BaseModel):
    events: list[Event]
    next_page_token: str | None = None


async def _read_plainly(url: str, start_ms: int, end_ms: int) -> Counter[str]:
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    params = {"start_time": stamp(start_ms, 0), "end_time": stamp(end_ms, 0)}
    async with httpx.AsyncClient(base_url=url) as client:
        token: str | None = ""
        while token is not None:
            more = {"page_token": token} if token else {}
            answer = await client.get(f"/v1/bots/{BOT}/events", params=params | more)
            page = Page.model_validate_json(answer.content)
            for event in page.events:
                if event.id not in seen:
                    seen.add(event.id)
                    counts[event.event] += 1
            token = page.next_page_token
    return counts


def measure_plain(total: int) -> float:
    """Return how many of ``total`` events httpx and pydantic count in a second of processor time.

    Ids seen before are dropped, and nothing is durable.
    """
    with served(total) as (url, start_ms):
        cpu = time.process_time()
        counts = asyncio.run(_read_plainly(url, start_ms, start_ms + total // PER_PAGE * PAGE_MS))
        spent = time.process_time() - cpu
    assert sum(counts.values()) == total
    return total / spent
