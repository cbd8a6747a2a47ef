"""What is expected of bots whose true means are known, and how far off it says they are."""

import datetime as dt
from dataclasses import replace
from statistics import mean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.engagement.expectation import (
    WINDOWS,
    Expectation,
    WindowScore,
    expected_hours,
    judge,
    learn,
)
from exporter.engagement.hours import Calendar, HourlyCounts
from exporter.model.samples import HOUR_MS
from tests.engagement.bots import DAY, MONDAY_MS, WEEK, counts, drawn, means, rhythm

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
