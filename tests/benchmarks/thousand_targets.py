"""One exporter, 1,000 targets polled every minute: how much of a core, and slots missed.

The vendor is a process of its own that gives every account the same day of Flow XO, encoded once a
minute. Slots missed are the exporter's own ``polls_skipped_total``.
"""

import re
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.benchmarks.filled import settings
from tests.benchmarks.processes import exporter, running, scrape_text

TARGETS = 1000


def measure(minutes: float) -> dict[str, float]:
    """Return percent of a core, polls a minute, missed slots, failures and scrape times."""
    command = [sys.executable, "-m", "tests.benchmarks.peers.flowxo"]
    with tempfile.TemporaryDirectory() as folder, running(command) as vendor:
        file = settings(Path(folder), TARGETS, f"http://{vendor.address}", interval="1m")
        with exporter(file) as server:
            pause = threading.Event()  # nobody sets it
            pause.wait(75)  # every first poll, and the start, are over
            connection = server.connect()
            after = before = scrape_text(connection)
            cpu, begun = server.cpu_s(), time.perf_counter()
            took = []
            while time.perf_counter() - begun < minutes * 60:
                at = time.perf_counter()
                after = scrape_text(connection)
                took.append(time.perf_counter() - at)
                pause.wait(15)
            after = scrape_text(connection)
            spent, seconds = server.cpu_s() - cpu, time.perf_counter() - begun
            memory = server.memory("VmRSS") / 2**20
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


def _sum(page: str, name: str) -> float:
    found = re.findall(rf"^chatbot_exporter_{name}{{[^}}]*}} (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))
