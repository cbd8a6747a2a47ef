"""The demo's vendors: busy at any hour, with a past that costs little, and with troubles."""

from itertools import pairwise

import pytest

from exporter.simulator.conversations import DAY_MS, HOUR_MS, Kind
from exporter.simulator.scenario import DROP_HOURS, LATE_MS, VENDORS, services
from exporter.simulator.traffic import SIZE, Crowd, Traffic
from tests.support.virtual import VirtualClock

MIDNIGHT = 1_772_496_000_000  # 2026-03-03
NOW = MIDNIGHT + 15 * HOUR_MS


def made(now_ms: int = NOW) -> tuple[VirtualClock, dict[str, Traffic]]:
    clock = VirtualClock(now_ms)
    found = services(clock, 1, xenioo_period_ms=8_000)
    return clock, {name: service.traffic for name, service in found.items()}


@pytest.mark.parametrize("kind", Kind)
def test_an_hour_has_the_same_sums_whether_it_is_past_or_live(kind: Kind) -> None:
    past, live = [
        Traffic(crowd=Crowd(1, lambda _: 500, live_ms=at)) for at in (NOW, NOW - 12 * HOUR_MS)
    ]
    window, by = (MIDNIGHT + 4 * HOUR_MS, MIDNIGHT + 6 * HOUR_MS), ("channel", "environment")

    sums = past.hourly(kind, window, NOW, by=by)

    assert sums == live.hourly(kind, window, NOW, by=by)
    assert sums.total() == past.truth(kind, window, NOW) == live.truth(kind, window, NOW) > 0
    assert past.hourly(kind, window, NOW, by=("user",)).total() == sums.total()


def test_a_crowd_knows_its_users() -> None:
    traffic = Traffic(crowd=Crowd(1, lambda _: 500, live_ms=NOW))

    rise = traffic.known_users(NOW, NOW) - traffic.known_users(NOW - HOUR_MS, NOW)

    assert rise == traffic.truth(Kind.NEW_USER, (NOW - HOUR_MS, NOW), NOW + DAY_MS)
    assert traffic.active_users(NOW, NOW) > SIZE


@pytest.mark.parametrize("hour", [3, 15])
@pytest.mark.parametrize("name", VENDORS)
def test_something_happens_every_ten_seconds_at_any_hour(name: str, hour: int) -> None:
    start = MIDNIGHT + hour * HOUR_MS
    _, traffic = made(start)
    window = (start - VENDORS[name].delay_ms - HOUR_MS, start + HOUR_MS)

    seen = [
        traffic[name].truth(Kind.MESSAGE_RECEIVED, window, at)
        for at in range(start, start + 120_000, 10_000)
    ]

    assert all(after > before for before, after in pairwise(seen))


def test_each_vendor_has_its_volume_and_one_its_drop() -> None:
    _, traffic = made()
    begin = NOW - 7 * DAY_MS

    def count(name: str, start_ms: int) -> int:
        window = (start_ms, start_ms + (DROP_HOURS - 4) * HOUR_MS)
        return traffic[name].truth(Kind.MESSAGE_RECEIVED, window, NOW)

    week_ago = {name: count(name, begin - 6 * HOUR_MS) for name in VENDORS}
    today = {name: count(name, NOW - 7 * HOUR_MS) for name in VENDORS}
    assert sorted(VENDORS, key=lambda name: week_ago[name]) == sorted(
        VENDORS, key=lambda name: VENDORS[name].per_hour
    )
    shares = {name: today[name] / week_ago[name] for name in VENDORS}
    assert [name for name, share in shares.items() if share < 0.4] == ["flowxo"]


def test_one_vendor_is_late_and_one_takes_counts_back() -> None:
    _, traffic = made()
    hour = (NOW - HOUR_MS, NOW)
    minute = (NOW, NOW + 60_000)

    late = [name for name in VENDORS if not traffic[name].truth(Kind.INTERACTION, hour, NOW)]
    counts = [
        traffic["chatlayer"].truth(Kind.CONVERSATION_STARTED, minute, NOW + seconds * 1000)
        for seconds in (0, 59, 61)
    ]

    assert late == ["inkeep"]
    assert traffic["inkeep"].truth(Kind.INTERACTION, hour, NOW + LATE_MS)
    assert counts[1] > counts[2] > counts[0]
