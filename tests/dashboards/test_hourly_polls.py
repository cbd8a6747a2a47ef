"""A vendor that may be asked once an hour (Xenioo): what its ledger shows, judged by the rules."""

from pathlib import Path

import pytest

from dashboards.source.thresholds import Thresholds
from exporter.ledger.store import Ledger
from exporter.model.families import NORMALISED
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, Reading, Window, ceil_to
from tests.dashboards.courses import DAYS, FRIDAY_TEN, HOURS, Course, times, usual
from tests.dashboards.guards import CASE, Bench
from tests.dashboards.replay.feed import RECEIVED, START_MS
from tests.support.virtual import VirtualClock

pytestmark = pytest.mark.slow

STEP_S = 1800
STEPS = DAYS * 24 * 3600 // STEP_S
BETWEEN_MS = 65 * 60_000  # an hour, and the budget's margin
EACH_DAY = 22  # polls, after which one is spent on the day's figures
ALERTS = ("ChatbotEngagementDropSudden", "ChatbotEngagementDropFast")
SPEC = QuerySpec(
    target="shop",
    provider="xenioo",
    name="statistics",
    meaning={"v": 1},
    interval_ms=HOUR_MS,
    lookback_ms=6 * HOUR_MS,
)


def polled_hourly(folder: Path, course: Course) -> list[float | None]:
    """Return what a scrape every half hour has of a bot whose hours follow ``course``."""
    clock = VirtualClock(START_MS)
    ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=clock, families=NORMALISED)
    ledger.sync_queries([SPEC])
    shown: list[float | None] = []
    number = 0
    for step in range(STEPS):
        clock.step(START_MS + step * STEP_S * 1000 - clock.now_ms())
        while START_MS + number * BETWEEN_MS <= clock.now_ms():
            if number % EACH_DAY:
                _poll(ledger, clock.now_ms(), course)
            number += 1
        values = [
            sample.value
            for sample in ledger.view(SPEC.key).shown
            if sample.family == "chatbot_period_messages_received" and sample.labels[-1] == "hour"
        ]
        shown.append(values[0] if values else None)
    ledger.close()
    return shown


def _poll(ledger: Ledger, now_ms: int, course: Course) -> None:
    claim = ledger.claim()
    assert claim is not None
    window = Window(max(START_MS, now_ms - SPEC.lookback_ms), ceil_to(now_ms + 1, HOUR_MS))
    first = -(-(window.start_ms - START_MS) // HOUR_MS)
    window = Window(START_MS + first * HOUR_MS, window.end_ms)
    rows = [
        ((RECEIVED, ("bot", "", "")), START_MS + hour * HOUR_MS, float(course(hour) or 0))
        for hour in range(first, (now_ms - START_MS) // HOUR_MS)
    ]
    reading = Reading(window=window, counts=rows)
    applied = ledger.apply(claim, reading, started_ms=now_ms)
    finish = ledger.hold if applied.held else ledger.succeed
    finish(claim, next_poll_ms=now_ms + 1)


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """Return the second at which each alert fired first, all in one replay."""
    folder = tmp_path_factory.mktemp("hourly")
    labels = f'provider="xenioo",target="{CASE}",project="bot",bot_environment="",channel=""'
    shown = polled_hourly(folder, times(usual(100), 0.3, FRIDAY_TEN))
    series = {f'chatbot_period_messages_received{{{labels},period="hour"}}': shown}
    probes = [hour * 3600 for hour in range(28 * 24, HOURS)]
    return Bench(Thresholds(interval_s=STEP_S), probes, {"shop": series}, {}).fired(folder, ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_drop_fires_within_seven_hours_and_nothing_before_it(
    fired: dict[tuple[str, str], int], alert: str
) -> None:
    assert 2 <= fired[alert, "shop"] // 3600 - FRIDAY_TEN <= 7
