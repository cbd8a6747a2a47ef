"""What is expected of bots whose true means are known, and how far off it says they are."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.engagement.events import show_habit
from exporter.engagement.expectation import (
    WINDOWS,
    Expectation,
    WindowScore,
    expected_hours,
    judge,
    learn,
)
from exporter.engagement.hours import AGES, Arrivals, Calendar, HourlyCounts
from exporter.engagement.table import WeeklyTable, weekly_table
from exporter.model.samples import HOUR_MS
from tests.engagement.bots import DAY, MONDAY_MS, WEEK, Mean, counts, drawn, means, rhythm

BERLIN = Calendar("Europe/Berlin")


def learnt(hours: HourlyCounts, calendar: Calendar = BERLIN) -> Expectation:
    found = learn(hours, calendar)
    assert found is not None
    return found


def judged(hours: HourlyCounts, calendar: Calendar = BERLIN) -> dict[int, WindowScore]:
    """Return the windows at the newest of ``hours``, learnt a day before."""
    before = HourlyCounts(hours.start_ms, hours.counts[:-DAY])
    return judge(learnt(before, calendar), hours, calendar)


@pytest.mark.parametrize("per_day", [40, 600, 8000])
@pytest.mark.parametrize("weeks", [2, 5])
def test_the_expectation_is_the_true_mean_and_chance_alone_is_no_distance(
    per_day: float, weeks: int
) -> None:
    true = means(rhythm(per_day), weeks * WEEK, BERLIN.zone)
    runs = [judged(counts(drawn(true, seed))) for seed in range(10)]

    for length in WINDOWS:
        due = sum(true[-length:])
        expected = [run[length].expected for run in runs]
        assert mean(expected) == pytest.approx(due, rel=0.2, abs=1)
        assert max(abs(run[length].score) for run in runs) < 3.7
        assert stdev(run[length].score for run in runs) < 1.5


@pytest.mark.parametrize(
    ("per_day", "length", "kept"), [(8000, 1, 0.5), (600, 6, 0.5), (150, 24, 0.5), (40, 48, 0.3)]
)
def test_lost_messages_are_seen_and_the_loss_is_not_expected(
    per_day: float, length: int, kept: float
) -> None:
    true = means(rhythm(per_day), 5 * WEEK - 3 * DAY - 8, BERLIN.zone)  # until Friday afternoon
    lost = [each * (kept if at >= len(true) - length else 1) for at, each in enumerate(true)]

    window = judged(counts(drawn(lost)))[length]

    assert window.expected == pytest.approx(sum(true[-length:]), rel=0.2)
    assert window.score < -3


def test_windows_with_an_hour_that_is_not_known_are_not_judged() -> None:
    hours = [*drawn(means(rhythm(600), 4 * WEEK))]
    unknown: list[float | None] = [None if at == 4 * WEEK - 5 else c for at, c in enumerate(hours)]

    assert set(judged(counts(unknown))) == {1, 3}
    assert set(judged(counts(hours[:-1] + [None]))) == set()  # noqa: RUF005 - another type


def test_less_than_a_week_is_no_history_and_five_weeks_are_enough() -> None:
    hours = drawn(means(rhythm(600), 6 * WEEK))

    assert learn(counts(hours[: WEEK - 1]), BERLIN) is None
    assert [round(learnt(counts(hours[: n * WEEK])).weeks, 3) for n in (1, 4, 6)] == [1, 4, 5]


@pytest.mark.parametrize("change", [dt.date(2026, 3, 29), dt.date(2026, 10, 25)])
@pytest.mark.parametrize("calendar", [BERLIN, Calendar()], ids=["zone known", "unknown"])
def test_a_change_of_the_clock_is_no_drop(change: dt.date, calendar: Calendar) -> None:
    at = dt.datetime(change.year, change.month, change.day, tzinfo=dt.UTC)
    start_ms = round((at - dt.timedelta(weeks=4)).timestamp() * 1000)
    hours = drawn(means(rhythm(8000), 4 * WEEK + DAY, BERLIN.zone, start_ms))
    expectation = learnt(counts(hours[: 4 * WEEK], start_ms), calendar)

    ends = range(4 * WEEK, len(hours))
    found = [judge(expectation, counts(hours[:end], start_ms), calendar) for end in ends]

    lowest = min(each[length].score for each in found for length in (1, 3, 6))
    assert lowest > -3.8


def test_a_campaign_and_an_outage_of_the_past_are_no_habit() -> None:
    true = means(rhythm(2000), 5 * WEEK, BERLIN.zone)
    past = [
        each * (4 if WEEK + 30 <= at < WEEK + 60 else 0 if 3 * WEEK <= at < 3 * WEEK + 24 else 1)
        for at, each in enumerate(true)
    ]

    expected = expected_hours(learnt(counts(drawn(past))), counts(drawn(past)), BERLIN)

    for shown, due in zip(expected[-WEEK:], true[-WEEK:], strict=True):
        assert shown.expected == pytest.approx(due, rel=0.25, abs=8)


@pytest.mark.parametrize("name", ["closed", "festival"])
def test_a_holiday_is_compared_with_the_last_of_its_name_or_not_judged(name: str) -> None:
    free = {dt.date(2026, 1, 22): "closed", dt.date(2026, 2, 5): name}
    calendar = Calendar("UTC", free.get)
    true = means(rhythm(2000), 32 * DAY)
    quiet = [each * (0.3 if at // DAY in {17, 31} else 1) for at, each in enumerate(true)]
    hours = drawn(quiet)

    first = judged(counts(hours[: 18 * DAY]), calendar)
    second = judged(counts(hours), calendar)
    uninformed = judged(counts(hours), Calendar("UTC"))

    assert uninformed[24].score < -4
    assert first == {}
    if name == "festival":
        assert second == {}
    else:
        assert second[24].expected == pytest.approx(sum(quiet[-24:]), rel=0.15)
        assert abs(second[24].score) < 2


def test_hours_are_expected_as_the_windows_of_one_hour_were() -> None:
    hours = counts(drawn(means(rhythm(600), 4 * WEEK)))
    expectation = learnt(HourlyCounts(hours.start_ms, hours.counts[:-DAY]))

    charted = expected_hours(expectation, hours, BERLIN)[-DAY:]

    for back, shown in enumerate(reversed(charted)):
        seen = HourlyCounts(hours.start_ms, hours.counts[: len(hours.counts) - back])
        window = judge(expectation, seen, BERLIN)[1]
        assert shown.start_ms == seen.end_ms - HOUR_MS
        assert (shown.engagement, shown.expected, shown.deviation) == pytest.approx(
            (window.engagement, window.expected, window.deviation)
        )


HOURS = st.lists(
    st.none() | st.integers(0, 3) | st.integers(0, 10**6), min_size=WEEK, max_size=3 * WEEK
)


@settings(max_examples=12, deadline=None)
@given(hours=HOURS, calendar=st.sampled_from([BERLIN, Calendar(), Calendar("Asia/Kolkata")]))
def test_whatever_the_hours_the_numbers_are_sound(
    hours: list[int | None], calendar: Calendar
) -> None:
    given_hours = counts([None if each is None else float(each) for each in hours])
    expectation = learn(given_hours, calendar)
    if expectation is None:
        assert sum(each is not None for each in hours) < WEEK + 48
        return

    for length, window in judge(expectation, given_hours, calendar).items():
        newest = [each for each in hours[-length:] if each is not None]
        assert (len(newest), window.engagement) == (length, sum(newest))
        assert window.expected >= 0
        assert window.deviation**2 >= window.expected
        assert (window.score > 0) == (window.engagement > window.expected)


@settings(max_examples=6, deadline=None)
@given(more=st.integers(1, 500), weeks=st.integers(1, 30))
def test_more_messages_raise_the_score_and_the_date_changes_nothing(more: int, weeks: int) -> None:
    hours = drawn(means(rhythm(600), 3 * WEEK))
    raised = [*hours[:-1], hours[-1] + more]
    later_ms = MONDAY_MS + weeks * WEEK * HOUR_MS
    utc = Calendar()

    plain, higher = judged(counts(hours), utc), judged(counts(raised), utc)

    assert all(higher[length].score > plain[length].score for length in WINDOWS)
    assert judged(replace(counts(hours), start_ms=later_ms), utc) == plain


def test_the_history_of_a_new_bot_begins_with_its_first_message() -> None:
    true = means(rhythm(600), 5 * WEEK)
    new = [each * (at >= 3 * WEEK) for at, each in enumerate(true)]

    expectation = learnt(counts(drawn(new)), Calendar())

    assert expectation.weeks == pytest.approx(2, abs=0.1)
    expected = expected_hours(expectation, counts(drawn(new)), Calendar())
    due = sum(each.expected or 0.0 for each in expected[-WEEK:])
    assert due == pytest.approx(sum(new[-WEEK:]), rel=0.1)


WEEKS = 5


def shapes_of_their_own(per_day: float) -> Mean:
    """Return another peak on each weekday."""

    def mean(at: dt.datetime) -> float:
        away = (at.hour - 8 - 2 * at.weekday()) / DAY * 2 * math.pi
        return per_day / DAY * (1 + 0.8 * math.cos(away))

    return mean


def table_of(mean: Mean) -> WeeklyTable:
    hours = WEEKS * WEEK
    return weekly_table(drawn(means(mean, hours)), [n % WEEK for n in range(hours)], [True] * hours)


@pytest.mark.parametrize("per_day", [40, 8_000])
def test_days_that_differ_by_their_level_share_a_shape(per_day: int) -> None:
    assert table_of(rhythm(per_day)).own < 0.1


def test_days_with_shapes_of_their_own_are_expected_by_their_own_hours() -> None:
    small, large = table_of(shapes_of_their_own(150)), table_of(shapes_of_their_own(8_000))
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


def arrived(shares: list[float], hours: int, step: int = 1, ends: Sequence[int] = ()) -> Arrivals:
    """Return what is learnt where the newest hours have ``shares`` of 500 messages so far.

    Readings that end at the hours ``ends`` come first.
    """
    arrivals = Arrivals()
    for end in (*ends, *range(100, 100 + hours, step)):
        arrivals.note(end * HOUR_MS, [*[500.0] * 12, *[500 * share for share in shares[::-1]]])
    return arrivals


def test_the_shares_of_the_newest_hours_are_learnt_within_a_day() -> None:
    assert arrived([0.85, 0.95], 24).shares == pytest.approx((0.85, 0.95, 1), abs=0.01)


@pytest.mark.parametrize("shares", [[1.0, 1.0], [1.2]], ids=["complete", "taken back"])
def test_nothing_is_taken_off_where_hours_are_complete(shares: list[float]) -> None:
    assert arrived(shares, 48).shares == (1.0,) * AGES


def test_hours_while_the_clock_was_ahead_do_not_hold_up_learning() -> None:
    assert arrived([0.85], 24, ends=(999, 1000)).shares == arrived([0.85], 24).shares


def test_hours_that_came_late_teach_nothing() -> None:
    assert arrived([0.5], 24, step=2).shares == (1.0,) * AGES
