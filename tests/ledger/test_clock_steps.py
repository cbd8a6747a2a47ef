"""A clock that was ahead leaves nothing behind once it is corrected.

The vendor reports ten messages in each hour of true time, or one event a minute.
"""

from collections.abc import Collection

import pytest
import sqlalchemy as sa

from exporter.ledger import replicas
from exporter.ledger.rows import Applied
from exporter.ledger.tables import gap, replica
from exporter.model.query import LabelRule
from exporter.model.samples import DAY_MS, HOUR_MS, MINUTE_MS, Event
from tests.ledger.conftest import Start
from tests.support.builders import RECEIVED, received, spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

HOURLY = 10.0
PERIOD = "chatbot_period_messages_received"


class Scene:
    """A query whose clock may be ``ahead_ms`` ahead of the vendor's."""

    def __init__(self, driver: LedgerDriver) -> None:
        self.driver = driver
        self.ahead_ms = 0

    @property
    def true_ms(self) -> int:
        return self.driver.clock.now_ms() - self.ahead_ms

    def set_ahead(self, by_ms: int) -> None:
        self.driver.clock.step(by_ms - self.ahead_ms)
        self.ahead_ms = by_ms
        if not by_ms:
            assert self.driver.ledger.correct_clock()

    def poll(self, *, kept: Collection[str] = ()) -> Applied:
        claim = self.driver.claim()
        window = self.driver.window(claim)
        hours = range(window.start_ms, min(window.end_ms, self.true_ms), HOUR_MS)
        found = {} if kept else {("web", hour): HOURLY for hour in hours}
        return self.driver.poll(found, claim=claim, kept=frozenset(kept))

    def drain(self, *, since_ms: int = START_MS) -> Applied:
        claim = self.driver.claim()
        window = self.driver.window(claim)
        first_ms = since_ms + MINUTE_MS
        minutes = range(first_ms, min(window.end_ms, self.true_ms), MINUTE_MS)
        events = [_event(at_ms) for at_ms in minutes if window.holds(at_ms)]
        return self.driver.poll(
            claim=claim, window=window, events=events, watermark_ms=window.end_ms
        )

    def wait(self, hours: float, **polls: Collection[str]) -> None:
        for _ in range(round(hours)):
            self.driver.clock.step(HOUR_MS)
            self.poll(**polls)

    def periods(self) -> dict[str, float]:
        shown = self.driver.view().shown
        return {each.labels[-1]: each.value for each in shown if each.family == PERIOD}


def _event(at_ms: int) -> Event:
    return Event(at_ms.to_bytes(16), at_ms, (received("web"),), 0)


