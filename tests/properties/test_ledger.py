"""P1 to P7, P10 and P15: one query through all that can happen to it, on a real ledger."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from exporter.model.query import LabelRule
from exporter.model.samples import DAY_MS, HOUR_MS, OTHER, Window, floor_to
from tests.support.builders import spec
from tests.support.effort import examples
from tests.support.past import Dials, Past
from tests.support.till import Killed, Till, killed_at, scratch

CHANNELS = ("web", "sms", "app")
MINUTE_MS = 60_000
NAMINGS: tuple[Mapping[str, LabelRule], ...] = (
    {},
    {"channel": LabelRule({"web": "site"})},
    {"channel": LabelRule({"web": "site", "app": "site"})},
    {"channel": LabelRule(allow=frozenset({"web"}))},
)
channels = st.sampled_from(CHANNELS)
seeds = st.integers(0, 2**32)
PATIENCE_MS = 6 * HOUR_MS


class Account(RuleBasedStateMachine):
    """A vendor's account and the ledger that follows it; ``past`` and ``dials`` are the truth."""

    def __init__(self) -> None:
        super().__init__()
        self._scratch = scratch()
        self.folder = self._scratch.__enter__()
        self.past = Past()
        self.skew_ms = 0
        self.asleep = False
        self.label_rules_changed = False
        self.written: dict[str, float] = {}

    @initialize(patient=st.booleans(), lookback=st.sampled_from([2, 6, 48]))
    def open(self, patient: bool, lookback: int) -> None:  # noqa: FBT001
        patience_ms = None if patient else PATIENCE_MS
        query = spec(write_off_after_ms=patience_ms, lookback_ms=lookback * HOUR_MS)
        self.till = Till(self.folder, query)
        self.dials = Dials(patience_ms, self.till.name)
        self.label_rules = query.label_rules

    def teardown(self) -> None:
        if hasattr(self, "till"):
            self.till.close()
        self._scratch.__exit__(None, None, None)

    def hour(self, back: int) -> int:
        return floor_to(self.till.clock.now_ms() - self.skew_ms, HOUR_MS) - back * HOUR_MS

    # What the vendor does.

    @rule(channel=channels, back=st.integers(0, 4), units=st.integers(1, 60))
    def something_happens(self, channel: str, back: int, units: int) -> None:
        self.past.change(channel, self.hour(back), units)

    @rule(channel=channels, back=st.integers(0, 4), units=st.integers(1, 300))
    def the_vendor_takes_back(self, channel: str, back: int, units: int) -> None:
        self.past.change(channel, self.hour(back), -units)

    @rule()
    def the_vendor_loses_most_of_it(self) -> None:
        for (channel, hour_ms), figure in self.past.figures().items():
            self.past.change(channel, hour_ms, -round(figure * 0.9))

    # What time does.

    @rule(minutes=st.integers(1, 200))
    def time_passes(self, minutes: int) -> None:
        self.till.clock.step(minutes * MINUTE_MS)

    @rule(days=st.sampled_from([1, 3, 40]))
    def days_pass(self, days: int) -> None:
        self.till.clock.step(days * DAY_MS)

    @precondition(lambda self: self.skew_ms <= 0 and not self.label_rules_changed)
    @rule()
    def the_clock_is_set_forward(self) -> None:
        self.till.clock.step(HOUR_MS)
        self.skew_ms += HOUR_MS

    @precondition(lambda self: self.skew_ms >= 0 and not self.label_rules_changed)
    @rule()
    def the_clock_is_set_back(self) -> None:
        self.till.clock.step(-HOUR_MS)
        self.skew_ms -= HOUR_MS

    @rule()
    def the_ledger_is_tended(self) -> None:
        _, counted = self.till.ledger.maintain()
        self.dials.move(Counter(), self.till.clock.now_ms())
        assert sum(counted.values()) >= 0
        self.asleep = True

    @rule()
    def the_ledger_is_swept(self) -> None:
        before = self.till.shown()
        self.till.ledger.compact()
        assert self.till.shown() == before

    # What the operator does.

    @rule()
    def it_restarts(self) -> None:
        before = self.till.shown()
        self.till.restart()
        assert self.till.shown() == before

    @rule()
    def it_is_killed(self) -> None:
        before = self.till.shown()
        self.till.kill()
        assert self.till.shown() == before

    @rule(label_rules=st.sampled_from(NAMINGS))
    def labels_change(self, label_rules: Mapping[str, LabelRule]) -> None:
        self.till.restart(replace(self.till.spec, label_rules=label_rules))
        self.label_rules_changed = True

    @rule()
    def the_meaning_changes(self) -> None:
        query = self.till.spec
        self.till.restart(replace(query, meaning={"v": query.meaning["v"] + 1}))
        self.label_rules = self.till.spec.label_rules
        self.past.forget()

    @rule()
    def zeros_are_scraped(self) -> None:
        self.till.counters()

    # What polls do.

    @rule(seed=seeds, parts=st.integers(1, 3), times=st.integers(1, 2))
    def a_poll_is_answered(self, seed: int, parts: int, times: int) -> None:
        for attempt in range(3):
            if self.poll(seed, parts, times, confirmed=attempt == 2):
                break
        else:
            raise AssertionError("held back for ever")
        self.check()

    @rule(seed=seeds)
    def a_poll_breaks_off(self, seed: int) -> None:
        self.poll(seed, parts=3, times=1, breaks=True)

    @rule()
    def a_poll_fails(self) -> None:
        self.till.fail(self.till.claim())

    @rule(seed=seeds, number=st.integers(0, 60))
    def a_poll_is_killed_within(self, seed: int, number: int) -> None:
        claim = self.till.claim()
        window = self.till.asks(claim)
        if self.past.odd(window, self.moved()):
            self.till.fail(claim)  # of what is held back, nothing could be lost
            return
        (reading,) = self.till.readings(self.past, window, Random(seed))  # noqa: S311
        try:
            with killed_at(number) as done:
                self.till.apply(claim, reading)
        except Killed:
            pass
        else:
            assert done[-1] == "COMMIT"
            self.note(reading.window, last=True)
        self.till.kill()

    def poll(
        self, seed: int, parts: int, times: int, *, confirmed: bool = False, breaks: bool = False
    ) -> bool:
        """Poll once; return whether the whole answer was applied."""
        claim = self.till.claim()
        window = self.till.asks(claim)
        readings = self.till.readings(self.past, window, Random(seed), parts)  # noqa: S311
        for reading in readings[: 1 if breaks else None]:
            odd = self.past.begun and self.past.odd(reading.window, self.moved())
            held = self.till.apply(claim, reading, times=times)
            if parts == 1:
                assert held == (odd and not confirmed)
            if held:
                self.till.end(claim, held=True)
                return False
            self.note(reading.window, last=not reading.more, forgive=odd)
        if breaks:
            self.till.fail(claim)
            return False
        self.till.end(claim)
        return True

    def note(self, window: Window, *, last: bool, forgive: bool = False) -> None:
        """Let the truth know what a poll has read."""
        moved = self.moved()
        news = self.past.read(window)
        for channel in moved:
            news[channel] = 0
        self.dials.name = self.till.name
        self.dials.move(news, self.till.clock.now_ms(), forgive=forgive)
        if last:
            self.past.begun = True
            self.label_rules = self.till.spec.label_rules

    def moved(self) -> set[str]:
        """Return the channels whose series is not what it was when last read."""
        return {
            channel
            for channel in CHANNELS
            if members(self.label_rules, channel) != members(self.till.spec.label_rules, channel)
        }

    def check(self) -> None:
        shown = self.till.counters()
        for channel in CHANNELS:
            series = self.till.name(channel)
            expected = self.dials.dials[series].shows
            if series in shown:
                assert shown[series] == expected, series
            else:
                assert self.asleep or expected == 0, series
        reached = {self.till.name(channel) for channel in CHANNELS}
        ahead = sum(
            dial.shows - dial.truth - dial.forgiven
            for series, dial in self.dials.dials.items()
            if series in shown
        )
        assert self.till.overhang() == ahead
        assert reached >= shown.keys() or self.label_rules_changed

    @invariant()
    def no_counter_falls(self) -> None:
        if hasattr(self, "till"):
            self.till.shown()


def members(label_rules: Mapping[str, LabelRule], channel: str) -> tuple[str, frozenset[str]]:
    """Return the series of a channel and which channels share it."""
    rule_ = label_rules.get("channel", LabelRule())
    mine = rule_.name(channel)
    if mine == OTHER:
        return mine, frozenset({"everything else"} | {c for c in CHANNELS if rule_.name(c) == mine})
    return mine, frozenset(c for c in CHANNELS if rule_.name(c) == mine)


def test_counters_tell_the_truth_whatever_happens() -> None:
    effort = settings(examples(40), stateful_step_count=25)
    run_state_machine_as_test(Account, settings=effort)
