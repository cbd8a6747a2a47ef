"""What each hour of the week holds, on bots whose true means are known."""

import datetime as dt
import math

import pytest

from exporter.engagement.events import show_habit
from exporter.engagement.table import WeeklyTable, weekly_table
from tests.engagement.bots import DAY, WEEK, Mean, drawn, means, rhythm

WEEKS = 5


def shapes_of_their_own(per_day: float) -> Mean:
    """Return another peak on each weekday."""

    def mean(at: dt.datetime) -> float:
        away = (at.hour - 8 - 2 * at.weekday()) / DAY * 2 * math.pi
        return per_day / DAY * (1 + 0.8 * math.cos(away))

    return mean


def learnt(mean: Mean) -> WeeklyTable:
    hours = WEEKS * WEEK
    return weekly_table(drawn(means(mean, hours)), [n % WEEK for n in range(hours)], [True] * hours)


@pytest.mark.parametrize("per_day", [40, 8_000])
def test_days_that_differ_by_their_level_share_a_shape(per_day: int) -> None:
    assert learnt(rhythm(per_day)).own < 0.1


def test_days_with_shapes_of_their_own_are_expected_by_their_own_hours() -> None:
    small, large = learnt(shapes_of_their_own(150)), learnt(shapes_of_their_own(8_000))
    true = means(shapes_of_their_own(8_000), WEEK)

    assert small.own < large.own
    assert large.own > 0.7
    assert [each * sum(true) / sum(large.usual) for each in large.usual] == pytest.approx(
        true, rel=0.2
    )


@pytest.mark.parametrize("per_day", [150, 2_000, 8_000])
def test_a_bot_that_grows_fivefold_has_its_campaign_as_its_only_event(per_day: int) -> None:
    hours = WEEKS * WEEK
    grown = [mean * 5 ** (n / hours) for n, mean in enumerate(means(rhythm(per_day), hours))]
    campaign = range(2 * WEEK + 36, 2 * WEEK + 48)

    habit = show_habit(
        drawn([mean * (4 if n in campaign else 1) for n, mean in enumerate(grown)]),
        [n % WEEK for n in range(hours)],
    )

    beside = range(campaign.start - 6, campaign.stop + 6)
    assert not any(habit[n] for n in beside)
    assert sum(habit) >= hours - len(beside) - 3 * 18  # chance alone makes few more
