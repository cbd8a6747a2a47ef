"""The scripted truth."""

from itertools import pairwise

from exporter.simulator.conversations import DAY_MS as DAY
from exporter.simulator.conversations import HOUR_MS as HOUR
from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from tests.support.virtual import START_MS

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
    traffic = Traffic(1, late_share=0.2)
    traffic.add(Kind.NEW_USER, NOON + 5)
    hours = [NOON + number * HOUR for number in range(30)]

    levels = [traffic.known_users(hour, LATER) for hour in hours]
    rises = [traffic.truth(Kind.NEW_USER, window, LATER) for window in pairwise(hours)]

    assert [after - before for before, after in pairwise(levels)] == rises
    assert sum(rises) > 100
    month = (hours[-1] - 30 * DAY, hours[-1])
    assert traffic.active_users(hours[-1], LATER) == traffic.truth(Kind.NEW_USER, month, LATER)
