"""How long ``run`` takes from its start to the first answer on /metrics.

Three ledgers: none yet, one with a target and no series, one of 100 targets with 1,000 series
each. Wall and processor seconds of the process, memory after the answer; medians, interleaved.
The program is installed for it as users have it, without the tools of its development, for this
Python and for the system's: distributions build theirs with profiles, which is a tenth to a sixth.
"""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from tests.benchmarks import filled
from tests.benchmarks.processes import HERE, ROOT, exporter, failure, scrape

TARGETS, SERIES = 100, 1_000
SYSTEMS = "/usr/bin/python3"


def measure(rounds: int, python: str) -> dict[str, float]:
    """Return wall and processor seconds to the first answer, and MB resident after it."""
    taken: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        program = installed(Path(folder), python)
        cases = _cases(Path(folder), program)
        for _ in range(rounds):
            for name, prepare in cases.items():
                for unit, value in started(prepare(), program).items():
                    taken[f"{unit}_{name}"].append(value)
    return {name: statistics.median(values) for name, values in taken.items()}


def installed(folder: Path, python: str) -> Sequence[str]:
    """Install the program for ``python``; return how to run it, from here where that fails."""
    uv, home = Path(sys.executable).with_name("uv"), folder / "installed"
    pip = (uv, "pip", "install", "-q", "--compile-bytecode", "--python", home / "bin/python", ROOT)
    for command in ((uv, "venv", "-q", "--python", python, home), pip):
        if told := failure(*command):
            click.echo(f"not installed, so run from its sources: {told}", err=True)
            return HERE
    return (str(home / "bin/chatbot-exporter"),)


def started(file: Path, program: Sequence[str] = HERE) -> Mapping[str, float]:
    """Run on the settings in ``file`` until one scrape is answered; return what that took."""
    begun = time.perf_counter()
    with exporter(file, program) as server:
        scrape(server.connect(), gzip=False)
        wall_s = time.perf_counter() - begun
        return {
            "wall_s": wall_s,
            "cpu_s": server.cpu_s(),
            "rss_mb": server.memory("VmRSS") / 2**20,
        }


def _cases(folder: Path, program: Sequence[str]) -> dict[str, Callable[[], Path]]:
    """Return what writes the settings of each case, with its ledger as it is to be."""

    def fresh(targets: int = 1) -> Path:
        return filled.settings(Path(tempfile.mkdtemp(dir=folder)), targets)

    few, many = fresh(), fresh(TARGETS)
    started(few, program)
    filled.fill(many, SERIES)
    return {"new": fresh, "empty": lambda: few, "100k": lambda: many}
