"""Drops in engagement: what must be told, what must not, and that every guard is needed.

Time runs in steps of an hour, which Prometheus 2 reads as four samples in three hours.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dashboards.source.records import ON
from dashboards.source.tuning import Tuning
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
from tests.dashboards.promtool import firing
from tests.dashboards.ruleset import HOUR_S, mutated, rules

pytestmark = pytest.mark.slow

FAST, DAILY, UNLEARNT = (
    "ChatbotEngagementDropFast",
    "ChatbotEngagementDropDaily",
    "ChatbotBaselineNotLearnt",
)
TUNING = Tuning(interval_s=HOUR_S)
PROBES = [hour * HOUR_S for hour in range(28 * 24, HOURS)]
BUSY = usual(100)

COURSES: dict[str, Course] = {
    "busy, 70 % fewer": times(BUSY, 0.3, FRIDAY_TEN),
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
    (FAST, "busy, 70 % fewer"): 4,
    (DAILY, "busy, 70 % fewer"): 20,
    (FAST, "mid, nothing"): 4,
    (DAILY, "mid, nothing"): 20,
    (DAILY, "few an hour, nothing"): 20,
}
"""Which alert must fire how many hours after the drop; no other may."""


def received(project: str) -> str:
    return f'chatbot_period_messages_received{{{_labels(project)},period="hour"}}'


def counter(project: str) -> str:
    return f"chatbot_messages_received_total{{{_labels(project)}}}"


def _labels(project: str) -> str:
    return f'provider="flowxo",target="shop",project="{project}",bot_environment="",channel="web"'


def at(course: Course, values: Sequence[float], since: int) -> Course:
    """Return ``course`` with ``values`` in the hours from ``since`` on."""
    return lambda hour: values[hour - since] if 0 <= hour - since < len(values) else course(hour)


FLAT = flat(100)
GUARDS: dict[str, tuple[str, Course, str, str]] = {
    "events, fast": (FAST, times(flat(5), 0, FRIDAY_TEN), ">= 20", ">= 0"),
    "share, fast": (FAST, times(flat(1000), 0.7, FRIDAY_TEN), "0.6 * bot", "9 * bot"),
    "score, fast": (FAST, usual(10, 1.0), "< -3.25", "< 9"),
    "share, daily": (DAILY, times(FLAT, 0.7, FRIDAY_TEN), "0.6 * bot", "9 * bot"),
    "events, daily": (DAILY, times(flat(0.75), 0, FRIDAY_TEN), ">= 20", ">= 0"),
    "weeks known": (FAST, times(absent(FLAT, 0, 15 * 24), 0, FRIDAY_TEN), ">= 3", ">= 1"),
    "hours known of the window": (
        FAST,
        absent(at(FLAT, (0, 60, 300), FRIDAY_TEN), FRIDAY_TEN - 6, FRIDAY_TEN),
        ">= 2)",
        ">= 1)",
    ),
    "data now": (
        FAST,
        absent(times(FLAT, 0, FRIDAY_TEN, FRIDAY_TEN + 2), FRIDAY_TEN + 2, FRIDAY_TEN + 5),
        f"[3h]) >= 2)\nand {ON} bot:chatbot_engagement:hour",
        "[3h]) >= 2)",
    ),
    "time that it must last": (FAST, at(FLAT, (0, 0, 300), FRIDAY_TEN), "30m", "0s"),
}
"""Guard to alert, a course that must stay quiet, the guard's text, and the text without it."""


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """Return the first hour after Friday ten at which an alert fired, by alert and bot."""
    folder = tmp_path_factory.mktemp("engagement")
    everything = COURSES | {name: guard[1] for name, guard in GUARDS.items()}
    series = {received(name): written(course) for name, course in everything.items()}
    found = firing(folder, rules(TUNING, (FAST, DAILY, UNLEARNT)), series, PROBES, step_s=HOUR_S)
    first: dict[tuple[str, str], int] = {}
    for probe, samples in sorted(found.items()):
        for sample in samples:
            key = (sample["alertname"], sample["project"])
            first.setdefault(key, probe // HOUR_S - FRIDAY_TEN)
    return first


@pytest.mark.parametrize(("alert", "bot"), MUST)
def test_a_real_drop_is_told_in_time(
    fired: dict[tuple[str, str], int], alert: str, bot: str
) -> None:
    assert 0 <= fired[alert, bot] <= MUST[alert, bot]


@pytest.mark.parametrize("bot", COURSES)
def test_nothing_else_is_told(fired: dict[tuple[str, str], int], bot: str) -> None:
    drops = {key for key in fired if key[1] == bot and key[0] != UNLEARNT}

    assert drops == {key for key in MUST if key[1] == bot}


def test_a_young_bot_is_said_to_have_no_baseline(fired: dict[tuple[str, str], int]) -> None:
    assert {bot for alert, bot in fired if alert == UNLEARNT} == {"young, nothing", "weeks known"}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_a_bot_that_is_well_would_be_told_of(
    fired: dict[tuple[str, str], int], guard: str, tmp_path: Path
) -> None:
    alert, course, old, new = GUARDS[guard]
    series = {received("bot"): written(course)}

    without = firing(
        tmp_path, mutated(rules(TUNING, (alert,)), old, new), series, PROBES, step_s=HOUR_S
    )

    assert (alert, guard) not in fired
    assert without
