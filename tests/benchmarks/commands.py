"""What whole commands take: ``run`` to its first answer, and ``backfill`` for five weeks of many bots."""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from exporter.cli.explain import specs_of
from exporter.cli.settings import load_settings
from exporter.model.families import NORMALISED
from exporter.model.samples import HOUR_MS, Window, ceil_to
from tests.benchmarks import filled
from tests.benchmarks.processes import HERE, ROOT, exporter, failure, scrape
from tests.engagement.bots import drawn, means, rhythm
from tests.support.driver import LedgerDriver

TARGETS, SERIES = 100, 1_000
SYSTEMS = "/usr/bin/python3"
WEEKS = 5
COUNTED = tuple(
    f"chatbot_{name}_total"
    for name in ("messages_received", "messages_sent", "flow_triggers", "new_users")
)
SAID = re.compile(r"(\d+) samples of (\d+) series")
WITH_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command and prints the most KiB that it had: of a child of this process they would be ours."""


def start(rounds: int, python: str) -> dict[str, float]:
    """Return wall and processor seconds to the first answer on /metrics, and MB resident after it.

    Three ledgers: none yet, one with a target and no series, one of 100 targets with 1,000 series
    each; medians, interleaved. The program is installed as users have it, without the tools of its
    development, for this Python and for the system's: distributions build theirs with profiles,
    which is a tenth to a sixth.
    """
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


def backfill(bots: int) -> dict[str, float]:
    """Return wall seconds, peak memory in MiB and millions of samples, one every five minutes.

    A bot has four counters, their period gauges and its expected engagement. ``--dry-run`` makes
    every line of the file, and writes none: 100 bots are some gigabytes.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = filled.settings(folder, bots, ledger=f"sqlite:///{folder}/ledger.db")
        _fill(folder, file)
        command = [*HERE, "backfill", "--config", str(file), "--step", "5m"]
        command += ["--dry-run", "--output", "past.om"]
        command += ["--label", "job=chatbot-exporter", "--label", "instance=here:10877"]
        started = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", WITH_PEAK, *command],
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=True,
        )
    found = SAID.search(done.stdout)
    assert found is not None
    return {
        "wall_s": time.perf_counter() - started,
        "peak_mib": int(done.stdout.rsplit(maxsplit=1)[-1]) / 1024,
        "msamples": int(found[1]) / 1e6,
        "series": int(found[2]),
    }


def _fill(folder: Path, file: Path) -> None:
    """Let each bot be polled once, for the whole past; all have the same."""
    specs = [each for each in specs_of(load_settings(str(file))).values() if each.name == "hourly"]
    hours = WEEKS * 7 * 24 + 1  # and the one that is open
    course = drawn(means(rhythm(2_000), hours))
    with LedgerDriver(folder, *specs) as driver:
        end_ms = ceil_to(driver.clock.now_ms(), HOUR_MS)
        window = Window(end_ms - hours * HOUR_MS, end_ms)
        counts = [
            ((family, _labels(family)), window.start_ms + at * HOUR_MS, course[at])
            for family in COUNTED
            for at in range(hours)
        ]
        for _ in specs:
            driver.poll(counts=counts, window=window)


def _labels(family: str) -> tuple[str, ...]:
    """Return the label values after provider and target."""
    return ("bot", *[""] * len(NORMALISED[family].labels[3:]))
