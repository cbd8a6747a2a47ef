"""What scrapes and polls of whole exporters take, each a process of its own, while others work.

Replicas share a ledger on PostgreSQL, whose own processor time is not counted.
"""

import json
import math
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.benchmarks.filled import fill, settings, write
from tests.benchmarks.processes import (
    OPENMETRICS,
    Server,
    exporter,
    running,
    scrape,
    scrape_text,
)
from tests.benchmarks.table import Row, spread_ms
from tests.support.postgresql import server as postgresql
from tests.support.served import answering

REPLICAS = 3
WARM_UP = 5
ROWS_A_PAGE = 500
PROJECT = "64b1f0aa11bb22cc33dd44ee"
TARGETS = 1000


def replica_scrapes(folder: Path, targets: int, each: int, scrapes: int) -> Iterator[Row]:
    """Yield the 99th percentile of ``scrapes`` pages of ``targets`` with ``each`` so many series.

    A scrape of a replica reads the version of the ledger first. Each replica is scraped in turn; the
    series are all there already, and nothing is polled. Beside it, one process on SQLite.
    """
    with ExitStack() as stack:
        database = stack.enter_context(postgresql())
        places = {"shared": database.url(database.database()), "alone": None}
        p99_ms = {}
        for name, ledger in places.items():
            (folder / name).mkdir()
            file = settings(folder / name, targets, ledger=ledger)
            fill(file, each)
            with ExitStack() as running:
                number = REPLICAS if ledger else 1
                servers = [running.enter_context(exporter(file)) for _ in range(number)]
                connections = [server.connect() for server in servers]
                took = []
                for at in range(WARM_UP * number + scrapes):
                    began = time.perf_counter()
                    scrape(connections[at % number])
                    took.append(time.perf_counter() - began)
                measured = sorted(took[WARM_UP * number :])
                p99_ms[name] = measured[math.ceil(0.99 * len(measured)) - 1] * 1000
    words = f"scrape p99, {REPLICAS} replicas on PostgreSQL, {targets * each:,} series"
    yield Row(words, "ms", [p99_ms["shared"]], "one process on SQLite", [p99_ms["alone"]], most=50)


def scrapes_during_poll(pages: int, seconds: float) -> dict[str, float]:
    """Return how many scrapes there were, one every 20 ms, and their milliseconds on the wall.

    Meanwhile one target's poll reads ``pages`` full pages, evenly spread over the time, and then an
    empty one.
    """
    done = threading.Event()

    class Vendor(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            page = int(asked["data"]["filter"].get("cursor", 0))
            time.sleep(seconds / pages)  # noqa: TID251 - a slow vendor is the point
            rows = [row(page, i) for i in range(ROWS_A_PAGE)] if page < pages else []
            if not rows:
                done.set()
            body = json.dumps({"result": {"items": rows, "cursor": page + 1}}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    times = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(answering(Vendor))
        server = stack.enter_context(exporter(write(folder, target(port))))
        while not done.is_set():
            began = time.perf_counter()
            scrape(server.connect(), accept=OPENMETRICS)
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.02)  # noqa: TID251 - a scraper's own pace
    return {"scrapes": len(times), **spread_ms(times)}


def target(port: int) -> dict[str, object]:
    return {
        "name": "slow",
        "provider": "voiceflow",
        "api_key": "VF.DM.none",
        "base_url": f"http://127.0.0.1:{port}",
        "projects": [{"id": PROJECT, "alias": "shop"}],
        "queries": ["interactions"],
        "requests_per_second": 0,
    }


def row(page: int, number: int) -> dict[str, object]:
    """Return one of many rows of the last two days."""
    hour = datetime.now(UTC) - timedelta(hours=(page * 7 + number) % 47)  # noqa: TID251
    return {
        "period": hour.strftime("%Y-%m-%dT%H:00:00.000Z"),
        "projectID": PROJECT,
        "environmentID": f"64b1f0aa11bb22cc33dd{number % 10:04d}",
        "count": 1 + number,
        "type": f"kind-{page % 4}",
    }


def thousand_targets(minutes: float, replicas: int = 0, past: str | int = 0) -> dict[str, float]:
    """Return percent of a core, polls a minute, missed slots, failures and scrape times.

    1,000 targets are polled every minute by one exporter, or by ``replicas``. The vendor gives every
    account the same day of Flow XO. Slots missed are the exporter's own ``polls_skipped_total``;
    ``past`` is how much history is read beside.
    """
    with ExitStack() as stack:
        servers = list(_started(stack, replicas, past))
        pause = threading.Event()  # nobody sets it
        connections = [server.connect() for server in servers]
        while _up(scrape_text(connections[0])) < TARGETS:
            pause.wait(5)
        pause.wait(60)  # first polls, all at once, are late for the slots that follow
        before = "".join(map(scrape_text, connections))
        cpu, begun = sum(server.cpu_s() for server in servers), time.perf_counter()
        took = []
        while time.perf_counter() - begun < minutes * 60:
            for connection in connections:
                at = time.perf_counter()
                scrape_text(connection)
                took.append(time.perf_counter() - at)
            pause.wait(15)
        after = "".join(map(scrape_text, connections))
        spent = sum(server.cpu_s() for server in servers) - cpu
        seconds = time.perf_counter() - begun
        memory = max(server.memory("VmRSS") for server in servers) / 2**20
    names = ("polls_total", "polls_skipped_total", "poll_failures_total")
    polls, skipped, failed = (_sum(after, name) - _sum(before, name) for name in names)
    return {
        "core_percent": spent / seconds * 100,
        "polls_per_minute": polls / seconds * 60,
        "slots_missed": skipped,
        "failures": failed,
        "slowest_scrape_ms": max(took) * 1000,
        "rss_mib": memory,
    }


def _started(stack: ExitStack, replicas: int, past: str | int) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.benchmarks.peers.vendors"]
    vendor = stack.enter_context(running(command))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    ledger = None
    if replicas:
        database = stack.enter_context(postgresql())
        ledger = database.url(database.database())
    file = settings(folder, TARGETS, f"http://{vendor.address}", "1m", ledger, past)
    for _ in range(replicas or 1):
        yield stack.enter_context(exporter(file))


def _up(page: str) -> int:
    return len(re.findall(r"^chatbot_exporter_target_up{[^}]*} 1$", page, re.MULTILINE))


def _sum(page: str, name: str) -> float:
    found = re.findall(rf"^chatbot_exporter_{name}{{[^}}]*}} (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))
