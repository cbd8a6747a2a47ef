"""How many events a second are counted, from a socket into a durable ledger.

    .venv/bin/python -m tests.benchmarks.chatlayer_events 2000000

The fake list runs in a process of its own. Prints events a second, the counter and the memory.
"""

import asyncio
import multiprocessing
import random
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import httpx
import uvicorn

from exporter.api import TIMEOUT, Api
from exporter.clock import SystemClock
from exporter.config.model import Limits, Privacy
from exporter.config.secret import Surroundings
from exporter.families import NORMALISED
from exporter.ledger.store import Ledger
from exporter.poll import Desk, Line, poll
from exporter.provider import Rules, Target
from exporter.providers.chatlayer.options import ChatlayerOptions
from exporter.providers.chatlayer.provider import KIND
from exporter.samples import Reading, Window
from exporter.simulator.chatlayer import TOKEN
from exporter.simulator.chatlayer_fast import PAGE_MS, PER_PAGE, FastEvents
from exporter.simulator.chatlayer_words import BOT
from exporter.telemetry import Telemetry

T = TypeVar("T")


def serve(listener: socket.socket, start_ms: int, total: int) -> None:
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
    around = Surroundings({}, Path(), inline=True)
    options = ChatlayerOptions.model_validate(entries, context=around)
    return KIND.build(options, Rules(Limits(), Privacy()))


async def offload(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)


def megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def main(url: str, folder: str, start_ms: int, total: int) -> None:
    clock = SystemClock()
    (query,) = target(url).queries
    ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=clock, families=NORMALISED)
    ledger.enrol([query.spec])
    claim = ledger.claim(lambda _target, _name: 0)
    assert claim is not None
    begun = Reading(Window(start_ms, start_ms), watermark_ms=start_ms, memo={})
    ledger.apply(claim, begun, started_ms=start_ms, poll_id="begin")
    ledger.succeed(claim, next_poll_ms=0)

    async def published(_key: tuple[str, str]) -> None:
        click.echo(f"  {counted(ledger, query.spec.key):>9,.0f} events, {megabytes()} MB")

    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        api = Api(
            base_url=url,
            sign=target(url).sign,
            client=client,
            clock=clock,
            requests_per_second=0,
            gate=asyncio.Semaphore(64),
        )
        rng = random.Random(1)  # noqa: S311 - jitter
        desk = Desk(ledger, clock, rng, Telemetry(), offload, published)
        started, cpu = time.perf_counter(), time.process_time()
        while counted(ledger, query.spec.key) < total:
            claim = ledger.claim(lambda _target, _name: 0)
            assert claim is not None
            ended = await poll(desk, Line(query, api), claim)
            assert ended.outcome == "ok", ended
    seconds = time.perf_counter() - started
    busy = time.process_time() - cpu
    click.echo(
        f"{total:,} events in {seconds:.1f} s: {total / seconds:,.0f} a second, {megabytes()} MB"
    )
    click.echo(
        f"{busy:.1f} s of processor time: {total / busy:,.0f} events a second on a free core"
    )


def counted(ledger: Ledger, key: tuple[str, str]) -> float:
    shown = ledger.view(key)
    ledger.reveal([number for number, _ in shown.pending])
    return sum(
        each.value for each in ledger.view(key).shown if each.family == "chatbot_events_total"
    )


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    start_ms = time.time_ns() // 1_000_000 // PAGE_MS * PAGE_MS - 60_000
    start_ms -= total // PER_PAGE * PAGE_MS
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = multiprocessing.get_context("fork").Process(
        target=serve, args=(listener, start_ms, total), daemon=True
    )
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(url, folder, start_ms, total))
    server.terminate()
