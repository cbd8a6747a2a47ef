"""A vendor's query polled into a ledger in virtual time, and what scrapes saw of its counters."""

import io
import re
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from exporter.exposition import catalogue
from exporter.exposition.backfill import openmetrics
from exporter.exposition.backfill.source import LedgerPast, PastKind
from exporter.format import number, render_labels
from exporter.ledger import maintenance
from exporter.ledger.rows import Claim
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, RETENTION_MS, Reading, Window
from exporter.providers import PROVIDERS
from exporter.providers.base.declared import DeclaredQuery
from exporter.simulator import SIMULATORS
from exporter.simulator.traffic import Traffic
from tests.faults.bench import case_of
from tests.providers.vendor import build_target, read
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, VirtualClock

VENDOR = "flowxo"
URL = "http://127.0.0.1:40000"
MINUTE_MS = 60_000
DAYS = 1
END_MS = START_MS // HOUR_MS * HOUR_MS + 6 * HOUR_MS
"""When every scene is scraped for the last time."""
FAMILIES = catalogue.families(PROVIDERS)
Key = tuple[tuple[str, str], ...]
Points = dict[Key, dict[int, float]]
COUNTED = case_of(VENDOR).counts


@dataclass
class Scene:
    """Flow XO's hours: a day of history and some hours live, from a seed.

    ``start`` is the setting. The first poll is some minutes into an hour, and ``earlier_ms`` before
    that of other scenes; each later one is scraped.
    """

    folder: Path
    seed: int
    start: str = "zero"
    late_share: float = 0.1
    earlier_ms: int = 0
    document: dict[str, Any] = field(init=False)
    scraped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock(
            START_MS + self.seed % 59 * MINUTE_MS + self.seed - self.earlier_ms
        )
        self.traffic = Traffic(self.seed, per_hour=2, late_share=self.late_share)
        self.service = SIMULATORS[VENDOR](self.clock, self.traffic)
        own = {"initial_lookback": f"{DAYS}d", "lookback": "4h", "start": self.start}
        target: dict[str, Any] = {"name": "promo", "provider": VENDOR, "requests_per_second": 0}
        target |= self.service.target(URL) | own
        ledger = {"url": f"sqlite:///{self.folder}/ledger.db"}
        self.document = {"version": 1, "allow_inline_secrets": True, "ledger": ledger}
        self.document["targets"] = [target]
        self.target = build_target(**target)
        self.query = self.target.queries[0]
        self.driver = LedgerDriver(
            self.folder, self.query.spec, clock=self.clock, families=FAMILIES
        )

    def transport(self) -> httpx.ASGITransport:
        """Return a way to the vendor."""
        return httpx.ASGITransport(self.service)

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that a server adds to what it scrapes here."""
        return {"job": "chatbot-exporter", "instance": f"{self.start}-{self.seed}"}

    def live(self, polls: int = 3) -> None:
        """Poll, read all of the past, and poll on until ``END_MS``."""
        self.begin()
        while self.read_slice():
            pass
        self.scrape()
        for left in range(polls, 0, -1):
            self.clock.step((END_MS - self.clock.now_ms()) // left)
            self.poll()
            self.scrape()

    def begin(self) -> None:
        """Poll for the first time."""
        self.first_ms = self.clock.now_ms()
        self.poll()

    def read_slice(self) -> bool:
        """Read some of the past; say whether there was any left."""
        claim = self.driver.ledger.claim_slice()
        if claim is not None:
            for reading in self._read(claim):
                self.driver.apply(claim, reading, of_past=True)
            self.driver.ledger.end_slice(claim)
        return claim is not None

    def poll(self) -> None:
        """Read what the vendor has, as of now."""
        claim = self.driver.claim()
        self.read_ms = self.clock.now_ms()
        for reading in self._read(claim):
            self.driver.apply(claim, reading)
        self.driver.end(claim)

    def scrape(self) -> None:
        """Write down what counters and period gauges show, with the instant."""
        for each in self.driver.view().shown:
            family = FAMILIES[each.family]
            names = (*family.labels, *self.labels)
            labels = render_labels(names, (*each.labels, *self.labels.values()))
            at_s = self.clock.now_ms() / 1000
            self.scraped.append(f"{each.family}{labels} {number(each.value)} {at_s:.3f}\n")
        self.driver.confirm_zero_scraped()

    def _read(self, claim: Claim) -> list[Reading]:
        request = PollRequest(
            window=self.driver.window(claim),
            now_ms=self.clock.now_ms(),
            first=claim.epoch_ms is None,
            memo=claim.memo,
        )
        return read(self.target, self.query, self.transport(), request, self.clock)

    def rebase(self, **changes: Any) -> None:
        """Poll and read the past under settings that mean something else, an hour later."""
        assert isinstance(self.query, DeclaredQuery)
        meaning = {**self.query.spec.meaning, "at": self.clock.now_ms()}
        spec = replace(self.query.spec, meaning=meaning, **changes)
        self.query = replace(self.query, spec=spec)
        self.driver.sync(spec)
        self.clock.step(HOUR_MS)
        self.poll()
        while self.read_slice():
            pass

    def retire(self, hours: int) -> None:
        """Let the oldest hours grow so old that the ledger keeps only their sum."""
        now_ms = self.floor_ms + RETENTION_MS + hours * HOUR_MS
        with self.driver.transaction() as tx:
            assert maintenance.retire(tx, self.query.spec, now_ms)

    def opened(self) -> LedgerPast:
        """Return the past as backfill reads it, beside the open ledger."""
        specs = {self.query.spec.key: self.query.spec}
        return LedgerPast(self.driver.url, FAMILIES, specs, self.labels)

    def backfilled(self, kinds: Collection[PastKind] = tuple(PastKind), **changes: Any) -> str:
        """Return the file that backfill writes."""
        past = self.opened()
        text = self.written(past, kinds, **changes)
        past.close()
        return text

    def written(
        self, past: LedgerPast, kinds: Collection[PastKind] = tuple(PastKind), **changes: Any
    ) -> str:
        """Return the file that backfill writes of ``past``."""
        file = io.StringIO()
        given: dict[str, Any] = {"step_ms": 4 * MINUTE_MS, "within": Window(0, END_MS)} | changes
        openmetrics.write(past.families(kinds), put=file.write, advance=lambda _: None, **given)
        return file.getvalue()

    @property
    def floor_ms(self) -> int:
        """Return the start of the oldest hour that is read."""
        return (self.first_ms - DAYS * DAY_MS) // HOUR_MS * HOUR_MS

    def happened(self, family: str, from_ms: int) -> list[int]:
        """Return when what happened at the vendor that the last read was shown."""
        happening, attributes = COUNTED[family]
        window = (from_ms, self.read_ms + 1)
        records = self.traffic.records(happening, window, self.read_ms, **attributes)
        return [each.at_ms for each in records]

    def close(self) -> None:
        self.driver.close()


def samples(text: str) -> Iterator[str]:
    """Yield the lines of a file that are samples."""
    return (f"{line}\n" for line in text.splitlines() if not line.startswith("#"))


def points_of(text: str) -> Points:
    """Return every sample of a file, by series and instant."""
    found: Points = {}
    for line in samples(text):
        series, value, at_s = line.rsplit(" ", 2)
        name, _, labels = series.partition("{")
        key = tuple(sorted([("__name__", name), *re.findall(r'(\w+)="([^"]*)"', labels)]))
        found.setdefault(key, {})[round(float(at_s) * 1000)] = float(value)
    return found


@contextmanager
def lived(folder: Path, seed: int, start: str = "zero") -> Iterator[Scene]:
    """Yield a scene whose exporter has polled, and close it."""
    with closing(Scene(folder, seed, start)) as made:
        made.live()
        yield made
