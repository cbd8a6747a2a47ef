"""Engagement on the page: what a commit, the clock, a gap and a removed query change."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from exporter.errors import LedgerError
from exporter.exposition.page import MetricsPage
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS, HOLIDAY
from exporter.model.samples import DAY_MS, HOUR_MS, Window, floor_to
from tests.support.builders import INTERACTIONS, received, spec
from tests.support.driver import LedgerDriver, engagement_of
from tests.support.virtual import START_MS, VirtualClock

FAMILIES = {family.name: family for family in (*ENGAGEMENT, HISTORY_WEEKS, HOLIDAY)}
WINDOWS = {"1h", "3h", "6h", "12h", "24h", "48h"}
SETTLED_MS = floor_to(START_MS, HOUR_MS) - HOUR_MS  # an hour to settle

Hours = dict[int, float]


class Shop:
    """A ledger of one query, and the page that shows the engagement of its bots."""

    def __init__(self, folder: Path, at_ms: int = START_MS, **traits: Any) -> None:
        traits = {"lookback_ms": 14 * DAY_MS} | traits
        self.driver = LedgerDriver(folder, spec(**traits), clock=VirtualClock(at_ms))
        self.page = MetricsPage(FAMILIES)
        self.gauges = engagement_of(self.driver, self.page)

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


@pytest.fixture
def bot(shop: Callable[..., Shop]) -> Shop:
    """Return a shop whose bot had 100 messages each hour of two weeks."""
    found = shop()
    found.poll(steady(14))
    return found


def steady(days: float, until_ms: int = START_MS) -> Hours:
    """Return 100 messages each hour, the open one too."""
    return dict.fromkeys(
        range(floor_to(until_ms - round(days * DAY_MS), HOUR_MS), until_ms, HOUR_MS), 100.0
    )


def test_a_bot_is_judged_as_soon_as_its_past_has_been_read(bot: Shop) -> None:
    assert bot.shown() == {window: 100 * int(window[:-1]) for window in WINDOWS}
    assert bot.shown("chatbot_engagement_expected") == pytest.approx(bot.shown(), rel=0.01)
    assert set(bot.shown("chatbot_engagement_deviation")) == WINDOWS
    assert bot.shown("chatbot_engagement_score") == pytest.approx(
        dict.fromkeys(WINDOWS, 0), abs=0.2
    )
    assert bot.shown("chatbot_engagement_history_weeks") == {"": pytest.approx(2, abs=0.02)}


def test_what_a_late_poll_brings_is_judged_at_once(bot: Shop) -> None:
    bot.driver.clock.advance(24 * 3600)
    now_ms = bot.driver.clock.now_ms()

    assert bot.shown() == {}
    assert bot.shown("chatbot_engagement_history_weeks") == {"": pytest.approx(2, abs=0.01)}
    bot.poll(steady(15, now_ms) | dict.fromkeys(range(SETTLED_MS, now_ms, HOUR_MS), 10.0))

    assert bot.shown()["24h"] == 240
    assert bot.shown("chatbot_engagement_expected")["24h"] == pytest.approx(2400, rel=0.02)
    assert bot.shown("chatbot_engagement_score")["24h"] < -4


def test_a_clock_that_was_ahead_is_forgotten_once_it_is_corrected(bot: Shop) -> None:
    bot.driver.clock.step(12 * DAY_MS)
    bot.poll(steady(14))
    bot.shown()
    bot.driver.clock.step(-12 * DAY_MS)
    assert bot.driver.ledger.correct_clock()
    bot.driver.clock.advance(3600)

    bot.poll(steady(14, bot.driver.clock.now_ms()))

    assert bot.shown("chatbot_engagement_score") == pytest.approx(
        dict.fromkeys(WINDOWS, 0), abs=0.2
    )


def test_data_is_late_one_period_and_the_grace_after_its_end(bot: Shop) -> None:
    grace_ms = 2 * 300_000 + 120_000 + HOUR_MS  # two polls, a deadline, an hour to settle
    late_s = (SETTLED_MS + HOUR_MS + grace_ms - START_MS) / 1000

    bot.driver.clock.advance(late_s - 1)
    assert set(bot.shown()) == WINDOWS
    bot.driver.clock.advance(1)
    assert bot.shown() == {}


def test_a_revision_of_a_settled_hour_changes_its_windows(bot: Shop) -> None:
    bot.shown()

    bot.poll(steady(14) | {SETTLED_MS - 4 * HOUR_MS: 40.0})

    assert [bot.shown()[window] for window in ("1h", "3h", "6h")] == [100, 300, 540]


def test_a_gap_takes_the_windows_that_it_touches(bot: Shop) -> None:
    gap = Window(SETTLED_MS - 5 * HOUR_MS + 1, SETTLED_MS - 4 * HOUR_MS - 1)

    with bot.driver.transaction() as tx:
        tx.exec_driver_sql(
            "INSERT INTO gap (query_id, from_ms, to_ms, reason) VALUES (1, ?, ?, 'unreadable')",
            (gap.start_ms, gap.end_ms),
        )
    bot.gauges.note(bot.driver.spec.key)

    assert bot.shown() == {"1h": 100, "3h": 300}
    (engagement,) = bot.gauges.bots
    unknown = [hour.start_ms for hour in engagement.last_week() if hour.engagement is None]
    assert unknown == [SETTLED_MS - 5 * HOUR_MS]


@pytest.mark.parametrize("after_h", [1, 2])
def test_two_local_hours_with_one_label_in_autumn_are_no_drop_and_no_rise(
    shop: Callable[..., Shop], after_h: int
) -> None:
    repeated_ms = 1_792_890_000_000  # 2026-10-25T01:00Z, 02:00 in Berlin for the second time
    at_ms = repeated_ms + after_h * HOUR_MS + 60_000
    bot = shop(at_ms=at_ms, timezone="Europe/Berlin", local_hours=True)
    hours = steady(14, repeated_ms + after_h * HOUR_MS)

    bot.poll(hours | {repeated_ms - HOUR_MS: 200.0, repeated_ms: 0.0})

    assert bot.shown()["1h"] == bot.shown()["3h"] / 3 == 100


def test_in_the_first_week_nothing_is_judged(shop: Callable[..., Shop]) -> None:
    bot = shop(lookback_ms=6 * DAY_MS)

    bot.poll(steady(6))

    assert bot.shown() == {}
    assert bot.shown("chatbot_engagement_history_weeks") == {"": pytest.approx(6 / 7, abs=0.01)}
    (engagement,) = bot.gauges.bots
    assert {(h.engagement, h.expected) for h in engagement.last_week()} == {(100.0, None)}


def test_a_removed_target_leaves_nothing(bot: Shop) -> None:
    bot.shown()

    bot.gauges.restart({})

    assert (bot.shown(), bot.gauges.bots) == ({}, [])


def test_messages_are_a_bots_engagement_else_its_interactions(shop: Callable[..., Shop]) -> None:
    bot = shop()
    turns = [
        ((INTERACTIONS, (project, "", kind)), start_ms, 7.0)
        for start_ms in steady(14)
        for project in ("shop", "faq")
        for kind in ("text", "launch")
    ]
    messages = [(received("web"), start_ms, count) for start_ms, count in steady(14).items()]

    bot.poll({}, counts=turns + messages)

    assert bot.shown() != {}
    ends = {bot.labels.project: bot.scores[24].engagement for bot in bot.gauges.bots}
    assert ends == {"shop": 2400, "faq": 2 * 7 * 24}


def test_a_bot_that_another_query_measures_better_is_on_the_page_once(
    shop: Callable[..., Shop],
) -> None:
    bot = shop()
    queries = [bot.driver.spec, spec(name="turns", lookback_ms=14 * DAY_MS)]
    bot.driver.sync(*queries)
    bot.gauges.restart({each.key: each for each in queries})
    bot.driver.poll({}, counts=[((INTERACTIONS, ("shop", "", "")), h, 7.0) for h in steady(14)])
    assert bot.shown()["24h"] == 7 * 24

    bot.driver.poll(steady(14))
    bot.gauges.note(queries[1].key)
    bot.gauges.tick()
    asyncio.run(bot.gauges.work())
    lines = b"".join(bot.page.scrape(openmetrics=False, gzip=False)).splitlines()

    series = [line.rpartition(b" ")[0] for line in lines if not line.startswith(b"#")]
    assert len(series) == len(set(series))
    assert bot.shown()["24h"] == 2400


def test_only_so_many_bots_are_judged_as_the_cap_lets(shop: Callable[..., Shop]) -> None:
    bot = shop(caps={"chatbot_engagement": 12})

    for projects in ("b", "abc"):
        counts = [(received(project=each), hour, 5.0) for each in projects for hour in steady(14)]
        bot.poll({}, counts=counts)
    with capture_logs() as logs:
        bot.shown()

    assert ["limits.families.chatbot_engagement" in each["error"] for each in logs] == [True]
    assert [each.labels.project for each in bot.gauges.bots] == ["b", "a"]


@pytest.mark.parametrize(("holiday", "shown"), [("2026-03-03", 1), ("2026-03-01", 0)])
def test_a_holiday_without_one_before_is_not_judged(
    shop: Callable[..., Shop], holiday: str, shown: float
) -> None:
    bot = shop(holidays=(holiday,))

    bot.poll(steady(14))

    assert bot.shown("chatbot_engagement_holiday") == {"": shown}
    assert set(bot.shown()) == (set() if shown else WINDOWS - {"48h"})
    (engagement,) = bot.gauges.bots
    days = {hour.start_ms // DAY_MS for hour in engagement.last_week() if hour.expected is None}
    assert len(days) == 1


def test_what_a_failing_ledger_did_not_give_comes_with_the_next_tick(bot: Shop) -> None:
    with bot.driver.transaction() as tx:
        tx.exec_driver_sql("ALTER TABLE gap RENAME TO away")
        tx.commit()

    with pytest.raises(LedgerError):
        bot.shown()
    with bot.driver.transaction() as tx:
        tx.exec_driver_sql("ALTER TABLE away RENAME TO gap")
        tx.commit()

    assert set(bot.shown()) == WINDOWS


def test_an_error_in_the_arithmetic_withdraws_the_query_and_ends_nothing(
    bot: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bot.shown()

    def divides_by_zero(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("exporter.exposition.engagement.judge", divides_by_zero)
    bot.driver.clock.advance(3600)
    bot.poll(steady(14, bot.driver.clock.now_ms()))
    with capture_logs() as logs:
        assert bot.shown() == {}
    assert [each["event"] for each in logs] == ["cannot compute engagement; this is a bug"]
