"""How long scrapes of replicas take, beside those of one process on SQLite in the same run.

A scrape of a replica reads the version of the ledger first. Each replica is scraped in turn; the
series are all there already, and nothing is polled.
"""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.filled import fill, settings
from tests.benchmarks.processes import exporter, scrape
from tests.benchmarks.table import Row
from tests.support.postgresql import server as postgresql

REPLICAS = 3
WARM_UP = 5


def rows(folder: Path, targets: int, each: int, scrapes: int) -> Iterator[Row]:
    """Yield the 99th percentile of ``scrapes`` pages of ``targets`` with ``each`` so many series."""
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
