"""Fallbacks, handovers, weekly users and spend: what fires, what must not, guard by guard."""

import dataclasses
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import pytest

from dashboards.source.thresholds import Thresholds
from tests.dashboards.promtool import (
    CASE,
    HOUR_S,
    Bench,
    Guard,
    Values,
    checks,
    firing,
    mutated,
    rules,
)

FALLBACK, HANDOVER = "ChatbotFallbackShareHigh", "ChatbotHandoverShareHigh"
USERS, SPEND = "ChatbotUsersDropWeekly", "ChatbotSpendHigh"
THRESHOLDS = Thresholds(interval_s=HOUR_S)
HOURS = 31 * 24
TODAY = 29 * 24
FRIDAY_TEN = TODAY + 10  # promtool's time starts on a Thursday
Hourly: TypeAlias = Callable[[int], float | None]
PROBES = [hour * HOUR_S for hour in range(28 * 24, HOURS)]


def flat(value: float) -> Hourly:
    return lambda _hour: value


def written(hourly: Hourly) -> list[float | None]:
    return [hourly(hour) for hour in range(HOURS)]


def gauge(family: str, *more: str) -> str:
    labels = ('provider="inkeep"', f'target="{CASE}"', f'project="{CASE}"', *more)
    return f"{family}{{{','.join(labels)}}}"


def period(kind: str, hourly: Hourly) -> dict[str, Values]:
    return {gauge(f"chatbot_period_{kind}", 'period="hour"'): written(hourly)}


def steps(before: float, after: float, since: int = FRIDAY_TEN) -> Hourly:
    return lambda hour: after if hour >= since else before


def fallbacks(share: Hourly, messages: float) -> dict[str, Values]:
    part = lambda hour: round((share(hour) or 0) * messages)  # noqa: E731 - a series is a function of the hour
    return period("fallbacks", part) | period("messages_received", flat(messages))


def handovers(share: Hourly, conversations: float) -> dict[str, Values]:
    part = lambda hour: (share(hour) or 0) * conversations  # noqa: E731 - a series is a function of the hour
    return period("handovers", part) | period("conversations_started", flat(conversations))


def users(hourly: Hourly, window: str = "rolling_7d") -> dict[str, Values]:
    name = gauge("chatbot_active_users", 'channel=""', f'window="{window}"')
    return {name: written(hourly)}


def dip(value: float, other: float, start: int, end: int) -> Hourly:
    return lambda hour: other if start <= hour < end else value


def dips(values: tuple[float, ...], usual: float) -> Hourly:
    """Return the usual number, apart from the hours from Friday ten on."""
    return lambda hour: dict(enumerate(values, FRIDAY_TEN)).get(hour, usual)


def spent(cost: Callable[[int], float], since: int = 0) -> dict[str, Values]:
    """Return a counter that grows by ``cost`` of each hour, and is there from ``since`` on."""
    labels = f'job="j",instance="i",provider="openai",target="{CASE}",project="p",model="m"'
    total = list(accumulate(cost(hour) if hour > since else 0 for hour in range(HOURS)))
    values = [None if hour < since else each for hour, each in enumerate(total)]
    return {f"chatbot_llm_cost_usd_total{{{labels}}}": values}


def rising(usual: float, today: float) -> Callable[[int], float]:
    """Return a cost of an hour that is another one from today on."""
    return lambda hour: today if hour > TODAY else usual


def weekly(hour: int) -> float:
    """Return an expensive job once a week, on the weekday of today, at noon."""
    return 100.0 if (hour - TODAY) % 168 == 12 else 0.1


