"""The replay itself: its scenes follow from the seed, its feed is true, its score is fair."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.dashboards.replay.feed import alerting, fed
from tests.dashboards.replay.scene import (
    DAY,
    LEARNING_WEEKS,
    WEEK,
    ZONE,
    Account,
    Bot,
    Episode,
    EventKind,
    account,
    hourly,
    taxi_account,
)
from tests.dashboards.replay.score import Score, interval, report, scored

FIRST = LEARNING_WEEKS * WEEK
HOURS = FIRST + WEEK
PROMPT = 0.97  # the rest of an hour comes later than its settling
SHOWN_AFTER_H = 2  # an hour to settle, then the next look


def firing_at(*hours: int) -> list[bool]:
    return [hour in hours for hour in range(HOURS)]


def bot(*episodes: Episode) -> Bot:
    return Bot("bot", 600, ((1, 1),) * HOURS, episodes)


def score(made: Bot, firing: list[bool], late: tuple[tuple[int, int], ...] = ()) -> Score:
    return scored([made], {"bot": firing}, late)


DROP = Episode(EventKind.STEP, FIRST + 10, FIRST + 34, 0.7)


def test_a_scene_follows_from_its_seed() -> None:
    assert account(7, "flowxo", 2, 6) == account(7, "flowxo", 2, 6)
    assert account(7, "flowxo", 2, 6) != account(8, "flowxo", 2, 6)


@dataclass(frozen=True, slots=True)
class Judged:
    """What an account's bot lives through, when its alert fires, and the score that is fair."""

    episodes: tuple[Episode, ...]
    firing: tuple[int, ...]
    delays: tuple[float | None, ...] = ()
    false: int = 0
    late: int = 0
    bot_weeks: float = 1.0


JUDGED = {
    "a drop that fires has its delay": Judged((DROP,), (FIRST + 14, FIRST + 15), (4.5,)),
    "a drop that fires long after its end was not found": Judged((DROP,), (FIRST + 41,), (None,)),
    "firing without a drop is one false episode however long": Judged(
        (), (FIRST + 20, FIRST + 21, FIRST + 80), false=2
    ),
    "a holiday counts neither way": Judged(
        (Episode(EventKind.HOLIDAY, FIRST, FIRST + 24, 0.6),), (FIRST + 12,)
    ),
    "a false episode while the API is late is named so": Judged((), (FIRST + 52,), false=1, late=1),
    "weeks after a bot is gone are not counted": Judged(
        (Episode(EventKind.REMOVED, FIRST + 84, HOURS, 0),), (FIRST + 100,), bot_weeks=0.5
    ),
}
OUTAGE = (FIRST + 50, FIRST + 60)


@pytest.mark.parametrize("name", JUDGED)
def test_a_score_is_fair(name: str) -> None:
    case = JUDGED[name]

    found = score(bot(*case.episodes), firing_at(*case.firing), late=(OUTAGE,))

    assert tuple(drop.delay for drop in found.drops) == case.delays
    assert (found.false, found.late, found.bot_weeks) == (case.false, case.late, case.bot_weeks)


def test_an_interval_is_wide_for_few_and_narrow_for_many() -> None:
    low, high = interval(9, 10)

    assert (round(low, 2), round(high, 2)) == (0.60, 0.98)
    assert interval(0, 0) == (0.0, 1.0)


def test_a_report_names_every_figure() -> None:
    text = report(score(bot(DROP), firing_at(FIRST + 14)))

    assert "| Precision | 1.00 (1/1) |" in text
    assert "| Delay of 70 % or more above 500 a day, p50 and p90 | 4.5 h, 4.5 h |" in text


def test_what_is_shown_is_what_happened_and_nothing_while_the_api_is_late(tmp_path: Path) -> None:
    start, end = 8 * DAY, 9 * DAY + 12
    late = (start + 10, start + 18)
    counts = tuple((hour % 24, 2 * hour) for hour in range(end))
    bots = (Bot("bot", 600, counts, ()),)
    scene = Account("flowxo", bots, (late,), frozenset({start + 5}), starts_at=start)

    series = fed(scene, "shop", tmp_path)

    shown = next(v for name, v in series.items() if "_engagement{" in name and '"3h"' in name)
    newest = [hour - SHOWN_AFTER_H for hour in range(end)]
    prompt = [hour for hour in range(start, end) if not late[0] <= hour < late[1]]
    assert [shown[hour] for hour in prompt] == [
        sum(counts[newest[hour] - 2] + counts[newest[hour] - 1])
        + sum(round(PROMPT * count) for count in counts[newest[hour]])
        for hour in prompt
    ]
    assert shown[late[0] + 1 : late[1]] == [None] * 7


def test_real_counts_become_bots_with_drops_on_their_own_clock(tmp_path: Path) -> None:
    first, hours = datetime(2014, 9, 22), 24 * 7 * 8  # noqa: DTZ001 - the file has local time
    rows = [(first + timedelta(minutes=30 * half), half // 2 % 24) for half in range(2 * hours)]
    night = datetime(2014, 11, 2, 1)  # noqa: DTZ001 - its one o'clock came twice
    lines = [
        f"{at},{(2000 + 1000 * hour) * (1 + (at.replace(minute=0) == night))}" for at, hour in rows
    ]
    path = tmp_path / "taxi.csv"
    path.write_text("\n".join(["timestamp,value", *lines]))

    start, counts = hourly(path)
    made = taxi_account(path, 1, 5)

    assert start == datetime(2014, 9, 22, 4, tzinfo=UTC)
    assert counts == [
        4000 + 2000 * (start + timedelta(hours=hour)).astimezone(ZONE).hour
        for hour in range(hours + 1)
    ]
    busy = made.bots[4]
    assert [e.kind for e in busy.episodes] == [EventKind.HOLIDAY, EventKind.STEP]
    drop = busy.episodes[1]
    lost = sum(map(sum, busy.counts[drop.start : drop.end]))
    week_before = sum(map(sum, busy.counts[drop.start - WEEK : drop.end - WEEK]))
    assert lost == pytest.approx((1 - drop.depth) * week_before, rel=0.1)


def test_a_small_replay_finds_the_deep_drops_and_nothing_else(tmp_path: Path) -> None:
    scene = account(102, "flowxo", 3, 6)

    series = fed(scene, "shop", tmp_path)
    found = scored(scene.bots, alerting(tmp_path, series, 6 * WEEK), scene.late)

    assert [(drop.volume, drop.depth) for drop in found.drops] == [(40, 0.7), (150, 0.7)]
    assert all(drop.delay is not None for drop in found.drops)
    assert found.false == 0
