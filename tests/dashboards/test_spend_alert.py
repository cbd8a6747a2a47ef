"""Spend: what fires, what must not, guard by guard. Time runs in steps of an hour."""

from collections.abc import Callable
from itertools import accumulate

import pytest

from dashboards.source.thresholds import Thresholds
from tests.dashboards.guards import CASE, Bench, Guard, checks
from tests.dashboards.promtool import Values
from tests.dashboards.ruleset import HOUR_S

pytestmark = pytest.mark.slow

HIGH = "ChatbotSpendHigh"
DAYS = 24
TODAY = 22 * 24
Hourly = Callable[[int], float]


def spent(cost: Hourly, since: int = 0) -> dict[str, Values]:
    """Return a counter that grows by ``cost`` of each hour, and is there from ``since`` on."""
    labels = f'job="j",instance="i",provider="openai",target="{CASE}",project="p",model="m"'
    total = list(accumulate(cost(hour) if hour > since else 0 for hour in range(DAYS * 24)))
    values = [None if hour < since else each for hour, each in enumerate(total)]
    return {f"chatbot_llm_cost_usd_total{{{labels}}}": values}


def rising(usual: float, today: float) -> Hourly:
    """Return a cost of an hour that is another one from today on."""
    return lambda hour: today if hour > TODAY else usual


def weekly(hour: int) -> float:
    """Return an expensive job once a week, on the weekday of today, at noon."""
    return 100.0 if (hour - TODAY) % 168 == 12 else 0.1


def daily(hour: int) -> float:
    """Return the cost of a day all at once, at hours that vary: some 24 hours hold two of them."""
    return 40.0 if hour % 24 == (8, 9)[hour // 24 % 2] else 0.0


CASES = {
    "three times": (HIGH, spent(rising(2, 6))),
    "as ever": (None, spent(rising(2, 2))),
    "twice": (None, spent(rising(2, 4))),
    "pennies": (None, spent(rising(0.01, 0.1))),
    "weekly job": (None, spent(weekly)),
    "days at once": (None, spent(daily)),
    "young": (None, spent(rising(2, 6), since=TODAY - 4 * 24)),
}
GUARDS = {
    "share": Guard(HIGH, "twice", "> 2.5", "> 1.5"),
    "highest": Guard(HIGH, "weekly job", "> 1.25", "> 0"),
    "least": Guard(HIGH, "pennies", ">= 5", ">= 0.1"),
    "week": Guard(HIGH, "young", "offset 1w >= 0", "offset 1h >= 0"),
    "pending": Guard(HIGH, "three times", "30m", "30d"),
}
BENCH = Bench(
    Thresholds(interval_s=HOUR_S),
    [hour * HOUR_S for hour in range(TODAY - 24, DAYS * 24)],
    [HIGH],
    CASES,
    GUARDS,
)
fired, test_case, test_guard_is_needed, test_comparisons_are_tried = checks(BENCH)
