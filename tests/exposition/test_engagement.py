"""Engagement on the page: what a commit, the clock, a gap and a removed query change."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition.engagement import EngagementGauges
from exporter.exposition.page import MetricsPage
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS, HOLIDAY
from exporter.model.samples import DAY_MS, HOUR_MS, floor_to
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, inline

FAMILIES = {family.name: family for family in (*ENGAGEMENT, HISTORY_WEEKS, HOLIDAY)}
WINDOWS = {"1h", "3h", "6h", "12h", "24h", "48h"}
SETTLED_MS = floor_to(START_MS, HOUR_MS) - HOUR_MS  # an hour to settle

Hours = dict[int, float]


class Shop:
    """A ledger of one query, and the page that shows the engagement of its bots."""

    def __init__(self, folder: Path, **traits: Any) -> None:
        self.driver = LedgerDriver(folder, spec(**traits))
        self.page = MetricsPage(FAMILIES)
        self.gauges = EngagementGauges(
            ledger=self.driver.ledger, page=self.page, clock=self.driver.clock, offload=inline
        )
        self.gauges.restart({each.key: each for each in self.driver.specs})

    def shown(self, name: str = "chatbot_engagement") -> dict[str, float]:
        """Return the values by window of what a scrape sees now."""
        self.gauges.tick()
        asyncio.run(self.gauges.work())
        text = b"".join(self.page.scrape(openmetrics=False, gzip=False)).decode()
        return {
            sample.labels.get("window", ""): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }

    def poll(self, hours: Hours, **reading: Any) -> None:
        self.driver.poll(hours, **reading)
        self.gauges.note(self.driver.spec.key)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    made: list[Shop] = []

    def started(**traits: Any) -> Shop:
        made.append(Shop(tmp_path, **traits))
        return made[-1]

    yield started
    for each in made:
        each.driver.close()


def steady(days: float, until_ms: int = START_MS) -> Hours:
    """Return 100 messages each hour, the open one too."""
    return dict.fromkeys(
        range(floor_to(until_ms - round(days * DAY_MS), HOUR_MS), until_ms, HOUR_MS), 100.0
    )


def test_a_bot_is_judged_as_soon_as_its_past_has_been_read(shop: Callable[..., Shop]) -> None:
    bot = shop(lookback_ms=14 * DAY_MS)

    bot.poll(steady(14))

    assert bot.shown() == {window: 100 * int(window[:-1]) for window in WINDOWS}
    assert bot.shown("chatbot_engagement_expected") == pytest.approx(bot.shown(), rel=0.01)
    assert set(bot.shown("chatbot_engagement_deviation")) == WINDOWS
    assert bot.shown("chatbot_engagement_score") == pytest.approx(
        dict.fromkeys(WINDOWS, 0), abs=0.2
    )
    assert bot.shown("chatbot_engagement_history_weeks") == {"": pytest.approx(2, abs=0.02)}
