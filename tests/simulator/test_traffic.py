"""The truth: scripted, made up, and that of the demo's vendors, which costs little and has troubles."""

from itertools import pairwise

import pytest

from exporter.simulator.conversations import DAY_MS as DAY
from exporter.simulator.conversations import HOUR_MS as HOUR
from exporter.simulator.conversations import Kind
from exporter.simulator.scenario import DROP_HOURS, LATE_MS, VENDORS, services
from exporter.simulator.traffic import SIZE, Crowd, Traffic
from tests.support.virtual import START_MS, VirtualClock

NOON = START_MS // DAY * DAY + 12 * HOUR
LATER = NOON + 30 * DAY


def test_an_hour_asked_again_is_the_same_hour() -> None:
    window = (NOON, NOON + HOUR)
    first = Traffic(7, per_hour=4)
    seen = sorted(one.id for one in first.records(Kind.MESSAGE_RECEIVED, window, LATER))
    for hour in range(120):
        first.truth(Kind.GOAL, (NOON + hour * HOUR, NOON + (hour + 1) * HOUR), LATER * 2)

    again = sorted(one.id for one in first.records(Kind.MESSAGE_RECEIVED, window, LATER))
    other = sorted(
        one.id for one in Traffic(7, per_hour=4).records(Kind.MESSAGE_RECEIVED, window, LATER)
    )

    assert len(seen) > 4
    assert seen == again == other


def test_parts_of_a_window_add_up_to_the_whole() -> None:
    traffic = Traffic(3)
    borders = [NOON, NOON + 20 * 60_000, NOON + 90 * 60_000, NOON + 5 * HOUR]

    parts = [traffic.truth(Kind.MESSAGE_SENT, part, LATER) for part in pairwise(borders)]

    assert all(parts)
    assert sum(parts) == traffic.truth(Kind.MESSAGE_SENT, (borders[0], borders[-1]), LATER)


def test_a_share_of_the_generated_records_is_late() -> None:
    traffic = Traffic(1, per_hour=200, late_share=0.2)
    window = (NOON, NOON + HOUR)

    at_close = traffic.truth(Kind.INTERACTION, window, NOON + HOUR)
    settled = traffic.truth(Kind.INTERACTION, window, NOON + HOUR + 90 * 60_000)

    assert 0.8 * settled < at_close < 0.95 * settled
    assert settled == traffic.truth(Kind.INTERACTION, window, LATER)


def test_a_scripted_record_shows_from_its_time_on_and_may_vanish() -> None:
    traffic, window = Traffic(), (NOON, NOON + 1)
    added = traffic.add(Kind.GOAL, NOON, count=5, visible_ms=NOON + 5, channel="web")
    traffic.retract(added[:2], NOON + HOUR)

    shown = [traffic.truth(Kind.GOAL, window, NOON + at) for at in (4, 5, HOUR - 1, HOUR)]

    assert shown == [0, 5, 5, 3]
    assert traffic.truth(Kind.GOAL, window, NOON + 5, channel="sms") == 0
    assert traffic.truth(Kind.GOAL, (NOON + 1, NOON + HOUR), LATER) == 0


def test_amounts_are_summed_by_hour_and_attribute() -> None:
    traffic = Traffic()
    traffic.add(Kind.TOKENS, NOON + 1, amount=100, model="a")
    traffic.add(Kind.TOKENS, NOON + 2, amount=20, model="a")
    traffic.add(Kind.TOKENS, NOON + HOUR, amount=7, model="b")

    sums = traffic.hourly(Kind.TOKENS, (NOON, NOON + 2 * HOUR), LATER, by=("model", "type"))

    assert sums == {(NOON, "a", ""): 120, (NOON + HOUR, "b", ""): 7}


def test_a_generated_record_can_be_retracted_from_settled_hours() -> None:
    traffic = Traffic(1)
    window = (NOON, NOON + 2 * HOUR)
    before = traffic.hourly(Kind.INTERACTION, window, LATER)
    first = next(iter(traffic.records(Kind.INTERACTION, (NOON, NOON + HOUR), LATER)))

    traffic.retract([first], LATER)

    after = traffic.hourly(Kind.INTERACTION, window, LATER)
    assert before.total() == traffic.truth(Kind.INTERACTION, window, LATER - 1)
    assert before - after == {(NOON,): 1}


