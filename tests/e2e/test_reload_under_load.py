"""Reloads while Prometheus scrapes and vendors are polled: no scrape is lost, and no poll.

The real program, as a process, on simulated vendors that log every request. It is scraped many
times a second while it reloads, by signal and by request, files that are right and wrong.
"""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.model.query import QuerySpec
from exporter.polling.schedule import phase_ms
from exporter.simulator.server import LoggedRequest, Service
from exporter.simulator.traffic import Traffic
from tests.e2e.processes import end, free_port, page, program, wait_for
from tests.support.served import ServedVendors, document

INTERVAL_MS = 5_000
VENDORS = ("flowxo", "voiceflow", "xenioo")
RELOADS = 3
SCRAPE_EVERY_S = 0.1
QUERIES = {"flowxo": "hourly", "voiceflow": "interactions/shop"}
FED = ("chatbot_messages_received_total", "chatbot_interactions_total")
Sample = tuple[str, frozenset[tuple[str, str]]]


def settings_of(folder: Path, vendors: ServedVendors) -> dict[str, Any]:
    """Return settings: a query every five seconds each, and Xenioo's, which is asked once."""
    fewer: dict[str, dict[str, Any]] = {
        "flowxo": {"interval": "5s", "top_flows": None},
        "voiceflow": {"interval": "5s", "queries": ["interactions"]},
        "xenioo": {},
    }
    targets = [vendors.target(name) | fewer[name] for name in VENDORS]
    return document(folder, *targets, lookback="2h", settle="1h", zero_hold="1s")


@dataclass
class Scraper:
    """Scrapes all the time, and notes each scrape that failed and each counter that fell."""

    port: int
    scrapes: int = 0
    failed: list[str] = field(default_factory=list)
    fallen: list[str] = field(default_factory=list)
    highest: dict[Sample, float] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10) as client:
            while not stop.wait(SCRAPE_EVERY_S):
                self.scrape(client)

    def scrape(self, client: httpx.Client) -> None:
        self.scrapes += 1
        try:
            answer = client.get("/metrics")
        except httpx.HTTPError as error:
            self.failed.append(type(error).__name__)
            return
        if answer.status_code != httpx.codes.OK:
            self.failed.append(str(answer.status_code))
            return
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples if family.type == "counter" else ():
                key = (sample.name, frozenset(sample.labels.items()))
                if sample.value < self.highest.get(key, 0):
                    self.fallen.append(f"{key} {self.highest[key]} -> {sample.value}")
                self.highest[key] = sample.value

    @contextmanager
    def scraping(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def polls(service: Service) -> list[LoggedRequest]:
    """Return the first request of each poll so far."""
    return [
        seen
        for seen in list(service.requests)
        if "authorization" not in seen.path and "cursor" not in str(seen.body)
    ]


def slots(service: Service, target: str, query: str) -> list[int]:
    """Return the numbers of the slots in which ``service`` was polled, but for the first poll."""
    phase = phase_ms(QuerySpec(target, target, query, {}, interval_ms=INTERVAL_MS))
    return [(seen.at_ms - phase) // INTERVAL_MS for seen in polls(service)[1:]]


@dataclass
class Operator:
    """Reloads by signal and by request; a signal has been followed when a metric says so."""

    process: "subprocess.Popen[str]"
    port: int
    file: Path
    settings: dict[str, Any]

    def write(self, **defaults: str) -> None:
        self.settings["defaults"] |= defaults
        self.file.write_text(yaml.safe_dump(self.settings), "utf-8")

    def spoil(self) -> None:
        self.file.write_text("version: 2\n", "utf-8")

    def reloaded(self) -> dict[str, float]:
        """Return whether the last reload succeeded, and when one last did."""
        return {
            sample.name.removeprefix("chatbot_exporter_config_last_reload_"): sample.value
            for family in text_string_to_metric_families(page(self.port) or "")
            for sample in family.samples
            if "config_last_reload" in sample.name
        }

    def hang_up(self) -> bool:
        """Send SIGHUP; return whether the settings are in force, once the program knows."""
        before = self.reloaded()
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.reloaded() != before, 20)
        return self.reloaded()["successful"] == 1

    def post(self) -> int:
        """Request a reload; return the status of the answer."""
        return httpx.post(f"http://127.0.0.1:{self.port}/-/reload", timeout=20).status_code

    def reload(self, number: int) -> None:
        """Reload a file that is right, and then one that is not, by both ways."""
        self.write(write_off_after=f"{6 + number}h")
        assert self.hang_up()
        assert self.post() == httpx.codes.OK
        self.spoil()
        assert not self.hang_up()
        assert self.post() == httpx.codes.BAD_REQUEST


@contextmanager
def scraped(folder: Path, vendors: ServedVendors) -> Iterator[tuple[Operator, Scraper]]:
    """Run the program on vendors that have all been asked, and scrape it all the time."""
    port, file = free_port(), folder / "exporter.yaml"
    settings = settings_of(folder, vendors)
    file.write_text(yaml.safe_dump(settings), "utf-8")
    with program("run", "--config", str(file), "--listen", f"127.0.0.1:{port}") as process:
        wait_for(lambda: all(polls(service) for service in vendors.services.values()), 120)
        scraper = Scraper(port)
        with scraper.scraping():
            yield Operator(process, port, file, settings), scraper
        code, _, output = end(process, signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in output


def test_no_scrape_and_no_poll_is_lost_and_unchanged_targets_go_on(tmp_path: Path) -> None:
    with ServedVendors(VENDORS, Traffic(3, per_hour=150)) as vendors:
        services = vendors.services
        with scraped(tmp_path, vendors) as (operator, scraper):
            for number in range(RELOADS):
                operator.reload(number)
                polled = len(polls(services["flowxo"])) + 2
                wait_for(partial(lambda most: len(polls(services["flowxo"])) >= most, polled), 60)

    assert scraper.failed == []
    assert scraper.fallen == []
    assert scraper.scrapes > 50
    assert sum(scraper.highest[key] for key in scraper.highest if key[0] in FED) > 0
    for target, query in QUERIES.items():
        asked = slots(services[target], target, query)
        assert len(asked) >= 2 * RELOADS - 1
        assert asked == list(range(asked[0], asked[-1] + 1)), target
    assert len(polls(services["xenioo"])) == 1
