"""Drops in engagement: what must be told, what must not, and that every guard is needed.

Time runs in steps of an hour.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dashboards.source.records import ON
from dashboards.source.thresholds import Thresholds
from tests.dashboards.courses import (
    FRIDAY_TEN,
    HOURS,
    WEEK,
    Course,
    absent,
    flat,
    times,
    usual,
    written,
)
from tests.dashboards.guards import Bench, Guard
from tests.dashboards.promtool import Values, firing
from tests.dashboards.replay.engine import DROPS
from tests.dashboards.ruleset import HOUR_S, in_hours, mutated, rules

pytestmark = pytest.mark.slow

SUDDEN, FAST, QUARTER, HALF, DAILY = DROPS
UNLEARNT = "ChatbotBaselineNotLearnt"
THRESHOLDS = Thresholds(interval_s=HOUR_S)
PROBES = [hour * HOUR_S for hour in range(28 * 24, HOURS)]
BUSY = usual(100)
FLAT = flat(100)

COURSES: dict[str, Course] = {
    "busy, 70 % fewer": times(BUSY, 0.3, FRIDAY_TEN),
    "busy, 45 % left for a day": times(usual(1000), 0.45, FRIDAY_TEN, FRIDAY_TEN + 24),
    "mid, nothing": times(usual(20), 0, FRIDAY_TEN),
    "few an hour, nothing": times(usual(3), 0, FRIDAY_TEN),
    "tiny, nothing": times(flat(0.3), 0, FRIDAY_TEN),
    "usual": BUSY,
    "usual, irregular": usual(20, 0.5),
    "late": absent(BUSY, FRIDAY_TEN, FRIDAY_TEN + 14),
    "one bad hour": times(BUSY, 0.2, FRIDAY_TEN, FRIDAY_TEN + 1),
    "holiday two weeks ago": times(BUSY, 0.1, FRIDAY_TEN - 2 * WEEK, FRIDAY_TEN + 72 - 2 * WEEK),
    "campaign a week ago": times(BUSY, 8, FRIDAY_TEN - WEEK, FRIDAY_TEN + 24 - WEEK),
    "gap of three hours": absent(BUSY, FRIDAY_TEN, FRIDAY_TEN + 3),
    "young, nothing": times(absent(BUSY, 0, 11 * 24), 0, FRIDAY_TEN),
    "a quarter fewer": times(BUSY, 0.75, FRIDAY_TEN),
}
MUST = {
    (SUDDEN, "busy, 70 % fewer"): 1,
    (FAST, "busy, 70 % fewer"): 3,
    (QUARTER, "busy, 70 % fewer"): 5,
    (HALF, "busy, 70 % fewer"): 10,
    (DAILY, "busy, 70 % fewer"): 20,
    (SUDDEN, "busy, 45 % left for a day"): 1,
    (FAST, "busy, 45 % left for a day"): 3,
    (QUARTER, "busy, 45 % left for a day"): 6,
    (HALF, "busy, 45 % left for a day"): 12,
    (DAILY, "busy, 45 % left for a day"): 24,
    (SUDDEN, "mid, nothing"): 1,
    (FAST, "mid, nothing"): 3,
    (QUARTER, "mid, nothing"): 6,
    (HALF, "mid, nothing"): 10,
    (DAILY, "mid, nothing"): 20,
    (QUARTER, "few an hour, nothing"): 6,
    (HALF, "few an hour, nothing"): 10,
    (DAILY, "few an hour, nothing"): 20,
}
"""Which alert must fire how many hours after the drop; no other may."""


def received(project: str) -> str:
    return f'chatbot_period_messages_received{{{_labels(project)},period="hour"}}'


def _labels(project: str) -> str:
    return f'provider="flowxo",target="{project}",project="{project}",bot_environment="",channel=""'


def unread(project: str) -> str:
    labels = f'provider="flowxo",target="{project}",query="hourly"'
    return f"chatbot_exporter_coverage_gap_seconds_total{{{labels}}}"


def at(course: Course, values: Sequence[float], since: int = FRIDAY_TEN) -> Course:
    """Return ``course`` with ``values`` in the hours from ``since`` on."""
    return lambda hour: values[hour - since] if 0 <= hour - since < len(values) else course(hour)


def alone(hour: int) -> float:
    """Few messages on Fridays only."""
    return 20 if hour // 24 % 7 == FRIDAY_TEN // 24 % 7 else 100


def noon(hour: int) -> float:
    """Four busy hours a day, next to nothing in the others."""
    return 1000 if 10 <= hour % 24 < 14 else 20


def office(hour: int) -> float | None:
    """Irregular by day, one message an hour at night."""
    return usual(100, 1.0)(hour) if 8 <= hour % 24 < 16 else 1


def thinned(course: Course, since: int, until: int) -> Course:
    """Return ``course`` with every third hour only, one and two weeks before those hours."""

    def value(hour: int) -> float | None:
        thin = any(since <= hour + weeks * WEEK < until for weeks in (1, 2))
        return None if thin and hour % 3 else course(hour)

    return value


LITTLE_LEFT = 9 / 24
GUARDS: dict[str, tuple[str, Course, str, str]] = {
    "events, sudden": (SUDDEN, times(flat(15), 0, FRIDAY_TEN), ">= 20", ">= 0"),
    "events, fast": (FAST, times(flat(5), 0, FRIDAY_TEN), ">= 20", ">= 0"),
    "events, quarter day": (QUARTER, at(flat(1.6), (0,) * 40), ">= 10)", ">= 0)"),
    "events, half a day": (HALF, at(flat(0.75), (0,) * 40), ">= 10)", ">= 0)"),
    "events, daily": (DAILY, at(flat(1), (0,) * 40), ">= 30)", ">= 0)"),
    "share, sudden": (SUDDEN, times(flat(1000), 0.52, FRIDAY_TEN), "0.5 * bot", "9 * bot"),
    "share, fast": (FAST, times(flat(1000), 0.52, FRIDAY_TEN), "0.5 * bot", "9 * bot"),
    "share, quarter day": (QUARTER, times(flat(10**6), 0.551, FRIDAY_TEN), "0.55 * bot", "9 * bot"),
    "share, half a day": (HALF, times(flat(1000), 0.61, FRIDAY_TEN), "0.6 * bot", "9 * bot"),
    "share, daily": (DAILY, times(flat(1000), 0.56, FRIDAY_TEN), "0.55 * bot", "9 * bot"),
    "score, sudden": (SUDDEN, times(flat(24), LITTLE_LEFT, FRIDAY_TEN), "< -4.25", "< 9"),
    "score, fast": (FAST, times(flat(8), LITTLE_LEFT, FRIDAY_TEN), "< -4.25", "< 9"),
    "score, quarter day": (QUARTER, at(flat(4), (1.5,) * 40), "< -4.25", "< 9"),
    "score, half a day": (HALF, times(flat(2), 0.5, FRIDAY_TEN), "< -3.5", "< 9"),
    "score, daily": (DAILY, at(flat(1.3), (0.65,) * 40), "< -3\n", "< 9\n"),
    "a day unlike those beside it": (DAILY, alone, "-0.8, 0.8", "-999, 999"),
    "a campaign is no level": (
        HALF,
        times(FLAT, 5, FRIDAY_TEN - 24, FRIDAY_TEN),
        "< 1.5)",
        "< 99)",
    ),
    "chance does not last": (
        HALF,
        at(flat(2), (2.9,) * 24 + (0.75,) * 14, FRIDAY_TEN - 24),
        "/ (1 + 0.3601",
        "/ (0.3601",
    ),
    "usual deviation": (
        FAST,
        usual(100, 1.0),
        "/ bot:chatbot_engagement_scale:avg3h",
        "/ (0 * bot:chatbot_engagement_scale:avg3h + 1)",
    ),
    "usual deviation of windows that hold something": (SUDDEN, office, ">= 10)", ">= 0)"),
    "least deviation": (
        SUDDEN,
        times(flat(24), LITTLE_LEFT, FRIDAY_TEN),
        "offset 1d), 1)",
        "offset 1d), 0)",
    ),
    "weeks known": (
        FAST,
        times(absent(FLAT, 0, 15 * 24), 0, FRIDAY_TEN),
        "weeks:avg3h >= 3",
        "weeks:avg3h >= 1",
    ),
    "hours known of earlier weeks": (
        FAST,
        thinned(times(FLAT, 0, FRIDAY_TEN, FRIDAY_TEN + 8), FRIDAY_TEN - 24, FRIDAY_TEN + 40),
        "earlier:hour[179m]) >= 3",
        "earlier:hour[179m]) >= 1",
    ),
    "hours known of the window": (
        DAILY,
        absent(at(FLAT, (0,) * 5 + (200,) * 40), FRIDAY_TEN - 22, FRIDAY_TEN),
        "[1439m]) >= 20)",
        "[1439m]) >= 1)",
    ),
    "hours in time after an outage": (
        SUDDEN,
        absent(at(FLAT, (0, 0, 300)), FRIDAY_TEN - 6, FRIDAY_TEN),
        "[179m]) >= 3)",
        "[179m]) >= 1)",
    ),
    "the same hours of earlier weeks": (
        DAILY,
        absent(noon, FRIDAY_TEN, FRIDAY_TEN + 4),
        f"\n) and {ON} bot:chatbot_engagement:hour",
        "\n)",
    ),
    "time that was never read": (
        FAST,
        times(FLAT, 0, FRIDAY_TEN, FRIDAY_TEN + 8),
        "chatbot_exporter_coverage_gap_seconds_total",
        "no_such_total",
    ),
    "time that it must last, not learnt": (
        UNLEARNT,
        absent(absent(FLAT, 0, FRIDAY_TEN), FRIDAY_TEN + 20),
        "1d",
        "0s",
    ),
    "time that it must last, sudden": (SUDDEN, at(FLAT, (0,)), "1h", "0s"),
    "time that it must last, fast": (FAST, at(FLAT, (0, 0, 300)), "30m", "0s"),
    "time that it must last, quarter day": (QUARTER, at(FLAT, (0,) * 3 + (300,)), "1h", "0s"),
    "time that it must last, half a day": (HALF, at(FLAT, (0,) * 5 + (300,)), "1h", "0s"),
    "time that it must last, daily": (DAILY, at(FLAT, (0,) * 11 + (300,)), "2h", "0s"),
}
"""Guard to alert, a course that must stay quiet, the guard's text, and the text without it."""
NEEDED: dict[str, tuple[str, Course, range, str, str]] = {
    "a drop that goes on is no level": (
        DAILY,
        times(flat(1000), 0.5, FRIDAY_TEN - 30),
        range(FRIDAY_TEN + 24, FRIDAY_TEN + 30),
        "> 0.65",
        "> 0",
    ),
    "the level is that before the window": (
        HALF,
        times(flat(1000), 0.58, FRIDAY_TEN),
        range(FRIDAY_TEN, FRIDAY_TEN + 15),
        "avg24h offset 12h or",
        "avg24h or",
    ),
}
"""Guard to alert, a drop, hours in which it must be told, the guard's text, and that without it."""
NEVER_READ = "time that was never read"


