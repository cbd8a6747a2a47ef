"""The replay itself: its feed is true, its score is fair."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dashboards.replay.feed import alerting, fed
from tests.dashboards.replay.scene import (
    DAY,
    LEARNING_WEEKS,
    WEEK,
    Account,
    Bot,
    Episode,
    EventKind,
    account,
)
from tests.dashboards.replay.score import Score, scored

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


def test_a_small_replay_finds_the_deep_drops_and_nothing_else(tmp_path: Path) -> None:
    scene = account(102, "flowxo", 3, 6)

    series = fed(scene, "shop", tmp_path)
    found = scored(scene.bots, alerting(tmp_path, series, 6 * WEEK), scene.late)

    assert [(drop.volume, drop.depth) for drop in found.drops] == [(40, 0.7), (150, 0.7)]
    assert all(drop.delay is not None for drop in found.drops)
    assert found.false == 0
