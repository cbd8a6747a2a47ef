"""Exporters that are killed one after another."""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.clock import SystemClock
from tests.e2e.processes import free_port

CHILD = Path(__file__).with_name("child.py")
LONGEST_S = 60.0

_SAMPLE = re.compile(r"^(chatbot_\w+_total)(\{.*\}) (\S+)$", re.MULTILINE)
_RESTARTS = re.compile(
    r"chatbot_exporter_(polls|polls_skipped|poll_failures|api_requests|throttled|"
    r"schema_drift|ledger_errors|claims_lost)_total"
)


class Exporter:
    """Children one after another on one ledger, scraped all the time."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._highest: dict[str, float] = {}
        self._file = folder / "exporter.yaml"
        self._file.write_text(yaml.safe_dump(dict(settings)))
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
        died = child.poll() is not None
        child.kill()
        assert died, f"{moment} {method} {number} never came"
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


def wait(child: "subprocess.Popen[bytes]") -> None:
    """Return at the child's end, or after a moment."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(0.05)
