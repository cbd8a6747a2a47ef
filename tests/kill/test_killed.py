"""The exporter killed with SIGKILL before and after every kind of commit loses and repeats nothing."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from exporter.clock import SystemClock
from exporter.simulator import SIMULATORS
from exporter.simulator.conversations import Kind
from exporter.simulator.server import Service, serving
from exporter.simulator.traffic import Traffic
from tests.support.till import scratch

CHILD = Path(__file__).with_name("child.py")
HOUR_MS = 3_600_000
LONGEST_S = 60.0
COUNTED = {
    "chatbot_messages_received_total": Kind.MESSAGE_RECEIVED,
    "chatbot_messages_sent_total": Kind.MESSAGE_SENT,
    "chatbot_interactions_total": Kind.INTERACTION,
}
FIRST = ("migrate", "enrol", "self_counts", "claim", "apply", "succeed")
"""What is killed before and during the first polls, while the account stands still."""

LATER = (
    ("enrol", 0), ("view", 0), ("view", 3), ("claim", 0), ("claim", 2), ("next_due_ms", 0),
    ("apply", 0), ("apply", 1), ("apply", 2), ("succeed", 0), ("succeed", 1), ("reveal", 0),
    ("tend", 0), ("sizes", 0), ("sweep", 0), ("renew", 0), ("fail", 0), ("hold", 0), ("close", 0),
)  # fmt: skip
"""What is killed while it counts, and at which of its transactions."""

_SAMPLE = re.compile(r"^(chatbot_\w+_total)(\{.*\}) (\S+)$", re.MULTILINE)
_RESTARTS = re.compile(
    r"chatbot_exporter_(polls|polls_skipped|poll_failures|api_requests|throttled|"
    r"schema_drift|ledger_errors|claims_lost)_total"
)


class Vendors:
    """Both simulators on one truth, served from a thread of their own."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.traffic = Traffic(None)
        self.services: dict[str, Service] = {
            name: SIMULATORS[name](self.clock, self.traffic) for name in ("flowxo", "voiceflow")
        }
        self.urls: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._down = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._up.wait(LONGEST_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with serving(self.services) as self.urls:
            self._up.set()
            await self._down.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(LONGEST_S)

    def ask(self, call: Callable[[], Any]) -> Any:
        """Return what ``call`` returns in the vendors' own thread."""

        async def answered() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(answered(), self._loop).result(LONGEST_S)

    def happen(self, count: int, *, hours_ago: int = 0) -> None:
        """Let ``count`` of everything happen."""
        at_ms = self.clock.now_ms() - hours_ago * HOUR_MS
        for number, kind in enumerate(COUNTED.values()):
            detail: dict[str, Any] = (
                {"interaction_type": "live"} if kind is Kind.INTERACTION else {}
            )
            self.ask(partial(self.traffic.add, kind, at_ms, count=count + number, **detail))

    def truth(self) -> dict[str, int]:
        """Return how often everything has happened."""
        now_ms = self.clock.now_ms()
        window = (now_ms - 40 * HOUR_MS, now_ms + 1)
        return {
            family: self.ask(partial(self.traffic.truth, kind, window, now_ms))
            for family, kind in COUNTED.items()
        }

    def first_answers(self) -> dict[str, int]:
        """Return what the first answered polls were told, from the vendors' own logs."""
        flowxo = next(s for s in self.services["flowxo"].requests if s.status == 200)
        voiceflow = next(s for s in self.services["voiceflow"].requests if s.status == 200)
        return {
            "chatbot_messages_received_total": sum(r["received_messages"] for r in flowxo.rows),
            "chatbot_messages_sent_total": sum(r["sent_messages"] for r in flowxo.rows),
            "chatbot_interactions_total": sum(r["count"] for r in voiceflow.rows),
        }


class Exporter:
    """Children one after another on one ledger, scraped all the time."""

    def __init__(self, folder: Path, vendors: Vendors) -> None:
        self._folder = folder
        self._highest: dict[str, float] = {}
        self._file = folder / "exporter.yaml"
        self._file.write_text(yaml.safe_dump(settings(folder, vendors)))
        self._client = httpx.Client(timeout=LONGEST_S, headers={"accept-encoding": "identity"})

    def close(self) -> None:
        self._client.close()

    def run(self, method: str, moment: str, number: int, *, ends: bool = False) -> int:
        """Run a child until it dies, or is told to end once it has scraped; return its code."""
        child, url = self.start(method, moment, number)
        deadline = SystemClock().monotonic() + LONGEST_S
        while child.poll() is None and SystemClock().monotonic() < deadline:
            if self.scrape(url) is not None and ends:
                child.terminate()
            wait(child)
        assert child.poll() is not None, f"{moment} {method} {number} never came"
        return child.returncode

    def start(self, method: str, moment: str, number: int) -> tuple["subprocess.Popen[bytes]", str]:
        port = free_port()
        command = [sys.executable, str(CHILD), method, moment, str(number), "run"]
        command += ["--config", str(self._file), "--listen", f"127.0.0.1:{port}"]
        with (self._folder / "child.log").open("ab") as log:
            child = subprocess.Popen(command, stderr=log)  # noqa: S603
        return child, f"http://127.0.0.1:{port}/metrics"

    def scrape(self, url: str) -> dict[str, float] | None:
        """Return the sum of every counter's family; None while nobody answers."""
        try:
            text = self._client.get(url).raise_for_status().text
        except httpx.TransportError:
            return None
        sums: dict[str, float] = {}
        for family, labels, value in _SAMPLE.findall(text):
            sums[family] = sums.get(family, 0.0) + float(value)
            if not _RESTARTS.fullmatch(family):
                key = f"{family}{labels}"
                assert float(value) >= self._highest.get(key, 0), f"{key} fell"
                self._highest[key] = float(value)
        return sums

    def until(self, wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """Run a child that is not killed until a scrape is as ``wanted``; return that scrape."""
        child, url = self.start("nobody", "before", 0)
        deadline, seen = SystemClock().monotonic() + LONGEST_S, None
        try:
            while SystemClock().monotonic() < deadline:
                seen = self.scrape(url)
                if seen is not None and wanted(seen):
                    return seen
                wait(child)
            raise AssertionError(f"not within {LONGEST_S} s: {seen}")
        finally:
            child.terminate()
            assert child.wait(LONGEST_S) == 0


def settings(folder: Path, vendors: Vendors) -> dict[str, Any]:
    flowxo = vendors.services["flowxo"].target(vendors.urls["flowxo"])
    voiceflow = vendors.services["voiceflow"].target(vendors.urls["voiceflow"])
    flowxo.pop("top_flows")
    quick = {"interval": "1s", "requests_per_second": 0}
    return {
        "version": 1,
        "allow_inline_secrets": True,
        "ledger": {"url": f"sqlite:///{folder}/ledger.db"},
        "defaults": {"zero_hold": "1s"},
        "targets": [
            {"name": "promo", "provider": "flowxo"} | flowxo | quick,
            {"name": "shop", "provider": "voiceflow"}
            | voiceflow
            | quick
            | {"queries": ["interactions"]},
        ],
    }


def wait(child: "subprocess.Popen[bytes]") -> None:
    """Return at the child's end, or after a moment."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def vendors() -> Iterator[Vendors]:
    running = Vendors()
    yield running
    running.stop()


@pytest.fixture
def exporter(vendors: Vendors) -> Iterator[Exporter]:
    with scratch() as folder:
        made = Exporter(folder, vendors)
        yield made
        made.close()


@pytest.mark.slow
def test_killed_at_every_commit_it_counts_every_unit_once(
    vendors: Vendors, exporter: Exporter
) -> None:
    vendors.happen(50, hours_ago=3)
    for method in FIRST:
        for moment in ("before", "after"):
            assert exporter.run(method, moment, 0) == -signal.SIGKILL, (method, moment)
    exporter.until(lambda seen: seen.keys() >= COUNTED.keys())
    assert vendors.first_answers() == vendors.truth()

    for method, number in LATER:
        for moment in ("before", "after"):
            provoke(vendors, method, moment)
            vendors.happen(3, hours_ago=number)
            code = exporter.run(method, moment, number, ends=method == "close")
            assert code == -signal.SIGKILL, (method, moment, code)

    vendors.happen(7)
    first, truth = vendors.first_answers(), vendors.truth()
    grown = {family: truth[family] - first[family] for family in COUNTED}
    exporter.until(lambda seen: {family: seen.get(family) for family in COUNTED} == grown)
    polls = len(vendors.services["flowxo"].requests) + 2
    seen = exporter.until(lambda _seen: len(vendors.services["flowxo"].requests) >= polls)
    assert {family: seen[family] for family in COUNTED} == grown


def provoke(vendors: Vendors, method: str, moment: str) -> None:
    """Let the vendors do what makes the exporter come to ``method``."""
    faults = {"fail": "unauthorized", "hold": "empty", "renew": "slow"}
    options: dict[str, Any] = {"seconds": 2} if method == "renew" else {}
    for service in vendors.services.values():
        if method in faults:
            vendors.ask(partial(service.faults.on, faults[method], times=1, **options))
    if method == "reveal":  # a series that was not there before
        add = partial(vendors.traffic.add, Kind.INTERACTION, interaction_type=f"{moment}-{method}")
        vendors.ask(partial(add, vendors.clock.now_ms()))
