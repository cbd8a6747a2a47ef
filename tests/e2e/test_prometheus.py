"""A real Prometheus scrapes the exporter, and counts exactly what happened at the vendors.

So it does when an older ledger is put back, and it reads a page of many blocks whole.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from exporter.app import App, Environment
from exporter.cli import main
from exporter.cli.demo import BUDGET_PERIOD_MS, ZERO_HOLD_MS, demo_settings, demo_text, hurried
from exporter.clock import SystemClock
from exporter.config.model import Settings
from exporter.exposition.page import MetricsPage
from exporter.ledger.offload import WorkerThread
from exporter.ledger.rows import Shown
from exporter.model.families import NORMALISED
from exporter.providers import BUILT_IN, PROVIDERS
from exporter.simulator import SIMULATORS, xenioo
from exporter.simulator.conversations import Kind as Happening
from exporter.simulator.traffic import Traffic
from exporter.web import app as web
from exporter.web import server
from tests.dashboards.live import started
from tests.dashboards.promtool import BUILDS, Build, needed
from tests.e2e.processes import free_port, pause, wait_for
from tests.faults.bench import Vendor, case_of, happened
from tests.support.served import ServedVendors
from tests.web import served as web_served

PER_HOUR = 40
LIVE_S = 10
HOUR_MS = 3_600_000
LONGEST_READ_S = 5
RECEIVED, KNOWN = "chatbot_messages_received_total", "chatbot_known_users"
TARGETS, CHANNELS = 400, 25
FEWER: Mapping[str, Mapping[str, Any]] = {
    "chatlayer": {
        "collectors": ["events", "conversations", "messages", "knowledge_base"],
        "stream": {"safety_lag": "1s"},
    },
    "inkeep": {"queries": ["events", "conversations", "feedback", "escalations"]},
}
"""The queries that feed counters, where others are slow to make up."""

SCRIPTED = (
    Happening.CONVERSATION_STARTED,
    Happening.MESSAGE_RECEIVED,
    Happening.INTERACTION,
    Happening.KB_HIT,
    Happening.HANDOVER,
)
"""What happens everywhere each second, so that no quiet hour of the night leaves a test without."""
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - {{job_name: exporter, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
"""


class Prometheus:
    """A server that scrapes one exporter every second."""

    def __init__(self, client: httpx.Client) -> None:
        self.url = str(client.base_url)
        self._client = client

    def ask(self, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return an instant vector by labels, scrape labels left out."""
        found = self._found(query)
        return {_labels(one["metric"]): float(one["value"][1]) for one in found}

    def fallen(self) -> list[str]:
        """Return the counters of ours that Prometheus saw reset; fail where it has none."""
        found = self.ask('count by (__name__) ({__name__=~"chatbot_.*_total"})')
        names = [dict(labels)["__name__"] for labels in found]
        assert names
        return [name for name in names if self.ask(f"resets({name}[10m]) > 0")]

    def series(self, selector: str, back: str = "10m") -> list[list[float]]:
        """Return the samples of each series, oldest first, as far ``back`` as is given."""
        found = self._found(f"{selector}[{back}]")
        return [[float(value) for _, value in one["values"]] for one in found]

    def _found(self, query: str) -> list[dict[str, Any]]:
        answer = self._client.get("/api/v1/query", params={"query": query})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found


def _labels(metric: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    own = {"job", "instance"}
    return tuple(sorted((name, value) for name, value in metric.items() if name not in own))


@contextlib.contextmanager
def prometheus(folder: Path, exporter: int, build: Build = "installed") -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes ``exporter`` every second."""
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(port=exporter), "utf-8")
    command = [
        needed("prometheus", build),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
    ]
    with started(command) as client:
        yield Prometheus(client)


