"""1,000 targets polled every minute by one exporter, or by some on one PostgreSQL.

The vendor is a process of its own that gives every account the same day of Flow XO, encoded once a
minute. Slots missed are the exporter's own ``polls_skipped_total``.
"""

import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.filled import settings
from tests.benchmarks.processes import Server, exporter, running, scrape_text
from tests.support.postgresql import server as postgresql

TARGETS = 1000


def measure(minutes: float, replicas: int = 0, past: str | int = 0) -> dict[str, float]:
    """Return percent of a core, polls a minute, missed slots, failures and scrape times.

    With ``replicas`` their ledger is on PostgreSQL, whose own processor time is not counted.
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
    command = [sys.executable, "-m", "tests.benchmarks.peers.flowxo"]
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
