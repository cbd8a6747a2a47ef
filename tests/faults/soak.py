"""The exporter for half an hour among all that goes wrong: ``python -m tests.faults.soak``.

Two hundred targets, one of them hanging and one with a silent name server, a reload each minute that
removes, adds and renames targets, and a wall clock that is set by an hour every five minutes.
Prints what was seen; ends with 1 if a promise was broken.
"""

import argparse
import multiprocessing
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import click
import httpx
import yaml

from exporter.__main__ import main
from exporter.clock import SystemClock
from exporter.simulator.traffic import Traffic
from tests.e2e.processes import free_port, hanging_vendor, pause, wait_for
from tests.faults.bench import Vendor, case_of, happened
from tests.support.served import ServedVendors, document

HOUR_MS = 3_600_000
KINDS = ("flowxo", "inkeep", "voiceflow", "chatlayer")
EACH = 50
CHURNING = 20
INTERVAL_S = 120
SILENT = "silent.test"
STEPS_H = (1, -1, -1, 1)
CLOCK = SystemClock()


def child(ahead_ms: "Synchronized[int]", log: str, arguments: list[str]) -> None:
    """Run the program on a clock that is ``ahead_ms``, where one name is never resolved."""
    right, resolve = SystemClock.now_ms, socket.getaddrinfo

    def resolved(host: Any, *more: Any, **options: Any) -> Any:
        if host == SILENT:
            threading.Event().wait()
        return resolve(host, *more, **options)

    SystemClock.now_ms = lambda self: right(self) + ahead_ms.value  # type: ignore[method-assign]
    socket.getaddrinfo = resolved
    sys.stderr = Path(log).open("w", encoding="utf-8")  # noqa: SIM115 - for the process's life
    os.dup2(sys.stderr.fileno(), 2)
    sys.argv = ["chatbot-exporter", *arguments]
    main()


@dataclass
class Watch:
    """What is seen of a running exporter; instants are monotonic seconds."""

    url: str
    pid: int
    changed: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    oldest_s: dict[str, float] = field(default_factory=dict)
    rss: list[tuple[float, float]] = field(default_factory=list)
    falls: list[str] = field(default_factory=list)
    highest: dict[str, float] = field(default_factory=dict)

    def look(self, client: httpx.Client, shown: set[str]) -> None:
        """Note ages of successes of ``shown`` targets, counters that fell, and memory."""
        now_s = CLOCK.monotonic()
        self.rss.append((now_s / 60, _rss_mb(self.pid)))
        status = client.get(f"{self.url}/api/v1/status").json()
        for target in status["targets"]:
            if target["name"] not in shown:
                continue
            for query in target["queries"]:
                key = (target["name"], query["name"])
                success = query["last_success_ms"] or 0
                before, since_s = self.changed.get(key, (-1, now_s))
                since_s = now_s if success != before else since_s
                self.changed[key] = (success, since_s)
                age_s = now_s - since_s
                self.oldest_s[target["name"]] = max(age_s, self.oldest_s.get(target["name"], 0))
        for name, value in _counters(client.get(f"{self.url}/metrics").text).items():
            if value < self.highest.get(name, 0):
                self.falls.append(name)
            self.highest[name] = max(value, self.highest.get(name, 0))

    def forget(self, names: set[str]) -> None:
        """Count the age of targets that come back from now on."""
        self.changed = {key: value for key, value in self.changed.items() if key[0] not in names}


def _rss_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _counters(page: str) -> dict[str, float]:
    found = {}
    for line in page.splitlines():
        name, _, value = line.rpartition(" ")
        if "_total{" in name and not line.startswith(("#", "chatbot_exporter_")):
            found[name] = float(value)
    return found


def _targets(vendors: ServedVendors, hanging: str) -> dict[str, dict[str, Any]]:
    pace = {
        "interval": f"{INTERVAL_S}s", "slow_interval": f"{INTERVAL_S}s", "lookback": "4h",
        "requests_per_second": 0, "initial_lookback": 0,
    }  # fmt: skip
    targets = {}
    for kind in KINDS:
        asked = vendors.target(kind) | pace | dict(case_of(kind).settings)
        if kind == "chatlayer":
            asked["collectors"] = ["events", "messages"]
        for number in range(EACH):
            targets[f"{kind}-{number}"] = asked | {"name": f"{kind}-{number}"}
    targets["flowxo-hangs"] = targets["flowxo-0"] | {"name": "flowxo-hangs", "base_url": hanging}
    silent = {"name": "flowxo-silent", "base_url": f"https://{SILENT}/api"}
    targets["flowxo-silent"] = targets["flowxo-0"] | silent
    return targets


def _wrong(
    counters: Mapping[str, float], traffic: Traffic, since_ms: int, until_ms: int
) -> list[str]:
    """Return every counter of a target that differs from what happened at its vendor."""
    shown: dict[tuple[str, str], float] = {}
    for name, value in counters.items():
        family, _, labels = name.partition("{")
        target = labels.partition('target="')[2].partition('"')[0]
        shown[target, family] = shown.get((target, family), 0) + value
    wrong, compared = [], 0
    for kind in KINDS:
        for family in case_of(kind).counts:
            truth = happened(traffic, kind, family, since_ms, until_ms)
            for number in range(EACH):
                counted = shown.get((f"{kind}-{number}", family))
                compared += counted is not None
                if counted not in {None, truth}:
                    wrong.append(f"{kind}-{number} {family}: {counted} instead of {truth}")
    click.echo(f"counters compared: {compared}, wrong: {len(wrong)}")
    return wrong


