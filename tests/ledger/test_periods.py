"""Which settled hour and day a query shows, in zones of every offset."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.ledger.rules import settled_periods
from exporter.ledger.tables import gap
from exporter.ledger.transfer import check
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from tests.support.builders import INTERACTIONS, RECEIVED, spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS, VirtualClock

GAUGE = "chatbot_period_messages_received"


def window(start: str, hours: float) -> Window:
    """Return the window that begins at ``start``, an ISO time with an offset."""
    start_ms = round(datetime.fromisoformat(start).timestamp() * 1000)
    return Window(start_ms, start_ms + round(timedelta(hours=hours).total_seconds() * 1000))


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "until", "hour", "day"),
    [
        ("UTC", "2026-03-03T10", "2026-03-03T09:00Z", ("2026-03-02T00:00Z", 24)),
        ("Europe/Berlin", "2026-03-30T10", "2026-03-30T09:00Z", ("2026-03-29T00:00+01:00", 23)),
        ("Asia/Kolkata", "2026-03-03T10", "2026-03-03T09:00Z", None),
        ("Asia/Kathmandu", "2026-03-03T10", "2026-03-03T09:00Z", None),
        # Summer is 11 hours from UTC, winter 10 and a half.
        ("Australia/Lord_Howe", "2026-03-03T10", "2026-03-03T09:00Z", ("2026-03-02T00:00+11:00", 24)),
        ("Australia/Lord_Howe", "2026-04-05T18", "2026-04-05T17:00Z", None),
        ("Australia/Lord_Howe", "2026-07-03T10", "2026-07-03T09:00Z", None),
    ],
)  # fmt: skip
def test_hours_of_utc_are_shown_in_every_zone_and_days_where_they_are_whole_hours(
    zone: str, until: str, hour: str, day: tuple[str, float] | None
) -> None:
    found = settled_periods(spec(timezone=zone), ms(until), 0)

    assert found == {"hour": window(hour, 1)} | ({"day": window(*day)} if day else {})


@pytest.mark.parametrize(
    ("until", "hour"),
    [
        ("2026-10-25T00", "2026-10-24T23:00Z"),
        ("2026-10-25T01", "2026-10-24T23:00Z"),  # 02:00 comes again: its bucket is not over
        ("2026-10-25T02", None),  # the bucket is two hours long
        ("2026-10-25T03", "2026-10-25T02:00Z"),
    ],
)
def test_an_hour_that_a_clock_change_repeats_is_not_shown(until: str, hour: str | None) -> None:
    found = settled_periods(spec(timezone="Europe/Berlin", local_hours=True), ms(until), 0)

    assert found.get("hour") == (None if hour is None else window(hour, 1))


@pytest.mark.parametrize(
    ("zone", "hour", "day"),
    [
        ("UTC", "2026-03-03T09:00Z", ("2026-03-02T00:00Z", 24)),
        ("Asia/Kolkata", "2026-03-03T14:00+05:30", ("2026-03-02T00:00+05:30", 24)),
        ("Asia/Kathmandu", "2026-03-03T14:00+05:45", ("2026-03-02T00:00+05:45", 24)),
        ("America/St_Johns", "2026-03-03T05:00-03:30", ("2026-03-02T00:00-03:30", 24)),
        ("Australia/Lord_Howe", "2026-03-03T20:00+11:00", ("2026-03-02T00:00+11:00", 24)),
    ],
)
def test_hours_of_a_zone_are_shown_as_they_begin_there(
    zone: str, hour: str, day: tuple[str, float]
) -> None:
    found = settled_periods(spec(timezone=zone, local_hours=True), ms("2026-03-03T10"), 0)

    assert found == {"hour": window(hour, 1), "day": window(*day)}


def test_a_day_of_local_hours_has_the_half_hour_of_the_change() -> None:
    lord_howe = spec(timezone="Australia/Lord_Howe", local_hours=True)

    day = settled_periods(lord_howe, ms("2026-04-05T18"), 0)["day"]

    assert day == window("2026-04-05T00:00+11:00", 24.5)


@pytest.mark.parametrize(("shown", "periods"), [(True, {"day", "hour"}), (False, set())])
def test_period_gauges_are_shown_unless_the_settings_say_no(
    shown: bool,
    periods: set[str],
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    driver = LedgerDriver(tmp_path, spec(period_gauges=shown), clock=clock)
    hour = START_MS // HOUR_MS * HOUR_MS
    driver.poll({hour - HOUR_MS: 3})
    clock.step(DAY_MS + 2 * HOUR_MS)

    driver.poll({hour + DAY_MS - HOUR_MS: 4})

    assert {labels[-1] for labels in driver.shown(GAUGE)} == periods
    assert driver.view().state.periods.keys() == periods
    assert driver.shown(RECEIVED)
    driver.close()


def test_what_could_not_be_read_is_neither_0_nor_an_hour_of_engagement(tmp_path: Path) -> None:
    """The family is not read for longer than polls look back; each hour has 5 messages."""
    clock = VirtualClock()
    shown, judged = dict[int, list[float]](), dict[int, tuple[float | None, ...]]()
    with LedgerDriver(tmp_path, spec(lookback_ms=6 * HOUR_MS), clock=clock) as driver:
        for number in range(16):
            claim = driver.claim()
            hours = range(driver.window(claim).start_ms, clock.now_ms() + 1, HOUR_MS)
            lacks = {"kept": frozenset({RECEIVED})} if 2 <= number < 11 else {}
            driver.poll({} if lacks else dict.fromkeys(hours, 5), claim=claim, **lacks)
            shown[number] = [value for key, value in driver.shown(GAUGE).items() if "hour" in key]
            found = driver.ledger.settled_hours(driver.spec.key, 48)
            judged[number] = next(iter(found.bots.values()), ()) if found else ()
            clock.step(HOUR_MS)
        gaps = driver.rows(gap)

    known = [0, 1, *range(11, 16)]
    assert shown == {number: [5] if number in known else [] for number in range(16)}
    assert [number for number, hours in judged.items() if hours] == known
    assert set(judged[15]) == {5, None}  # those that were read too late are unknown
    assert (judged[15].count(None), gaps) == (5, 1)


@pytest.mark.parametrize(
    ("reach_hours", "polls"),
    [
        (None, [0, *range(1, 21), 21, *range(22, 32), 32]),
        (12, [0, *range(1, 11), 40, 41]),  # an outage beyond the API's reach
    ],
)
def test_no_hour_is_in_two_gaps(tmp_path: Path, reach_hours: int | None, polls: list[int]) -> None:
    """Received is missing at first, and interactions for longer."""
    reach_ms = reach_hours and reach_hours * HOUR_MS
    lookback = spec(lookback_ms=6 * HOUR_MS, reach_ms=reach_ms, initial_lookback_ms=None)
    with LedgerDriver(tmp_path, lookback) as driver:
        begun_ms = driver.clock.now_ms()
        for hour in polls:
            driver.clock.step(begun_ms + hour * HOUR_MS - driver.clock.now_ms())
            missing = [RECEIVED] * (0 < hour < 21) + [INTERACTIONS] * (0 < hour < polls[-1])
            driver.poll(kept=frozenset(missing))
        gaps = driver.rows(gap)
        lost_h = driver.counted("coverage_gap_seconds_total") / 3600
        numbers = gaps, driver.counted("coverage_gaps_total")
    wrong = check(driver.url, driver.clock)

    assert (wrong, numbers) == ([], (2, 2))
    assert lost_h == polls[-1] - 5  # since the last settled hour, up to the lookback
