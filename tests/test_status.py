"""What the page's figures are made of."""

from dataclasses import replace

import pytest

from exporter import status
from exporter.engagement.expectation import WindowScore, judge, learn
from exporter.engagement.hours import Calendar, HourlyCounts
from exporter.exposition.engagement import BotEngagement
from exporter.ledger.hours import BotLabels
from exporter.ledger.rows import QueryState
from exporter.model.families import MESSAGES_RECEIVED, MESSAGES_SENT
from exporter.model.samples import SelfCount

STATE = QueryState(
    target="shop",
    query="hourly",
    provider="flowxo",
    epoch_ms=0,
    cursor_ms=0,
    watermark_ms=None,
    last_attempt_ms=0,
    last_success_ms=0,
    next_poll_ms=0,
    last_reason=None,
    last_error=None,
    fail_streak=0,
    circuit="closed",
    quarantined=False,
)


def test_dropped_series_are_those_of_the_target_and_what_an_allow_list_leaves_out_is_none() -> None:
    dropped = "chatbot_exporter_dropped_series_total"
    counts: dict[SelfCount, float] = {
        (dropped, (("family", "a_total"), ("reason", "not_allowlisted"))): 61.0,
        (dropped, (("family", "a_total"), ("reason", "family_limit"))): 2.0,
        (dropped, (("family", "b_total"), ("reason", "total_limit"))): 1.0,
    }

    (target,) = status.targets(
        [(replace(STATE, query=name), True) for name in ("hourly", "top_flows")],
        {"shop": counts},
        status.RecentPolls(),
    )

    assert target.dropped_series == 3


def test_families_are_those_with_series_now() -> None:
    received, sent = MESSAGES_RECEIVED.name, MESSAGES_SENT.name
    docs = replace(STATE, target="docs", series={received: 2, sent: 0})
    shop = replace(STATE, series={received: 3}, overhang={received: 4.0})

    (found,) = status.families(
        [(docs, True), (shop, True)], {received: MESSAGES_RECEIVED, sent: MESSAGES_SENT}
    )

    assert found == status.FamilyStatus(
        received, MESSAGES_RECEIVED.help, 5, ("docs", "shop"), retracted="shop"
    )


@pytest.mark.parametrize(
    ("scores", "verdict", "hours"),
    [
        ({}, "not judged", None),
        ({1: -2.9, 24: 2.9, 48: 1.0}, "as expected", 24),
        ({1: -2.0, 3: 1.0}, "as expected", 3),
        ({1: -3.0, 3: -5.5, 24: 4.0}, "below", 3),
    ],
)
def test_a_bots_verdict_is_about_the_window_that_is_farthest_off(
    scores: dict[int, float], verdict: str, hours: int | None
) -> None:
    labels, week = BotLabels("flowxo", "shop", "promo", ""), HourlyCounts(0, (7.0, None))
    windows = {length: WindowScore(length, 10, 20, 3, score) for length, score in scores.items()}
    bot = BotEngagement(labels, False, windows, None, week, Calendar(), ())  # noqa: FBT003

    (target,) = status.targets([(STATE, True)], {}, status.RecentPolls(), [bot])

    (shown,) = target.bots
    assert (shown.verdict, shown.window and shown.window.hours) == (verdict, hours)
    assert [window.score for window in shown.windows] == [*scores.values()]
    assert [hour.engagement for hour in shown.hours] == [7.0, None]


MORNING = [20.0] * 7 + [600.0, 1_500.0] + [2_000.0] * 8 + [500.0] * 7


@pytest.mark.parametrize(
    ("newest", "verdict"), [(1_500.0, "as expected"), (200.0, "below"), (3_000.0, "above")]
)
def test_a_steep_morning_is_no_news_though_the_zone_is_unknown(newest: float, verdict: str) -> None:
    """Five weeks of one day, up to its ninth hour; its score is that of a clock an hour off."""
    hours = HourlyCounts(0, (*MORNING * 35, *MORNING[:8], newest))
    calendar = Calendar()
    expectation = learn(hours, calendar)
    assert expectation is not None
    scores = judge(expectation, hours, calendar)
    labels = BotLabels("flowxo", "shop", "promo", "")
    bot = BotEngagement(labels, False, scores, expectation, hours, calendar, ())  # noqa: FBT003

    (target,) = status.targets([(STATE, True)], {}, status.RecentPolls(), [bot])

    assert scores[1].score > status.UNUSUAL or verdict == "below"
    assert target.bots[0].verdict == verdict


def test_a_query_that_fails_while_it_is_quarantined_is_shown_as_failing() -> None:
    held = replace(STATE, quarantined=True, last_success_ms=1)
    failing = replace(held, last_reason="auth", circuit="open")

    (target,) = status.targets([(held, True), (failing, False)], {}, status.RecentPolls())

    assert [each.state for each in target.queries] == ["quarantined", "circuit open"]