def test_known_users_rise_by_the_new_users_of_the_hour() -> None:
    traffic = Traffic(1, per_hour=20, late_share=0.2)
    traffic.add(Kind.NEW_USER, NOON + 5)
    hours = [NOON + number * HOUR for number in range(30)]

    levels = [traffic.known_users(hour, LATER) for hour in hours]
    rises = [traffic.truth(Kind.NEW_USER, window, LATER) for window in pairwise(hours)]

    assert [after - before for before, after in pairwise(levels)] == rises
    assert sum(rises) > 100
    month = (hours[-1] - 30 * DAY, hours[-1])
    assert traffic.active_users(hours[-1], LATER) == traffic.truth(Kind.NEW_USER, month, LATER)


MIDNIGHT = 1_772_496_000_000  # 2026-03-03
NOW = MIDNIGHT + 15 * HOUR


def made(now_ms: int = NOW) -> tuple[VirtualClock, dict[str, Traffic]]:
    clock = VirtualClock(now_ms)
    found = services(clock, 1, xenioo_period_ms=8_000)
    return clock, {name: service.traffic for name, service in found.items()}


@pytest.mark.parametrize("kind", Kind)
def test_an_hour_has_the_same_sums_whether_it_is_past_or_live(kind: Kind) -> None:
    past, live = [
        Traffic(crowd=Crowd(1, lambda _: 500, live_ms=at)) for at in (NOW, NOW - 12 * HOUR)
    ]
    window, by = (MIDNIGHT + 4 * HOUR, MIDNIGHT + 6 * HOUR), ("channel", "environment")

    sums = past.hourly(kind, window, NOW, by=by)

    assert sums == live.hourly(kind, window, NOW, by=by)
    assert sums.total() == past.truth(kind, window, NOW) == live.truth(kind, window, NOW) > 0
    assert past.hourly(kind, window, NOW, by=("user",)).total() == sums.total()


def test_a_crowd_knows_its_users() -> None:
    traffic = Traffic(crowd=Crowd(1, lambda _: 500, live_ms=NOW))

    rise = traffic.known_users(NOW, NOW) - traffic.known_users(NOW - HOUR, NOW)

    assert rise == traffic.truth(Kind.NEW_USER, (NOW - HOUR, NOW), NOW + DAY)
    assert traffic.active_users(NOW, NOW) > SIZE


@pytest.mark.parametrize("hour", [3, 15])
@pytest.mark.parametrize("name", VENDORS)
def test_something_happens_every_ten_seconds_at_any_hour(name: str, hour: int) -> None:
    start = MIDNIGHT + hour * HOUR
    _, traffic = made(start)
    window = (start - VENDORS[name].delay_ms - HOUR, start + HOUR)

    seen = [
        traffic[name].truth(Kind.MESSAGE_RECEIVED, window, at)
        for at in range(start, start + 120_000, 10_000)
    ]

    assert all(after > before for before, after in pairwise(seen))


def test_each_vendor_has_its_volume_and_one_its_drop() -> None:
    _, traffic = made()
    begin = NOW - 7 * DAY

    def count(name: str, start_ms: int) -> int:
        window = (start_ms, start_ms + (DROP_HOURS - 4) * HOUR)
        return traffic[name].truth(Kind.MESSAGE_RECEIVED, window, NOW)

    week_ago = {name: count(name, begin - 6 * HOUR) for name in VENDORS}
    today = {name: count(name, NOW - 7 * HOUR) for name in VENDORS}
    assert sorted(VENDORS, key=lambda name: week_ago[name]) == sorted(
        VENDORS, key=lambda name: VENDORS[name].per_hour
    )
    shares = {name: today[name] / week_ago[name] for name in VENDORS}
    assert [name for name, share in shares.items() if share < 0.4] == ["flowxo"]


def test_one_vendor_is_late_and_one_takes_counts_back() -> None:
    _, traffic = made()
    hour = (NOW - HOUR, NOW)
    minute = (NOW, NOW + 60_000)

    late = [name for name in VENDORS if not traffic[name].truth(Kind.INTERACTION, hour, NOW)]
    counts = [
        traffic["chatlayer"].truth(Kind.CONVERSATION_STARTED, minute, NOW + seconds * 1000)
        for seconds in (0, 34, 36)
    ]

    assert late == ["inkeep"]
    assert traffic["inkeep"].truth(Kind.INTERACTION, hour, NOW + LATE_MS)
    assert counts[1] > counts[2] > counts[0]
