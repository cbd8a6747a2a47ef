"""The whole exporter on simulators, in process and in virtual time, scraped as Prometheus would."""

import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import yaml

from exporter.app import App
from exporter.clock import Clock
from exporter.config import loads
from exporter.config.model import Settings
from exporter.exposition import catalogue
from exporter.model.families import NORMALISED
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import LabelSettings, Provider
from exporter.simulator import VENDORS
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic
from tests.providers.compliance import Case, Compliance
from tests.providers.manifest.cases import CASES
from tests.support.running import exporter
from tests.support.virtual import VirtualClock

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]

SCRAPE_EVERY_S = 15
PREFIX = "chatbot_exporter_"
LOOKBACK_MS = 4 * 3_600_000


def case_of(kind: str) -> Case:
    """Return what the compliance suite says is special about a provider, or a shipped manifest."""
    if kind in CASES:
        return CASES[kind]
    module = importlib.import_module(f"tests.providers.{kind}.test_compliance")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Compliance) and value is not Compliance
    ]
    return found[0].case


def happened(
    traffic: Traffic,
    name: str,
    family: str,
    from_ms: int,
    to_ms: int,
    *,
    epoch_ms: int | None = None,
) -> int:
    """Return what a family of provider ``name`` must have counted between two instants.

    That is what became visible in between; of an event list, what is stamped since ``epoch_ms``
    (``from_ms``) and visible at ``to_ms``.
    """
    case = case_of(name)
    happening, attributes = case.counts[family]
    if family in case.streamed:
        since_ms = from_ms if epoch_ms is None else epoch_ms
        return traffic.truth(happening, (since_ms, to_ms + 1), to_ms, **attributes)
    window = (from_ms - LOOKBACK_MS, to_ms + 1)
    then, now = (traffic.truth(happening, window, at, **attributes) for at in (from_ms, to_ms))
    return now - then


@lru_cache(maxsize=10_000)
def _key(text: str) -> tuple[str, Labels]:
    name, _, rest = text.partition("{")
    return name, tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest)))


class Vendor:
    """The clock of a simulator: right, also when the exporter's own wall clock is set.

    It can be held: the vendor then learns of nothing new.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._zero_ms = clock.now_ms() - 1000 * clock.monotonic()
        self.held_ms: int | None = None

    def now_ms(self) -> int:
        passed_ms = round(self._zero_ms + 1000 * self._clock.monotonic())
        return passed_ms if self.held_ms is None else self.held_ms

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def hold(self) -> int:
        """Let the vendor's time stand still; return at what instant."""
        self.held_ms = self.now_ms()
        return self.held_ms

    def release(self) -> None:
        """Let the vendor's time go on."""
        self.held_ms = None