@pytest.mark.parametrize("minutes", [30, 60, 120])
def test_a_stream_loses_no_event_of_the_time_in_which_its_clock_was_ahead(
    start: Start, minutes: int
) -> None:
    scene = Scene(start(stream=True, lookback_ms=15 * MINUTE_MS))
    scene.drain()
    scene.driver.clock.step(20 * MINUTE_MS)
    scene.drain()
    scene.set_ahead(2 * HOUR_MS)
    for _ in range(minutes):
        scene.driver.clock.step(MINUTE_MS)
        scene.drain()
    scene.set_ahead(0)

    scene.driver.clock.step(MINUTE_MS // 2)
    scene.drain()

    assert scene.driver.counter("web") == 20 + minutes
    assert scene.driver.counted("coverage_gaps_total") == 0


def test_a_stream_without_events_is_read_from_its_epoch(start: Start) -> None:
    scene = Scene(start(stream=True, lookback_ms=15 * MINUTE_MS))
    scene.drain()
    scene.set_ahead(2 * HOUR_MS)
    scene.driver.clock.step(HOUR_MS)
    scene.drain(since_ms=START_MS + 4 * HOUR_MS)
    scene.set_ahead(0)

    scene.drain(since_ms=START_MS)

    assert scene.driver.counter("web") == 59


def test_a_stream_whose_meaning_changed_meanwhile_counts_from_its_correction(start: Start) -> None:
    traits = {"stream": True, "lookback_ms": 15 * MINUTE_MS}
    scene = Scene(start(**traits))
    scene.drain()
    scene.driver.clock.step(10 * MINUTE_MS)
    scene.drain()
    before = scene.driver.counter("web")
    scene.set_ahead(3 * HOUR_MS)
    scene.driver.reopen(spec(**traits, meaning={"v": 2}))
    scene.drain()
    scene.driver.clock.step(MINUTE_MS)
    scene.set_ahead(0)
    scene.drain()
    since_ms = scene.driver.clock.now_ms()

    scene.driver.clock.step(2 * HOUR_MS)
    scene.drain(since_ms=since_ms)

    assert scene.driver.counter("web") - before == 119


def test_labels_that_changed_meanwhile_leave_no_hour_uncounted(start: Start) -> None:
    scene = Scene(start(lookback_ms=2 * DAY_MS))
    scene.poll()
    scene.wait(3)
    scene.set_ahead(10 * DAY_MS)
    scene.poll()
    scene.driver.clock.step(MINUTE_MS)
    scene.driver.reopen(
        spec(
            lookback_ms=2 * DAY_MS,
            label_rules={"channel": LabelRule({"web": "site", "app": "web"})},
        )
    )
    scene.poll()
    scene.driver.clock.step(MINUTE_MS)
    scene.set_ahead(0)

    scene.wait(72)

    assert scene.driver.counter("web") == HOURLY * (3 + 72)
    assert scene.periods() == {"hour": HOURLY, "day": 24 * HOURLY}


def test_a_gap_of_hours_that_were_still_to_come_ends(start: Start) -> None:
    scene = Scene(start(lookback_ms=2 * DAY_MS, reach_ms=5 * DAY_MS))
    scene.poll()
    scene.wait(1)
    scene.set_ahead(10 * DAY_MS)
    scene.poll()
    scene.driver.clock.step(MINUTE_MS)
    scene.set_ahead(0)

    scene.wait(72)

    with scene.driver.transaction() as tx:
        gaps = tx.execute(sa.select(gap)).all()
    settled = scene.driver.ledger.settled_hours(scene.driver.spec.key, 48)
    assert gaps == []
    assert scene.periods() == {"hour": HOURLY, "day": 24 * HOURLY}
    assert settled is not None
    assert {hour for hours in settled.bots.values() for hour in hours} == {HOURLY}


def test_a_clock_that_is_behind_forgets_no_gap(start: Start) -> None:
    scene = Scene(start(lookback_ms=4 * HOUR_MS, reach_ms=DAY_MS))
    scene.poll()
    scene.driver.clock.step(100 * HOUR_MS)
    scene.poll()
    gaps = sa.select(gap.c.from_ms, gap.c.to_ms)
    with scene.driver.transaction() as tx:
        before = tx.execute(gaps).all()

    scene.driver.clock.step(-50 * HOUR_MS)
    scene.driver.ledger.correct_clock()
    scene.driver.clock.step(50 * HOUR_MS)
    scene.poll()

    with scene.driver.transaction() as tx:
        assert tx.execute(gaps).all() == before != []


def test_a_family_that_was_lost_meanwhile_is_absent_not_0(start: Start) -> None:
    scene = Scene(start(lookback_ms=2 * DAY_MS))
    scene.poll()
    scene.wait(30)
    shown = scene.periods()
    scene.set_ahead(5 * DAY_MS)
    scene.poll()
    scene.driver.clock.step(MINUTE_MS)
    scene.poll(kept={RECEIVED})
    scene.driver.clock.step(MINUTE_MS)
    scene.set_ahead(0)

    scene.wait(30, kept={RECEIVED})

    assert shown == {"hour": HOURLY, "day": 24 * HOURLY}
    assert scene.periods() == {}


def test_a_replica_that_ended_meanwhile_is_not_alive(start: Start) -> None:
    driver = start()
    ahead_ms = driver.clock.now_ms() + 10 * DAY_MS
    with driver.transaction() as tx:
        dead = {"holder": "dead", "settings": b"", "generation": 1, "seen_ms": ahead_ms}
        tx.execute(sa.insert(replica).values(dead))

    driver.ledger.correct_clock()
    driver.clock.step(HOUR_MS)

    with driver.transaction() as tx:
        assert not replicas.any_alive(tx, driver.clock.now_ms())