def daily(hour: int) -> float:
    """Return the cost of a day all at once, at hours that vary: some 24 hours hold two of them."""
    return 40.0 if hour % 24 == (8, 9)[hour // 24 % 2] else 0.0


LATE_MESSAGES: Hourly = lambda hour: None if hour >= FRIDAY_TEN else 100  # noqa: E731
CASES: dict[str, tuple[str | None, dict[str, Values]]] = {
    "fallbacks rise": (FALLBACK, fallbacks(steps(0.05, 0.25), 100)),
    "always many": (None, fallbacks(flat(0.3), 100)),
    "few messages": (None, fallbacks(steps(0, 0.5), 4)),
    "rise by a little": (None, fallbacks(steps(0.05, 0.12), 1000)),
    "rise by chance": (None, fallbacks(steps(0.4, 0.55), 12)),
    "handovers rise": (HANDOVER, handovers(steps(0.05, 0.3), 20)),
    "handovers as ever": (None, handovers(flat(0.3), 20)),
    "few conversations": (None, handovers(steps(0, 0.5), 1)),
    "a few more handovers": (None, handovers(steps(0.05, 0.12), 60)),
    "handovers by chance": (None, handovers(steps(0.4, 0.55), 3)),
    "handovers for an hour": (
        None,
        period("handovers", dips((200, 0), 1))
        | period("conversations_started", dips((200, 4000), 20)),
    ),
    "messages late, fallbacks more": (
        None,
        period("fallbacks", steps(5, 60)) | period("messages_received", LATE_MESSAGES),
    ),
    "users halve": (USERS, users(steps(200, 90, 27 * 24))),
    "users a fifth fewer": (None, users(steps(200, 160, 27 * 24))),
    "few users": (None, users(steps(40, 10, 27 * 24))),
    "users were many for once": (None, users(dip(100, 300, 12 * 24, 18 * 24))),
    "users were many a month ago": (None, users(dip(100, 300, 0, 4 * 24))),
    "fallbacks for an hour": (
        None,
        period("fallbacks", dips((80, 100), 5))
        | period("messages_received", dips((100, 4000), 100)),
    ),
    "users fewer for half a day": (None, users(dip(200, 90, FRIDAY_TEN, FRIDAY_TEN + 12))),
    "users of a day": (None, users(steps(200, 10, 27 * 24), "day")),
    "three times": (SPEND, spent(rising(2, 6))),
    "as ever": (None, spent(rising(2, 2))),
    "twice": (None, spent(rising(2, 4))),
    "pennies": (None, spent(rising(0.01, 0.1))),
    "weekly job": (None, spent(weekly)),
    "days at once": (None, spent(daily)),
    "young": (None, spent(rising(2, 6), since=TODAY - 4 * 24)),
}


GUARDS = [
    Guard(FALLBACK, "rise by a little", "> 0.1", "> 0"),
    Guard(FALLBACK, "rise by chance", "> 4", "> 0"),
    Guard(FALLBACK, "few messages", ">= 50", ">= 0"),
    Guard(FALLBACK, "fallbacks for an hour", "30m", "0s"),
    Guard(
        FALLBACK,
        "messages late, fallbacks more",
        '(chatbot_period_messages_received{period="hour"})',
        '(last_over_time(chatbot_period_messages_received{period="hour"}[1d]))',
    ),
    Guard(HANDOVER, "a few more handovers", "> 0.1", "> 0"),
    Guard(HANDOVER, "handovers by chance", "> 4", "> 0"),
    Guard(HANDOVER, "few conversations", ">= 50", ">= 0"),
    Guard(HANDOVER, "handovers for an hour", "30m", "0s"),
    Guard(USERS, "users fewer for half a day", "1d", "0s"),
    Guard(USERS, "users were many a month ago", "offset 2w", "offset 4w"),
    Guard(USERS, "users were many for once", "offset 4w", "offset 2w"),
    Guard(USERS, "few users", ">= 50", ">= 0"),
    Guard(USERS, "users a fifth fewer", "0.7 *", "0.9 *"),
    Guard(USERS, "users of a day", "(rolling|trailing)_7d", "day"),
    Guard(SPEND, "twice", "> 2.5", "> 1.5"),
    Guard(SPEND, "weekly job", "> 1.25", "> 0"),
    Guard(SPEND, "pennies", ">= 5", ">= 0.1"),
    Guard(SPEND, "young", "offset 1w >= 0", "offset 1h >= 0"),
    Guard(SPEND, "three times", "30m", "30d"),
]


BENCH = Bench(
    THRESHOLDS,
    PROBES,
    (FALLBACK, HANDOVER, USERS, SPEND),
    CASES,
    GUARDS,
)
(
    fired,
    test_a_case_fires_its_alert_and_no_other,
    test_without_a_guard_a_case_would_fire_wrongly,
    test_every_comparison_of_an_alert_is_tried,
) = checks(BENCH)

SMALL = dataclasses.replace(
    THRESHOLDS,
    fallback=dataclasses.replace(THRESHOLDS.fallback, min_total=10),
    handover=dataclasses.replace(THRESHOLDS.handover, min_total=10),
)
FIRST_OF_TWELVE = {FALLBACK: fallbacks(dips((1,), 0), 2), HANDOVER: handovers(dips((4,), 0), 0.5)}


@pytest.mark.parametrize(("floor", "expected"), [("0.02", False), ("0", True)])
@pytest.mark.parametrize("alert", FIRST_OF_TWELVE)
def test_the_first_two_of_twelve_are_chance_where_so_few_are_enough_to_judge(
    tmp_path: Path,
    alert: str,
    floor: str,
    expected: bool,
) -> None:
    chosen = rules(SMALL, (alert,))
    if floor == "0":
        chosen = mutated(chosen, "0.02", floor)

    found = firing(tmp_path, chosen, FIRST_OF_TWELVE[alert], PROBES, step_s=HOUR_S)

    assert bool(found) is expected
