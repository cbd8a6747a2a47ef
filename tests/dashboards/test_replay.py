"""The replay itself: its scenes follow from the seed, its feed is true, its score is fair."""

from pathlib import Path

import pytest

from tests.dashboards.replay.engine import alerting
from tests.dashboards.replay.feed import fed
from tests.dashboards.replay.scene import (
    LEARNING_WEEKS,
    WEEK,
    Account,
    Bot,
    Episode,
    MetricType,
    account,
)
from tests.dashboards.replay.score import Score, interval, report, scored

FIRST = LEARNING_WEEKS * WEEK
HOURS = FIRST + WEEK
PROMPT = 0.97  # the rest of an hour comes later than its settling
SHOWN_AFTER_H = 2  # an hour to settle, then the next look


def told(*hours: int) -> list[bool]:
    return [hour in hours for hour in range(HOURS)]


def bot(*episodes: Episode) -> Bot:
    return Bot("bot", 600, ((1, 1),) * HOURS, episodes)


def score(made: Bot, firing: list[bool], late: tuple[tuple[int, int], ...] = ()) -> Score:
    return scored([made], {"bot": firing}, late)


DROP = Episode(MetricType.STEP, FIRST + 10, FIRST + 34, 0.7)


def test_a_scene_follows_from_its_seed() -> None:
    assert account(7, "flowxo", 2, 6) == account(7, "flowxo", 2, 6)
    assert account(7, "flowxo", 2, 6) != account(8, "flowxo", 2, 6)


def test_a_drop_that_is_told_has_its_delay() -> None:
    found = score(bot(DROP), told(FIRST + 14, FIRST + 15))

    assert [drop.delay for drop in found.drops] == [4.5]
    assert found.false == 0


def test_a_drop_that_is_told_long_after_it_has_ended_was_not_found() -> None:
    found = score(bot(DROP), told(FIRST + 41))

    assert [drop.delay for drop in found.drops] == [None]
    assert found.false == 0


def test_an_alert_without_a_drop_is_one_false_episode_however_long() -> None:
    found = score(bot(), told(FIRST + 50, FIRST + 51, FIRST + 80))

    assert (found.drops, found.false, found.bot_weeks) == ((), 2, 1.0)


def test_an_alert_on_a_holiday_counts_neither_way() -> None:
    holiday = Episode(MetricType.HOLIDAY, FIRST, FIRST + 24, 0.6)

    assert score(bot(holiday), told(FIRST + 12)).false == 0


def test_a_false_episode_while_the_api_is_late_is_named_so() -> None:
    found = score(bot(), told(FIRST + 52), late=((FIRST + 48, FIRST + 60),))

    assert (found.false, found.late) == (1, 1)


def test_weeks_after_a_bot_is_gone_are_not_counted() -> None:
    gone = Episode(MetricType.REMOVED, FIRST + 84, HOURS, 0)

    found = score(bot(gone), told(FIRST + 100))

    assert (found.false, found.bot_weeks) == (0, 0.5)


def test_an_interval_is_wide_for_few_and_narrow_for_many() -> None:
    low, high = interval(9, 10)

    assert (round(low, 2), round(high, 2)) == (0.60, 0.98)
    assert interval(0, 0) == (0.0, 1.0)


def test_a_report_names_every_figure() -> None:
    text = report(score(bot(DROP), told(FIRST + 14)))

    assert "| Precision | 1.00 (1/1) |" in text
    assert "| Delay of 70 % or more above 500 a day, p50 and p90 | 4.5 h, 4.5 h |" in text


def test_what_is_shown_is_what_happened_and_nothing_while_the_api_is_late(tmp_path: Path) -> None:
    counts = tuple((hour % 24, 2 * hour) for hour in range(60))
    scene = Account("flowxo", (Bot("bot", 600, counts, ()),), ((30, 40),), frozenset({20}))

    series = fed(scene, "shop", tmp_path)

    web = next(values for name, values in series.items() if 'channel="web"' in name)
    prompt = [hour for hour in range(5, 60) if not 30 <= hour < 40]
    assert [web[hour] for hour in prompt] == [
        round(PROMPT * ((hour - SHOWN_AFTER_H) % 24)) for hour in prompt
    ]
    assert web[31:40] == [None] * 9


@pytest.mark.slow
def test_a_small_replay_finds_the_deep_drop_and_nothing_else(tmp_path: Path) -> None:
    scene = account(101, "flowxo", 3, 6)

    series = fed(scene, "shop", tmp_path)
    found = scored(scene.bots, alerting(tmp_path, series, 6 * WEEK), scene.late)

    assert [(drop.volume, drop.depth) for drop in found.drops] == [(600, 1.0)]
    assert all(drop.delay is not None for drop in found.drops)
    assert found.false == 0
