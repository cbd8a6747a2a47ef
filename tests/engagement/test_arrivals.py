"""How short the newest hours usually are, learnt from a vendor that goes on counting."""

import pytest

from exporter.engagement.hours import AGES, Arrivals
from exporter.model.samples import HOUR_MS


def learnt(shares: list[float], hours: int, step: int = 1) -> Arrivals:
    """Return what is learnt where the newest hours have ``shares`` of 500 messages so far."""
    arrivals = Arrivals()
    for end in range(100, 100 + hours, step):
        arrivals.note(end * HOUR_MS, [*[500.0] * 12, *[500 * share for share in shares[::-1]]])
    return arrivals


def test_the_shares_of_the_newest_hours_are_learnt_within_a_day() -> None:
    assert learnt([0.85, 0.95], 24).shares == pytest.approx((0.85, 0.95, 1), abs=0.01)


@pytest.mark.parametrize("shares", [[1.0, 1.0], [1.2]], ids=["complete", "taken back"])
def test_nothing_is_taken_off_where_hours_are_complete(shares: list[float]) -> None:
    assert learnt(shares, 48).shares == (1.0,) * AGES


def test_hours_that_came_late_teach_nothing() -> None:
    assert learnt([0.5], 24, step=2).shares == (1.0,) * AGES
