"""Expected engagement of the past: nothing of it knows what came later."""

from itertools import accumulate
from math import isnan
from random import Random

import pytest

from exporter.engagement.hours import Calendar, HourlyCounts
from exporter.exposition.backfill.past import bot_gauges, gauge_steps
from exporter.ledger.hours import BotLabels
from exporter.model.samples import HOUR_MS

BOT = BotLabels("flowxo", "promo", "promo", "")
WEEK = 168
START_MS = 1_772_409_600_000
rng = Random(4)  # noqa: S311 - the same hours each time
COUNTS = tuple(float(rng.randint(5, 40) * (3 if n % 24 > 8 else 1)) for n in range(10 * 24))
WHOLE = bot_gauges(BOT, HourlyCounts(START_MS, COUNTS), Calendar())


@pytest.mark.parametrize("hours", [50, WEEK, WEEK + 1, 200])
def test_an_hour_shows_what_it_showed_before_later_ones_were_known(hours: int) -> None:
    cut = bot_gauges(BOT, HourlyCounts(START_MS, COUNTS[:hours]), Calendar())

    assert cut.keys() == WHOLE.keys()
    for key, values in cut.items():
        assert repr(values.tolist()) == repr(WHOLE[key][:hours].tolist())


def test_engagement_is_absent_for_a_week_and_then_the_sum_of_its_window() -> None:
    shown = WHOLE["chatbot_engagement", (*BOT, "6h")]
    sums = [0.0, *accumulate(COUNTS)]

    assert all(map(isnan, shown[: WEEK - 1]))
    assert shown[WEEK:].tolist() == [sums[n + 1] - sums[n - 5] for n in range(WEEK, len(COUNTS))]
    weeks = WHOLE["chatbot_engagement_history_weeks", BOT]
    assert (weeks[0], weeks[WEEK - 1]) == (round(1 / WEEK, 3), 1)


def test_an_hour_is_shown_from_when_it_settled() -> None:
    found = gauge_steps(WHOLE["chatbot_engagement_score", (*BOT, "1h")], START_MS)

    assert [at_ms for at_ms, _ in found] == [START_MS + n * HOUR_MS for n in range(len(COUNTS))]
    assert found[0][1] is None
    assert found[-1][1] is not None
