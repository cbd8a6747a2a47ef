"""A server of the exporter's own web room on a board of many sources that change on command.

It prints its address, and answers each line on standard input: ``next N`` makes up new values for
N sources, unmeasured; ``go`` shows them, as the display does after polls.
"""

import gc
import random
import sys

from exporter.exposition.page import MetricsPage
from exporter.ledger.rows import Shown
from exporter.model.families import NORMALISED
from exporter.telemetry.counters import Telemetry
from exporter.web.app import build
from exporter.web.server import start
from tests.benchmarks.filled import name_of, shown
from tests.web import served


def main(sources: int, each: int) -> None:
    rng = random.Random(7)  # noqa: S311 - made-up values
    board = MetricsPage(NORMALISED, Telemetry().exposed)

    def put(values: dict[int, list[Shown]]) -> None:
        for source, rows in values.items():
            board.put((name_of(source), "hourly"), rows)
        board.publish()

    put({source: list(shown(source, each, rng)) for source in range(sources)})
    running = start("127.0.0.1:0", build(served.sources(exposition=board)))
    print(running.address, flush=True)  # noqa: T201 - the answer
    coming: dict[int, list[Shown]] = {}
    for line in sys.stdin:
        if line.startswith("next"):
            chosen = rng.sample(range(sources), int(line.split()[1]))
            coming = {source: list(shown(source, each, rng)) for source in chosen}
            gc.collect()
            gc.freeze()  # what is made up here would not be there in an exporter
        else:
            put(coming)
        print("done", flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
