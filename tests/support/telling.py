"""A settings file and the ledger of an exporter that runs on it, with a past worth explaining."""

import itertools
from pathlib import Path

from exporter.cli.explain import specs_of
from exporter.cli.settings import load_settings
from exporter.exposition import catalogue
from exporter.exposition.page import MetricsPage
from exporter.ledger.store import Ledger
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Window, floor_to
from exporter.providers import PROVIDERS
from tests.support.virtual import START_MS, VirtualClock

FILE = """\
version: 1
ledger: {url: sqlite:///ledger.db}
defaults: {start: zero, write_off_after: 6h}
targets:
  - {name: shop, provider: flowxo, project: shop, api_key: {env: FLOWXO_API_KEY}}
  - {name: promo, provider: flowxo, project: promo, api_key: {env: FLOWXO_API_KEY}}
"""
HOURS = {hour: floor_to(START_MS, HOUR_MS) + (hour - 11) * HOUR_MS for hour in range(24)}
"""The starts of hours of the day on which virtual time begins, at 11:20."""


class ExplainedLedger:
    """The ledger of a running exporter; it stays open, as that exporter would hold it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "exporter.yaml"
        self.file.write_text(FILE)
        self.settings = load_settings(str(self.file))
        self.specs = specs_of(self.settings)
        self.families = catalogue.families(PROVIDERS)
        self.clock = VirtualClock()
        self.ledger = Ledger(self.settings.ledger.url, clock=self.clock, families=self.families)
        self.ledger.sync_queries(list(self.specs.values()))
        self._polls = itertools.count()

    def close(self) -> None:
        self.ledger.close()

    def poll(self, target: str, hours: dict[int, int], *, users: int | None = None) -> None:
        """Let the provider say so many received messages of each hour of the day."""
        now_ms = self.clock.now_ms()
        series = ("chatbot_messages_received_total", (target, "", ""))
        window = Window(max(HOURS[0], now_ms - 2 * DAY_MS), floor_to(now_ms, HOUR_MS) + HOUR_MS)
        level = ("chatbot_known_users", (target, ""))
        levels = () if users is None else (GaugeRow(level, window, users),)
        counts = [(series, HOURS[hour], value) for hour, value in hours.items()]
        claim = self.ledger.claim()
        while claim is not None and claim.target != target:
            self.ledger.hold(claim, next_poll_ms=now_ms + 1)
            claim = self.ledger.claim()
        assert claim is not None
        self.ledger.apply(
            claim,
            Reading(window, counts=counts, levels=levels),
            started_ms=now_ms,
        )
        self.ledger.succeed(claim, next_poll_ms=now_ms)

    def pass_by(self, minutes: int) -> None:
        """Let time pass."""
        self.clock.step(minutes * 60_000)

    def confirm_zero_scraped(self) -> None:
        """Let a scrape have carried every zero."""
        for key in self.specs:
            self.ledger.confirm_zero_scraped(
                [number for number, _ in self.ledger.view(key).pending]
            )

    def metrics(self) -> str:
        """Return what ``/metrics`` shows of the data."""
        board = MetricsPage(self.families)
        for key in self.specs:
            board.put(key, self.ledger.view(key).shown)
        board.publish()
        return b"".join(board.scrape(openmetrics=False, gzip=False)).decode()