def series(name: str, course: Course) -> dict[str, Values]:
    """Return what Prometheus has of a bot; of one, hours were lost for good."""
    found: dict[str, Values] = {received(name): written(course)}
    if name == NEVER_READ:
        found[unread(name)] = written(lambda hour: 3600 * min(max(hour - FRIDAY_TEN + 1, 0), 12))
    return found


BENCH = Bench(
    THRESHOLDS,
    PROBES,
    {name: series(name, course) for name, course in COURSES.items()}
    | {name: series(name, course) for name, (_, course, *_) in GUARDS.items()},
    {name: Guard(alert, name, old, new) for name, (alert, _, old, new) in GUARDS.items()},
    by_the_hour=True,
)


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """Return the first hour after Friday ten at which an alert fires, by alert and bot."""
    folder = tmp_path_factory.mktemp("engagement")
    found = BENCH.fired(folder, (*DROPS, UNLEARNT), COURSES)
    for alert in (*DROPS, UNLEARNT):
        bots = [name for name, guard in BENCH.guards.items() if guard.alert == alert]
        found |= BENCH.fired(folder, (alert,), bots)
    return {key: probe // HOUR_S - FRIDAY_TEN for key, probe in found.items()}


@pytest.mark.parametrize(("alert", "bot"), MUST)
def test_a_real_drop_fires_in_time(fired: dict[tuple[str, str], int], alert: str, bot: str) -> None:
    assert 0 <= fired[alert, bot] <= MUST[alert, bot]


@pytest.mark.parametrize("bot", COURSES)
def test_nothing_else_fires(fired: dict[tuple[str, str], int], bot: str) -> None:
    drops = {key for key in fired if key[1] == bot and key[0] in DROPS}

    assert drops == {key for key in MUST if key[1] == bot}


def test_a_young_bot_is_said_to_have_no_baseline(fired: dict[tuple[str, str], int]) -> None:
    assert {bot for alert, bot in fired if alert == UNLEARNT and bot in COURSES} == {
        "young, nothing"
    }


@pytest.mark.parametrize("name", GUARDS)
def test_without_a_guard_a_bot_that_is_well_would_fire(
    fired: dict[tuple[str, str], int], name: str, tmp_path: Path
) -> None:
    assert (GUARDS[name][0], name) not in fired
    assert BENCH.fires_without(fired, name, tmp_path)


@pytest.mark.parametrize("guard", NEEDED)
def test_without_a_guard_a_drop_would_lower_its_own_expectation(guard: str, tmp_path: Path) -> None:
    alert, course, hours, old, new = NEEDED[guard]
    shipped = in_hours(rules(THRESHOLDS, (alert,)))
    shown, probes = series(guard, course), [hour * HOUR_S for hour in hours]

    assert firing(tmp_path, shipped, shown, probes, step_s=HOUR_S)
    assert not firing(tmp_path, mutated(shipped, old, new), shown, probes, step_s=HOUR_S)
