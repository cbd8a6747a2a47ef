"""Exporters that are killed one after another."""

import multiprocessing
import re
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.clock import SystemClock
from tests.e2e.processes import free_port
from tests.kill import child

LONGEST_S, PAUSE_S = 60.0, 0.05
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([child.__name__])  # imported once, not by each of many exporters

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
        """Run an exporter until it is killed, or, once it was scraped, ``ends``; return its code."""
        process, url = self.start(method, moment, number)
        deadline = SystemClock().monotonic() + LONGEST_S
        while process.is_alive() and SystemClock().monotonic() < deadline:
            if self.scrape(url) is not None and ends:
                process.terminate()
            process.join(PAUSE_S)
        died = not process.is_alive()
        process.kill()
        assert died, f"{moment} {method} {number} never came"
        return process.exitcode or 0

    def start(self, method: str, moment: str, number: int) -> tuple[ForkServerProcess, str]:
        port = free_port()
        run = ["run", "--config", str(self._file), "--listen", f"127.0.0.1:{port}"]
        log = str(self._folder / "exporter.log")
        process = PROCESSES.Process(target=child.run, args=(method, moment, number, log, *run))
        process.start()
        return process, f"http://127.0.0.1:{port}/metrics"

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
        process, url = self.start("nobody", "before", 0)
        deadline, seen = SystemClock().monotonic() + LONGEST_S, None
        try:
            while SystemClock().monotonic() < deadline:
                seen = self.scrape(url)
                if seen is not None and wanted(seen):
                    return seen
                process.join(PAUSE_S)
            raise AssertionError(f"not within {LONGEST_S} s: {seen}")
        finally:
            process.terminate()
            process.join(LONGEST_S)
            assert process.exitcode == 0
