"""What ``backfill`` takes for five weeks of many bots, a sample every five minutes.

A bot has four counters, their period gauges and its expected engagement. ``--dry-run`` makes every
line of the file, and writes none: 100 bots are some gigabytes.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exporter.cli.explain import specs_of
from exporter.cli.settings import load_settings
from exporter.model.families import NORMALISED
from exporter.model.samples import HOUR_MS, Window, ceil_to
from tests.benchmarks.filled import settings
from tests.benchmarks.processes import HERE, ROOT
from tests.engagement.bots import drawn, means, rhythm
from tests.support.driver import LedgerDriver

WEEKS = 5
COUNTED = tuple(
    f"chatbot_{name}_total"
    for name in ("messages_received", "messages_sent", "flow_triggers", "new_users")
)
SAID = re.compile(r"(\d+) samples of (\d+) series")


def measure(bots: int) -> dict[str, float]:
    """Return wall seconds, peak memory in MiB and millions of samples."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = settings(folder, bots, ledger=f"sqlite:///{folder}/ledger.db")
        _fill(folder, file)
        command = [*HERE, "backfill", "--config", str(file), "--step", "5m"]
        command += [
            "--dry-run",
            "--output",
            "past.om",
            "--label",
            "job=chatbot-exporter",
            "--label",
            "instance=here:10877",
        ]
        started = time.perf_counter()
        with subprocess.Popen(  # noqa: S603 - our own program
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, said
    found = SAID.search(said)
    assert found is not None
    return {
        "wall_s": time.perf_counter() - started,
        "peak_mib": used.ru_maxrss / 1024,
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


if __name__ == "__main__":
    print(measure(int(sys.argv[1])))  # noqa: T201 - a figure by hand
