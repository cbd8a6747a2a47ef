"""How long ``run`` takes from its start to the first answer on /metrics.

    .venv/bin/python -m tests.benchmarks.startup

Three ledgers: none yet, one with a target and no series, one of 100 targets with 1,000 series
each. Wall and processor seconds of the process, memory after the answer; medians, interleaved.
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from tests.benchmarks import filled
from tests.benchmarks.processes import exporter, scrape

ROUNDS = 5
TARGETS, SERIES = 100, 1_000


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Return wall and processor seconds to the first answer, and MB resident after it."""
    taken: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        cases = _cases(Path(folder))
        for _ in range(rounds):
            for name, prepare in cases.items():
                for unit, value in started(prepare()).items():
                    taken[f"{unit}_{name}"].append(value)
    return {name: statistics.median(values) for name, values in taken.items()}


def started(file: Path) -> Mapping[str, float]:
    """Run on the settings in ``file`` until one scrape is answered; return what that took."""
    begun = time.perf_counter()
    with exporter(file) as server:
        scrape(server.connect(), gzip=False)
        wall_s = time.perf_counter() - begun
        return {
            "wall_s": wall_s,
            "cpu_s": server.cpu_s(),
            "rss_mb": server.memory("VmRSS") / 2**20,
        }


def _cases(folder: Path) -> dict[str, Callable[[], Path]]:
    """Return how the settings of each case are had, with its ledger as it is to be."""
    for name in ("new", "empty", "full"):
        (folder / name).mkdir()
    few, many = filled.settings(folder / "empty", 1), filled.settings(folder / "full", TARGETS)
    started(few)
    filled.fill(many, SERIES)

    def fresh() -> Path:
        for file in (folder / "new").iterdir():
            file.unlink()
        return filled.settings(folder / "new", 1)

    return {"new": fresh, "empty": lambda: few, "100k": lambda: many}


if __name__ == "__main__":
    for name, value in measure().items():
        click.echo(f"{name:16} {value:8.2f}")