class Soak:
    """An exporter in a process of its own, its settings, and the clock that is set."""

    def __init__(self, folder: Path, vendors: ServedVendors, hanging: str) -> None:
        self._file = folder / "exporter.yaml"
        self._targets = _targets(vendors, hanging)
        self._rng = random.Random(1)  # noqa: S311 - the same order each time
        self._gone: set[str] = set()
        once = httpx.Limits(max_keepalive_connections=0)  # none that the server ends meanwhile
        self._client = httpx.Client(timeout=120, limits=once)
        self.healthy = self._targets.keys() - {"flowxo-hangs", "flowxo-silent"}
        self._write(self._targets)
        port, context = free_port(), multiprocessing.get_context("spawn")
        self._ahead_ms = context.Value("q", 0)
        run = ["run", "--config", str(self._file), "--listen", f"127.0.0.1:{port}"]
        self.process = context.Process(
            target=child, args=(self._ahead_ms, str(folder / "log"), run)
        )
        self.process.start()
        self.watch = Watch(f"http://127.0.0.1:{port}", self.process.pid or 0)

    def _write(self, targets: Mapping[str, Mapping[str, Any]]) -> None:
        settings = document(self._file.parent, *targets.values(), zero_hold="1s")
        settings["limits"] = {"series_total": 100_000}
        scratch = self._file.with_suffix(".new")
        scratch.write_text(yaml.safe_dump(settings), "utf-8")
        scratch.replace(self._file)

    def wait_until_all_are_read(self) -> None:
        """Return once every healthy query has been read."""
        wait_for(lambda: _serves(self._client, self.watch.url), 120)
        wait_for(self._all_read, 600, every=1)

    def _all_read(self) -> bool:
        targets = self._client.get(f"{self.watch.url}/api/v1/status").json()["targets"]
        shown = [query for t in targets if t["name"] in self.healthy for query in t["queries"]]
        return len(shown) > len(self.healthy) and all(q["last_success_ms"] for q in shown)

    def minute(self, number: int) -> None:
        """Reload with other targets; every fifth time, set the clock by an hour."""
        before, self._gone = self._gone, set(self._rng.sample(sorted(self.healthy), CHURNING))
        now = {name: each for name, each in self._targets.items() if name not in self._gone}
        now[f"new-{number}"] = self._targets["flowxo-0"] | {"name": f"new-{number}"}
        self._write(now)
        self._reload()
        self.watch.forget(before | self._gone)
        if number % 5 == 4:
            self._ahead_ms.value += STEPS_H[number // 5 % len(STEPS_H)] * HOUR_MS

    def look(self) -> None:
        """See how the healthy targets are."""
        self.watch.look(self._client, self.healthy - self._gone)

    def restore(self) -> None:
        """Set the clock right, and configure all targets again."""
        self._ahead_ms.value = 0
        self._write(self._targets)
        self._reload()

    def _reload(self) -> None:
        assert self._client.post(f"{self.watch.url}/-/reload").status_code == 200

    def counters(self) -> dict[str, float]:
        """Return the counters that are fed from vendors, as they are scraped."""
        return _counters(self._client.get(f"{self.watch.url}/metrics").text)

    def stop(self) -> float:
        """Stop the exporter; return after how many seconds it had ended."""
        os.kill(self.watch.pid, signal.SIGTERM)
        started_s = CLOCK.monotonic()
        self.process.join(30)
        self._client.close()
        return CLOCK.monotonic() - started_s


def soak(minutes: int, folder: Path) -> list[str]:
    """Return the promises that were broken in so many minutes."""
    vendor = Vendor(CLOCK)
    since_ms = vendor.hold()
    served = ServedVendors(KINDS, Traffic(7, per_hour=60), vendor)
    with served as vendors, hanging_vendor() as hanging:
        for service in vendors.services.values():
            service.keeps_log = False
        run = Soak(folder, vendors, hanging)
        run.wait_until_all_are_read()
        vendor.release()
        started_s = CLOCK.monotonic()
        for turn in range(12 * minutes):
            pause(max(0, started_s + 5 * turn - CLOCK.monotonic()))
            if turn % 12 == 6:
                run.minute(turn // 12)
            run.look()
        run.restore()
        until_ms = vendor.hold()
        pause(4 * INTERVAL_S)
        run.counters()  # a new series shows its value only after a scrape has seen its 0
        pause(5)
        broken = _wrong(run.counters(), vendors.traffic, since_ms, until_ms)
        return broken + _judged(run.watch, run.stop(), run.process.exitcode)


def _serves(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def _judged(watch: Watch, stop_s: float, code: int | None) -> list[str]:
    settled = watch.rss[len(watch.rss) // 3 :]
    slope = statistics.linear_regression(*zip(*settled, strict=True)).slope
    oldest_s = max(watch.oldest_s.values())
    click.echo(f"oldest healthy success: {oldest_s:.0f} s, of intervals of {INTERVAL_S} s")
    click.echo(f"memory: {settled[0][1]:.1f} to {settled[-1][1]:.1f} MB, {slope:.3f} MB a minute")
    click.echo(f"counters that fell: {len(watch.falls)}; stop after {stop_s:.1f} s with {code}")
    return [
        *watch.falls,
        *([f"a healthy target was {oldest_s:.0f} s old"] if oldest_s > 3 * INTERVAL_S else []),
        *([f"memory grows by {slope:.3f} MB a minute"] if slope > 0.1 else []),
        *([f"stopped after {stop_s:.1f} s with {code}"] if stop_s > 10 or code else []),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    chosen = parser.parse_args()
    scratch_folder = Path(tempfile.mkdtemp(prefix="soak-"))
    broken_promises = soak(chosen.minutes, scratch_folder)
    log = (scratch_folder / "log").read_text("utf-8")
    click.echo(f"log lines: {len(log.splitlines())}; tracebacks: {log.count('Traceback')}")
    click.echo("\n".join(broken_promises[:20]))
    sys.exit(1 if broken_promises else 0)
