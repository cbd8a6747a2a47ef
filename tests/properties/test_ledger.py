"""P1 to P7, P10 and P15: one query through all that can happen to it, on a real ledger."""

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
from tests.support.driver import Killed, LedgerDriver, recorded, scratch
from tests.support.examples import examples
from tests.support.history import History, Oracle, readings, series_of
from tests.support.postgresql import PostgreSQL

CHANNELS = ("web", "sms", "app")
MINUTE_MS = 60_000
LABEL_RULES: tuple[Mapping[str, LabelRule], ...] = (
    {},
    {"channel": LabelRule({"web": "site"})},
    {"channel": LabelRule({"web": "site", "app": "site"})},
    {"channel": LabelRule(allow=frozenset({"web"}))},
)
channels = st.sampled_from(CHANNELS)
seeds = st.integers(0, 2**32)
long_waits = st.sampled_from([5, 7, 24, 72, 40 * 24]).map(lambda hours: 60 * hours)
WRITE_OFF_AFTER_MS = 6 * HOUR_MS
SMALL_LOSS = 60
"""As much may go between two reads without looking like a collapse; by far not the limit of it."""


class Account(RuleBasedStateMachine):
    """A vendor's account and the ledger that follows it; ``history`` has the truth."""

    def __init__(self) -> None:
        super().__init__()
        self._scratch = scratch()
        self.folder = self._scratch.__enter__()
        self.history = History()
        self.skew_ms = 0
        self.asked_from_ms = 0
        self.maintained = False
        self.label_rules_changed = False

    @initialize(
        writes_off=st.booleans(),
        lookback=st.sampled_from([2, 6, 48]),
        days=st.sampled_from([0, 5]),
    )
    def open(self, writes_off: bool, lookback: int, days: int) -> None:
        limit_ms = WRITE_OFF_AFTER_MS if writes_off else None
        query = spec(
            write_off_after_ms=limit_ms,
            lookback_ms=lookback * HOUR_MS,
            initial_lookback_ms=days * DAY_MS,
            span_ms=DAY_MS,
        )
        self.driver = LedgerDriver(self.folder, query, postgresql=self.new_database())
        self.oracle = Oracle(limit_ms)
        self.label_rules = query.label_rules
        for number, channel in enumerate(CHANNELS, start=10):
            self.something_happens(channel, 0, number)
            for back in range(3, 6 * 24, 21):
                self.history.change(channel, self.hour(back), number)

    def new_database(self) -> str | None:
        """Return the URL of an empty PostgreSQL; None for SQLite."""
        return None

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            self.driver.close()
        self._scratch.__exit__(None, None, None)

    def hour(self, back: int) -> int:
        return floor_to(self.driver.clock.now_ms() - self.skew_ms, HOUR_MS) - back * HOUR_MS

    # What the vendor does.

    @rule(channel=channels, back=st.integers(0, 4), units=st.integers(1, 60))
    def something_happens(self, channel: str, back: int, units: int) -> None:
        self.history.change(channel, self.hour(back), units)
        if not self.history.values()["web", self.hour(back)]:
            self.history.change("web", self.hour(back), 1)  # which stays: no hour becomes empty

    @rule(channel=channels, back=st.integers(0, 4), units=st.integers(1, SMALL_LOSS))
    def the_vendor_takes_back_a_little(self, channel: str, back: int, units: int) -> None:
        left = SMALL_LOSS - self.history.unread_losses(self.asked_from_ms - HOUR_MS)
        there = self.history.values()[channel, self.hour(back)] - (channel == "web")
        self.history.change(channel, self.hour(back), -max(0, min(units, left, there)))

    @rule(units=st.integers(3_000, 9_000), hours=st.sampled_from([0, 5, 7]))
    def the_vendor_takes_back_a_small_share_of_much(self, units: int, hours: int) -> None:
        window = self.read_much(units)
        self.lose(window, 0.1)
        assert not self.poll()
        assert max(numbers.overhang for numbers in self.driver.numbers().values()) > 100
        self.driver.clock.step(hours * HOUR_MS)
        self.the_ledger_is_maintained()

    @rule(
        units=st.integers(500, 3_000),
        share=st.sampled_from([0.95, 1.0]),
        meanwhile=st.sampled_from(["nothing", "restarts", "kills"]),
        lasts=st.booleans(),
    )
    def the_vendor_loses_almost_all(
        self,
        units: int,
        share: float,
        meanwhile: str,
        lasts: bool,
    ) -> None:
        """A collapse: nothing changes until two further polls confirm it."""
        losses = self.lose(self.read_much(units), share)
        before = self.driver.numbers()
        for number in range(2 if lasts else 1):
            assert self.poll(), number
            assert self.driver.numbers() == before
            if meanwhile != "nothing":
                self.restart_or_kill(kills=meanwhile == "kills")
        if not lasts:
            for channel, hour_ms, lost in losses:
                self.history.change(channel, hour_ms, lost)
            assert not self.poll()
            assert self.counters() == {name: each.counter for name, each in before.items()}
            return
        assert not self.poll(reset=True)
        assert self.counters() == {name: each.counter for name, each in before.items()}
        self.history.change("web", floor_to(self.driver.clock.now_ms(), HOUR_MS), 5)
        assert not self.poll()
        series = self.series_of("web")
        assert self.counters()[series] == before[series].counter + 5

    def read_much(self, units: int) -> Window:
        """Let a lot happen that is read; return the window of that read."""
        assert not self.poll()
        self.history.change("web", floor_to(self.driver.clock.now_ms(), HOUR_MS), units)
        assert not self.poll()
        return self.window

    def lose(self, window: Window, share: float) -> list[tuple[str, int, int]]:
        rows = self.history.rows(window).items()
        losses = [(channel, hour_ms, round(n * share)) for (channel, hour_ms), n in rows]
        for channel, hour_ms, lost in losses:
            self.history.change(channel, hour_ms, -lost)
        return losses

    def counters(self) -> dict[str, float]:
        return {series: each.counter for series, each in self.driver.numbers().items()}

    def series_of(self, channel: str) -> str:
        return series_of(self.driver.spec, channel)

    # What time does.

    @rule(minutes=st.integers(1, 200) | long_waits)
    def time_passes(self, minutes: int) -> None:
        self.driver.clock.step(minutes * MINUTE_MS)

    @precondition(lambda self: not self.label_rules_changed)
    @rule(back=st.booleans())
    def the_clock_is_set(self, back: bool) -> None:
        """Set it an hour forward or back; at most that from the vendor's."""
        step_ms = -HOUR_MS if back else HOUR_MS
        if abs(self.skew_ms + step_ms) <= HOUR_MS:
            self.driver.clock.step(step_ms)
            self.skew_ms += step_ms

    @rule()
    def the_ledger_is_maintained(self) -> None:
        self.driver.ledger.maintain()
        self.judge()
        self.maintained = True

    @rule()
    def the_ledger_is_compacted(self) -> None:
        before = self.driver.shown()
        self.driver.compact()
        assert self.driver.shown() == before

    # What the operator does.

    @rule(kills=st.booleans())
    def restart_or_kill(self, kills: bool) -> None:
        before = self.driver.shown()
        (self.driver.kill if kills else self.driver.reopen)()
        assert self.driver.shown() == before

    @rule(label_rules=st.sampled_from(LABEL_RULES))
    def labels_change(self, label_rules: Mapping[str, LabelRule]) -> None:
        self.driver.reopen(replace(self.driver.spec, label_rules=label_rules))
        self.label_rules_changed = True

    @rule()
    def the_meaning_changes(self) -> None:
        query = self.driver.spec
        self.driver.reopen(replace(query, meaning={"v": query.meaning["v"] + 1}))
        self.label_rules = self.driver.spec.label_rules
        self.history.begin_anew()

    @rule()
    def zeros_are_scraped(self) -> None:
        self.driver.counters()

    # What polls do.

    @rule(seed=seeds, parts=st.integers(1, 3), times=st.integers(1, 2))
    def a_poll_is_answered(self, seed: int, parts: int, times: int) -> None:
        assert not self.poll(seed, parts, times)
        self.check_shown()

    @rule(seed=seeds)
    def a_poll_breaks_off(self, seed: int) -> None:
        self.poll(seed, parts=3, breaks=True)

    @rule()
    def a_poll_fails(self) -> None:
        self.driver.fail(self.driver.claim())

    @rule(seed=seeds, number=st.integers(0, 60))
    def a_poll_is_killed_within(self, seed: int, number: int) -> None:
        window = self.driver.window(claim := self.driver.claim())
        (reading,) = readings(self.history, self.driver.spec, window, Random(seed))  # noqa: S311
        try:
            with recorded(kill_at=number) as done:
                self.driver.apply(claim, reading)
        except Killed:
            pass
        else:
            assert done[-1] == ("COMMIT", ())
            self.note(reading.window, last=True)
        self.driver.kill()

    @rule(seed=seeds, number=st.integers(1, 5), kill_at=st.none() | st.integers(0, 60))
    def slices_of_the_past_are_read(self, seed: int, number: int, kill_at: int | None) -> None:
        """Read some right after a poll, the last of them perhaps until it is killed."""
        if self.poll(seed):
            return
        for left in reversed(range(number)):
            claim = self.driver.ledger.claim_slice()
            if claim is None or claim.past is None:
                return
            window = self.driver.window(claim)
            (reading,) = readings(self.history, self.driver.spec, window, Random(seed))  # noqa: S311
            resets, held = self.driver.counted("provider_resets_total"), False
            try:
                with recorded(kill_at=None if left else kill_at):
                    held = self.driver.apply(claim, reading, of_past=True).held
                    self.driver.ledger.end_slice(claim)
            except Killed:
                held = self.driver.numbers() == self.oracle.last and claim.past.audits
                self.driver.kill()
            if not held and claim.past.audits:
                self.history.read(window, self.series_of)
            elif not held:
                self.history.read_past(window)
            self.judge(reset=self.driver.counted("provider_resets_total") > resets)

    def poll(
        self,
        seed: int = 0,
        parts: int = 1,
        times: int = 1,
        *,
        breaks: bool = False,
        reset: bool = False,
    ) -> bool:
        """Poll once; return whether the answer was held back. ``reset``: it confirms a collapse."""
        claim = self.driver.claim()
        self.window = self.driver.window(claim)
        self.asked_from_ms = self.window.start_ms
        rng = Random(seed)  # noqa: S311
        found = readings(self.history, self.driver.spec, self.window, rng, parts)
        for reading in found[: 1 if breaks else None]:
            held = [self.driver.apply(claim, reading).held for _ in range(times)]
            if held[0]:
                self.driver.end(claim, held=True)
                return True
            self.note(reading.window, last=not reading.more, reset=reset)
        if breaks:
            self.driver.fail(claim)
        else:
            self.driver.end(claim)
        return False

    def note(self, window: Window, *, last: bool, reset: bool = False) -> None:
        """Let the history know what was read, and compare the ledger with it."""
        self.history.read(window, self.series_of, self.rebased())
        if last:
            self.history.counting = True
            self.label_rules = self.driver.spec.label_rules
        self.judge(reset=reset)

    def rebased(self) -> set[str]:
        """Return the channels whose series stands for other channels than when last read."""
        old, new = self.label_rules, self.driver.spec.label_rules
        return {channel for channel in CHANNELS if members(old, channel) != members(new, channel)}

    def judge(self, *, reset: bool = False) -> None:
        numbers, now_ms = self.driver.numbers(), self.driver.clock.now_ms()
        self.oracle.judge(numbers, self.history.truth, now_ms, reset=reset)

    def check_shown(self) -> None:
        """Compare what is shown with what is in the file."""
        shown, numbers = self.driver.counters(), self.driver.numbers()
        for channel in CHANNELS:
            series = self.series_of(channel)
            if series in shown:
                assert shown[series] == numbers[series].counter, series
            else:
                assert self.maintained or not self.history.truth[series], series
        assert self.driver.overhang() == sum(numbers[series].overhang for series in shown)
        written_off = sum(each.written_off for each in numbers.values())
        assert self.driver.counted("written_off_total") == written_off
        reached = {self.series_of(channel) for channel in CHANNELS}
        assert reached >= shown.keys() or self.label_rules_changed

    @invariant()
    def only_polls_and_maintenance_change_numbers(self) -> None:
        if hasattr(self, "driver"):
            self.driver.shown()
            assert self.driver.numbers() == self.oracle.last


def members(label_rules: Mapping[str, LabelRule], channel: str) -> tuple[str, frozenset[str]]:
    """Return the series of a channel and which channels share it."""
    rule_ = label_rules.get("channel", LabelRule())
    mine = rule_.name(channel)
    if mine == OTHER:
        return mine, frozenset({"everything else"} | {c for c in CHANNELS if rule_.name(c) == mine})
    return mine, frozenset(c for c in CHANNELS if rule_.name(c) == mine)


def test_counters_are_right_on_postgresql(postgresql_server: PostgreSQL) -> None:
    class OnPostgreSQL(Account):
        def new_database(self) -> str:
            return postgresql_server.url(postgresql_server.database())

    effort = settings(examples(3), stateful_step_count=25)
    run_state_machine_as_test(OnPostgreSQL, settings=effort)


def test_counters_are_right_whatever_happens() -> None:
    effort = settings(examples(40), stateful_step_count=25)
    run_state_machine_as_test(Account, settings=effort)