@contextlib.contextmanager
def vendors() -> Iterator[tuple[ServedVendors, Vendor]]:
    """Serve all simulators; yield them and their clock, which stands still.

    Chatlayer has scripted traffic alone, so that none of its events is stamped before the first
    poll, where an event list begins to count.
    """
    clock, scripted = Vendor(SystemClock()), Traffic()
    builders = SIMULATORS | {
        "xenioo": partial(xenioo.build, period_ms=BUDGET_PERIOD_MS),
        "chatlayer": lambda clock, _generated: SIMULATORS["chatlayer"](clock, scripted),
    }
    now_ms = clock.hold()
    served = ServedVendors(builders, Traffic(3, per_hour=PER_HOUR), clock, builders)
    for back in (1, 2):  # the newest settled hour, should another end meanwhile, too
        at_ms = (now_ms // HOUR_MS - back) * HOUR_MS + HOUR_MS // 2
        for traffic in (served.traffic, scripted):
            for kind in (Happening.MESSAGE_RECEIVED, Happening.INTERACTION):
                traffic.add(kind, at_ms, count=5, interaction_type="live")
    # Where its time stands still, an hour between two calls would never pass.
    served.services["xenioo"].faults.on("unthrottled")
    with served:
        yield served, clock


def live(served: ServedVendors, clock: Vendor, seconds: int) -> int:
    """Let the vendors' time go on, with something everywhere each second; return its end."""
    clock.release()
    for number in range(seconds):
        context = {"user": f"user-{number}", "environment": "staging" if number % 3 else "main"}
        for name in ("chatlayer", "flowxo"):  # which shares its traffic with the others
            for kind in SCRIPTED:
                add = partial(served.services[name].traffic.add, kind, clock.now_ms())
                served.ask(partial(add, channel="web", **context))
        pause(1)
    return clock.hold()


@contextlib.contextmanager
def exporter_on(served: ServedVendors, folder: Path, port: int = 0) -> Iterator[int]:
    """Run the demo's exporter on ``served``; yield its port."""
    environment = Environment(
        clock=SystemClock(),
        rng=random.SystemRandom(),
        providers=hurried(PROVIDERS),
        offload=WorkerThread("ledger"),
    )
    app = App(settings_of(served, folder), environment)
    started: Future[tuple[asyncio.AbstractEventLoop, str]] = Future()

    async def main() -> None:
        async with app.opened():
            running = server.start(f"127.0.0.1:{port}", web.build(app.sources))
            started.set_result((asyncio.get_running_loop(), running.address))
            await app.run()
            await asyncio.to_thread(running.stop, 2.0)

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(asyncio.run, main())
        loop, address = started.result(60)
        try:
            yield int(address.rpartition(":")[2])
        finally:
            loop.call_soon_threadsafe(app.stop)
            ended.result(60)


def settings_of(served: ServedVendors, folder: Path) -> Settings:
    """Return the demo's settings for ``served``."""
    targets = {
        name: {
            **served.target(name),
            "lookback": "4h",
            "initial_lookback": 0,
            **FEWER.get(name, {}),
        }
        for name in served.services
    }
    file, text = folder / "exporter.yaml", demo_text(targets)
    file.write_text(text, "utf-8")
    return demo_settings(text, file)


def test_last_minus_first_sample_is_what_happened_at_the_vendor(tmp_path: Path) -> None:
    with (
        vendors() as (served, clock),
        exporter_on(served, tmp_path) as port,
        prometheus(tmp_path, port) as scraper,
    ):
        from_ms = clock.now_ms()
        wait_for(lambda: all_up(scraper), 90, every=0.5)
        to_ms = live(served, clock, LIVE_S)
        # What is being read may have been asked before that; what is new shows 0 first.
        read_s = to_ms / 1000 + LONGEST_READ_S
        wait_for(lambda: all_read(scraper, read_s), 90, every=0.5)
        pause(2 * ZERO_HOLD_MS / 1000)
        for name, service in served.services.items():
            counted_exactly(scraper, service.traffic, name, from_ms, to_ms)
        compared_across_providers(scraper)
        assert scraper.fallen() == []


def compared_across_providers(scraper: Prometheus) -> None:
    """One query finds the messages of every provider that counts any; one, everyone's engagement."""
    rates = scraper.ask(f"sum by (provider) (rate({RECEIVED}[2m]))")
    kinds = "chatbot_period_(messages_received|interactions)"
    hours = scraper.ask(f'sum by (provider) ({{__name__=~"{kinds}",period="hour"}})')

    counting = {name for name, kind in BUILT_IN.items() if RECEIVED in kind.feeds}
    assert {dict(labels)["provider"] for labels in rates} == counting
    assert {dict(labels)["provider"] for labels in hours} == set(BUILT_IN)
    assert len(counting) == len(BUILT_IN) - 1  # Voiceflow counts interactions
    assert all(value > 0 for value in (*rates.values(), *hours.values()))


def all_up(scraper: Prometheus) -> bool:
    up = scraper.ask("chatbot_exporter_target_up")
    waiting = scraper.ask("chatbot_exporter_next_poll_timestamp_seconds")
    return bool(up) and len(up) == len(waiting) and set(up.values()) == {1.0}


def all_read(scraper: Prometheus, since_s: float) -> bool:
    read = scraper.ask("chatbot_exporter_last_success_timestamp_seconds")
    return bool(read) and all(value > since_s for value in read.values())


def counted_exactly(
    scraper: Prometheus, traffic: Traffic, name: str, from_ms: int, to_ms: int
) -> None:
    total = 0
    for family in case_of(name).counts:
        truth = happened(traffic, name, family, from_ms, to_ms)
        samples = scraper.series(f'{family}{{provider="{name}"}}')
        assert sum(series[-1] - series[0] for series in samples) == truth, (name, family)
        assert all(series == sorted(series) for series in samples), (name, family)
        total += truth
    assert total > 0, name


def restore(folder: Path, url: str) -> Result:
    """Raise the counters of the ledger in ``folder``."""
    given = ["--config", str(folder / "exporter.yaml"), "--floor-from", url]
    return CliRunner().invoke(main, ["ledger", "restore", *given])


def test_increase_over_a_restore_is_what_happened_at_the_vendor(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "demo.db"
    with vendors() as (served, clock), prometheus(tmp_path, port) as scraper:

        def lived(seconds: int) -> int:
            """Return when the last of what happened meanwhile did, once it was scraped."""
            to_ms = live(served, clock, seconds)
            wait_for(lambda: all_read(scraper, to_ms / 1000 + LONGEST_READ_S), 90, every=0.5)
            pause(2 * ZERO_HOLD_MS / 1000)
            return to_ms

        with exporter_on(served, tmp_path, port):
            from_ms = clock.now_ms()
            wait_for(lambda: all_up(scraper), 90, every=0.5)
            lived(3)
            with (
                contextlib.closing(sqlite3.connect(file)) as now,
                contextlib.closing(sqlite3.connect(tmp_path / "old")) as old,
            ):
                now.backup(old)
            lived(5)
        for name in ("demo.db-wal", "demo.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "old").replace(file)
        restored = restore(tmp_path, scraper.url)
        assert restored.exit_code == 0, restored.output
        with exporter_on(served, tmp_path, port):
            wait_for(lambda: all_up(scraper), 90, every=0.5)
            to_ms = lived(3)
            # The exporter's own may restart at 0 with the process.
            fallen = [name for name in scraper.fallen() if "_exporter_" not in name]
            assert fallen == []
            for name, service in served.services.items():
                counted_exactly(scraper, service.traffic, name, from_ms, to_ms)


def _values(target: int, step: int) -> list[Shown]:
    name = f"shop-{target}"
    counted = [
        Shown(RECEIVED, ("flowxo", name, "p", "main", f'c{at} "%\\é'), target + at + step, 1_000)
        for at in range(CHANNELS)
    ]
    return [*counted, Shown(KNOWN, ("flowxo", name, "p", "main"), target + 0.5)]


@pytest.mark.parametrize("build", BUILDS)
def test_prometheus_ingests_every_sample_of_a_page_of_many_blocks(
    tmp_path: Path, build: Build
) -> None:
    needed("prometheus", build)
    board = MetricsPage(NORMALISED)
    for target in range(TARGETS):
        board.put((f"shop-{target}", "hourly"), _values(target, 0))
    board.publish()
    running = server.start("127.0.0.1:0", web.build(web_served.sources(exposition=board)))
    lines = b"".join(board.scrape(openmetrics=True, gzip=False)).splitlines()
    samples = [line for line in lines if not line.startswith(b"#")]
    total = sum(target + at for target in range(TARGETS) for at in range(CHANNELS))

    port = int(running.address.rpartition(":")[2])

    with prometheus(tmp_path, port, build) as scraper:
        wait_for(lambda: scraper.ask("up") != {}, 60)
        first = scraper.ask("scrape_samples_scraped")
        before = scraper.ask(f"sum({RECEIVED})")
        for target in range(0, TARGETS, 7):
            board.put((f"shop-{target}", "hourly"), _values(target, 1))
        board.publish()
        grown = total + CHANNELS * len(range(0, TARGETS, 7))
        wait_for(lambda: list(scraper.ask(f"sum({RECEIVED})").values()) == [grown], 30)
        levels = scraper.ask(f"sum({KNOWN})")
        up = scraper.ask("min_over_time(up[5m])")
    running.stop(2)

    assert list(first.values()) == [len(samples)] == [TARGETS * (2 * CHANNELS + 1)]
    assert list(before.values()) == [total]
    assert list(levels.values()) == [sum(target + 0.5 for target in range(TARGETS))]
    assert list(up.values()) == [1]