class Network(httpx.AsyncBaseTransport):
    """Leads to each simulator by its port, and keeps httpx's deadline for reading."""

    def __init__(self, services: Mapping[int, Service]) -> None:
        self._ways = {port: httpx.ASGITransport(service) for port, service in services.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(request.extensions["timeout"]["read"]):
                return await self._ways[request.url.port or 0].handle_async_request(request)
        except TimeoutError:
            raise httpx.ReadTimeout("no answer", request=request) from None


@dataclass
class Bench:
    """Targets on simulators of their own kind, and an exporter that can be started again.

    ``settings`` are added to every target, ``kinds`` is the registry. It is scraped every
    ``scrape_s``; ``scraped`` is the latest scrape, ``falls`` names every counter that a scrape ever
    saw fall.
    """

    folder: Path
    names: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=lambda: Traffic(7, per_hour=60))
    scrape_s: float = SCRAPE_EVERY_S
    kinds: Mapping[str, Provider] = field(default_factory=lambda: PROVIDERS)
    clock: VirtualClock = field(default_factory=VirtualClock.running)
    scraped: Samples = field(default_factory=dict)
    falls: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.vendor = Vendor(self.clock)
        self.services = {name: VENDORS[name](self.vendor, self.traffic) for name in self.names}
        self.ports = {name: number for number, name in enumerate(self.names, start=1)}

    @property
    def service(self) -> Service:
        """Return the only simulator."""
        (service,) = self.services.values()
        return service

    @property
    def app(self) -> App:
        """Return the exporter that runs."""
        return self._app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the exporter, and scrape it, until the block is left."""
        services = {self.ports[name]: service for name, service in self.services.items()}
        network = Network(services)
        async with exporter(self._read_settings(), self.clock, network, self.kinds) as self._app:
            self.scrape()
            scraping = asyncio.create_task(self._scrape_on())
            yield
            scraping.cancel()

    def _read_settings(self) -> Settings:
        document = {
            "version": 1,
            "allow_inline_secrets": True,
            "ledger": {"url": f"sqlite:///{self.folder}/ledger.db"},
            "privacy": {"top_messages": "allowlist"},
            "targets": [
                {"name": name, "provider": name, "requests_per_second": 0, "initial_lookback": 0}
                | service.target(f"http://127.0.0.1:{self.ports[name]}")
                | dict(case_of(name).settings)
                | dict(self.settings)
                for name, service in self.services.items()
            ],
        }
        options = {name: kind.options for name, kind in self.kinds.items()}
        text = yaml.safe_dump(document)
        return loads(text, options, {}, file="bench", families=catalogue.capped(self.kinds))

    async def begin(self) -> None:
        """Wait until all is polled, while the vendors' time is held; then let that go on."""
        await self.until(self.all_polled, 60)
        self.vendor.release()

    async def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass, and scrape at their end."""
        await self.clock.sleep(seconds)
        self.scrape()

    async def until(self, happened: Callable[[], bool], within_s: float) -> None:
        """Wait, scrape by scrape, until ``happened()``; fail if it has not in ``within_s``."""
        end = self.clock.monotonic() + within_s
        while not happened():
            assert self.clock.monotonic() < end, f"not within {within_s} s"
            await self.wait(self.scrape_s)

    def page(self, *, openmetrics: bool = False) -> str:
        """Return what a scrape shows."""
        return b"".join(self._app.page.scrape(openmetrics=openmetrics, gzip=False)).decode()

    def scrape(self) -> Samples:
        """Scrape, and compare with the scrape before."""
        found: Samples = {}
        for line in self.page().splitlines():
            if not line.startswith("#"):
                text, _, figure = line.rpartition(" ")
                found[_key(text)] = float(figure)
        for key, value in found.items():
            if key[0].endswith("_total") and value < self.scraped.get(key, 0.0):
                self.falls.add(f"{key}: {self.scraped[key]} -> {value}")
        self.scraped = found
        return found

    async def _scrape_on(self) -> None:
        while True:
            await self.wait(self.scrape_s)

    def counters(self) -> Samples:
        """Return every counter that is fed from vendors."""
        return {
            key: value
            for key, value in self.scraped.items()
            if key[0].startswith("chatbot_") and key[0].endswith("_total") and PREFIX not in key[0]
        }

    def sum_of(self, name: str, **labels: str) -> float:
        """Return the sum of a family's samples that have ``labels``."""
        return sum(self.values(name, **labels))

    def values(self, name: str, **labels: str) -> list[float]:
        """Return a family's samples that have ``labels``; ``exporter_`` needs no prefix."""
        wanted = labels.items()
        return [
            value
            for (found, pairs), value in self.scraped.items()
            if found == name and wanted <= dict(pairs).items()
        ]

    def own(self, name: str, **labels: str) -> float:
        """Return a self metric (without prefix), summed over what ``labels`` leave open."""
        return self.sum_of(PREFIX + name, **labels)

    def queries(self) -> list[str]:
        """Return the names of all queries."""
        pairs = [
            dict(pairs)
            for name, pairs in self.scraped
            if name == PREFIX + "next_poll_timestamp_seconds"
        ]
        return [labels["query"] for labels in pairs]

    def all_polled(self) -> bool:
        """Say whether every query's last poll succeeded."""
        return self.values(PREFIX + "target_up") == [1.0] * len(self.queries())

    def truth(self, name: str, from_ms: int, to_ms: int) -> dict[str, int]:
        """Return by family what became visible at vendor ``name`` between two instants.

        The first poll must have been at ``from_ms``: of an event list counts what is stamped since.
        """
        families = case_of(name).counts.keys() & self.fed(name)
        return {each: happened(self.traffic, name, each, from_ms, to_ms) for each in families}

    def fed(self, name: str) -> set[str]:
        """Return the families that the queries of target ``name`` say they feed."""
        settings = self._read_settings()
        (options,) = (each for each in settings.targets if each.name == name)
        rules = LabelSettings(limits=settings.limits, privacy=settings.privacy)
        queries = self.kinds[options.provider].build(options, rules).queries
        return {family for query in queries for family in query.spec.fields}

    def counted(self, name: str, families: Iterable[str]) -> dict[str, float]:
        """Return by family what the exporter shows of target ``name``, in whole parts of its unit."""
        parts = {each.name: each.per_unit for each in NORMALISED.values()}
        return {
            family: round(self.sum_of(family, target=name) * parts.get(family, 1), 3)
            for family in families
        }
