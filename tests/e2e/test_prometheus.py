"""A real Prometheus scrapes the demo, and counts exactly what happened at the vendors."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.app import App, Outside, Threaded
from exporter.cli.demo import demo_settings, hurried
from exporter.clock import SystemClock
from exporter.providers import KINDS
from exporter.simulator import SIMULATORS
from exporter.simulator.server import serving
from exporter.simulator.traffic import Traffic
from exporter.web import app as web
from exporter.web import server
from tests.e2e.processes import end, free_port, page, program, wait_for
from tests.faults.bench import Vendor, case_of

pytestmark = pytest.mark.slow
EXACT = ("flowxo", "voiceflow")
PER_HOUR = 150
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - {{job_name: exporter, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
"""


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; `make tools` installs them")


class Prometheus:
    """A server that scrapes one exporter every second."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/query"

    def ask(self, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return an instant vector by labels, scrape labels left out; empty before it serves."""
        try:
            answer = httpx.get(self._url, params={"query": query}, timeout=10)
        except httpx.TransportError:
            return {}
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return {}
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return {_labels(one["metric"]): float(one["value"][1]) for one in found}

    def counters(self) -> list[str]:
        """Return the names of all counters of ours."""
        found = self.ask('count by (__name__) ({__name__=~"chatbot_.*_total"})')
        return [dict(labels)["__name__"] for labels in found]

    def growing(self) -> set[str]:
        """Return the providers of which some counter has left 0, where all begin."""
        fed = '{__name__=~"chatbot_.*_total",__name__!~"chatbot_exporter_.*"}'
        return {dict(labels)["provider"] for labels in self.ask(f"count by (provider) ({fed} > 0)")}

    def fallen(self) -> list[str]:
        """Return the counters that Prometheus saw reset; fail where it has none."""
        names = self.counters()
        assert names
        return [name for name in names if self.ask(f"resets({name}[10m]) > 0")]

    def series(self, family: str) -> list[list[float]]:
        """Return the samples of each series of a counter, oldest first."""
        answer = httpx.get(self._url, params={"query": f"{family}[10m]"}, timeout=10)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return [[float(value) for _, value in one["values"]] for one in found]


def _labels(metric: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    own = {"job", "instance"}
    return tuple(sorted((name, value) for name, value in metric.items() if name not in own))


@contextlib.contextmanager
def prometheus(folder: Path, exporter: int) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes ``exporter`` every second."""
    port = free_port()
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(port=exporter), "utf-8")
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(  # noqa: S603 - found on PATH by name, arguments are ours
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Prometheus(port)
        finally:
            process.kill()


def test_every_provider_of_the_demo_grows(tmp_path: Path) -> None:
    port = free_port()
    demo = program("demo", "--listen", f"127.0.0.1:{port}")
    with demo as process, prometheus(tmp_path, port) as scraper:
        wait_for(lambda: page(port) is not None, 120)
        everyone = KINDS.keys() & SIMULATORS.keys()
        wait_for(lambda: scraper.growing() >= everyone, 300, every=1)

        up = scraper.ask("chatbot_exporter_target_up")
        fallen = scraper.fallen()
        shown = page(port) or ""
        code, _, _ = end(process, signal.SIGTERM)

    assert set(up.values()) == {1.0}
    assert {dict(labels)["provider"] for labels in up} == everyone
    assert fallen == []
    assert code == 0
    assert lint(shown) == ""


def lint(text: str) -> str:
    """Return what promtool has against a page."""
    command = ["promtool", "check", "metrics"]
    told = subprocess.run(  # noqa: S603 - found on PATH by name, arguments are ours
        command, input=text, text=True, capture_output=True, check=False
    )
    return told.stdout + told.stderr


@contextlib.asynccontextmanager
async def exporter_on(vendor: Vendor, traffic: Traffic, folder: Path) -> AsyncIterator[int]:
    """Run the demo's parts with the vendors' clock in our hands; yield the port."""
    services = {name: SIMULATORS[name](vendor, traffic) for name in EXACT}
    async with serving(services) as urls:
        settings = demo_settings({n: services[n].target(u) for n, u in urls.items()}, folder)
        outside = Outside(
            clock=SystemClock(), rng=random.SystemRandom(), kinds=hurried(KINDS), offload=Threaded()
        )
        app = App(settings, outside)
        await app.open()
        running = server.start("127.0.0.1:0", web.build(app.sources))
        polling = asyncio.create_task(app.run())
        try:
            yield int(running.address.rpartition(":")[2])
        finally:
            app.stop()
            await polling
            await asyncio.to_thread(running.stop, 2.0)


def test_last_minus_first_sample_is_what_happened_at_the_vendor(tmp_path: Path) -> None:
    clock = SystemClock()
    vendor, traffic = Vendor(clock), Traffic(3, per_hour=PER_HOUR)

    async def main() -> None:
        from_ms = vendor.hold()
        async with exporter_on(vendor, traffic, tmp_path) as port:
            with prometheus(tmp_path, port) as scraper:
                await asyncio.to_thread(wait_for, lambda: all_up(scraper), 90, every=0.5)
                vendor.release()
                await clock.sleep(30)
                to_ms = vendor.hold()
                await clock.sleep(20)
                for name in EXACT:
                    await asyncio.to_thread(counted_exactly, scraper, traffic, name, from_ms, to_ms)
                assert scraper.fallen() == []

    asyncio.run(main())


def all_up(scraper: Prometheus) -> bool:
    up = scraper.ask("chatbot_exporter_target_up")
    waiting = scraper.ask("chatbot_exporter_next_poll_timestamp_seconds")
    return bool(up) and len(up) == len(waiting) and set(up.values()) == {1.0}


def counted_exactly(
    scraper: Prometheus, traffic: Traffic, name: str, from_ms: int, to_ms: int
) -> None:
    window = (from_ms - 4 * 3_600_000, to_ms + 1)
    total = 0
    for family, (happening, attributes) in case_of(name).counts.items():
        truth = traffic.truth(happening, window, to_ms, **attributes)
        truth -= traffic.truth(happening, window, from_ms, **attributes)
        samples = scraper.series(f'{family}{{provider="{name}"}}')
        assert sum(series[-1] - series[0] for series in samples) == truth, family
        assert all(series == sorted(series) for series in samples), family
        total += truth
    assert total > 0
