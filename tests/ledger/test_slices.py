"""The past: history that moves no counter, and audits (specification: schedule.md#the-past)."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from exporter.errors import ClaimLost, SchemaError
from exporter.ledger.rows import Retry
from exporter.model.families import NORMALISED
from exporter.model.query import LabelRule
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from tests.ledger.conftest import Start
from tests.support.builders import RECEIVED, spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

PAST: Mapping[str, Any] = {"initial_lookback_ms": 10 * DAY_MS, "span_ms": 3 * DAY_MS}
NOW = START_MS - START_MS % HOUR_MS
HOURS = {NOW - hours * HOUR_MS: 100.0 for hours in range(0, 12 * 24, 6)}
BEGUN = NOW - 2 * DAY_MS
"""Where the first poll begins, which reads the lookback."""


def live(driver: LedgerDriver, hours: Mapping[int, float]) -> None:
    """Poll the part of ``hours`` that the vendor is asked for."""
    claim = driver.claim()
    window = driver.window(claim)
    driver.poll({at: n for at, n in hours.items() if window.holds(at)}, claim=claim)


def read_past(driver: LedgerDriver, hours: Mapping[int, float]) -> list[Window]:
    """Read every slice that is due; return what was read."""
    windows = []
    while (before := bounds(driver)) is not None and driver.read_slice(hours) is not None:
        windows.append(before)
    return windows


def bounds(driver: LedgerDriver) -> Window | None:
    history = driver.view().state.history
    return None if history is None else Window(history.from_ms, history.until_ms)


def a_day_later(driver: LedgerDriver, hours: Mapping[int, float]) -> None:
    """Let a day pass, and poll."""
    driver.clock.step(DAY_MS)
    live(driver, hours)


def audited(driver: LedgerDriver, hours: Mapping[int, float]) -> None:
    """Read the slices of the audit that is due."""
    while driver.read_slice(hours) is not None:
        pass


def reached(hours: Mapping[int, float]) -> float:
    """Return the sum of ``hours`` since the oldest hour of ``PAST``."""
    return sum(n for at, n in hours.items() if at >= NOW - PAST["initial_lookback_ms"])


def floor(driver: LedgerDriver) -> int:
    floor_ms = driver.claim().floor_ms
    assert floor_ms is not None
    return floor_ms


def test_history_is_read_newest_first_moves_no_counter_and_lowers_the_floor(start: Start) -> None:
    driver = start(**PAST)
    first_ms = driver.clock.now_ms()
    live(driver, HOURS)

    read = read_past(driver, HOURS)

    oldest = NOW - 10 * DAY_MS
    ends = [BEGUN, BEGUN - 3 * DAY_MS, BEGUN - 6 * DAY_MS]
    assert read == [Window(oldest, end) for end in ends]
    (shown,) = [each for each in driver.view().shown if each.family == RECEIVED]
    assert (shown.value, shown.created_ms) == (0, first_ms)
    assert driver.counter() == 0
    assert floor(driver) == oldest


def test_growth_since_is_counted_and_late_growth_of_old_hours_is_seen_by_the_audit(
    start: Start,
) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    read_past(driver, HOURS)
    hours = HOURS | {NOW: 107.0, NOW - 9 * DAY_MS: 130.0, NOW - 8 * DAY_MS: 60.0}

    a_day_later(driver, hours)
    assert driver.counter() == 7
    audited(driver, hours)
    assert (driver.counter(), driver.overhang()) == (7, 10)  # of the truth, 7 + 30 - 40

    audit = driver.view().state.audit
    assert audit is not None
    assert (audit.different, audit.missing, audit.difference) == (2, 0, {RECEIVED: 70})
    assert [NOW - at for at in audit.days] == [
        NOW - (NOW - n * DAY_MS) // DAY_MS * DAY_MS for n in (9, 8)
    ]
    a_day_later(driver, hours)
    audited(driver, hours)
    again = driver.view().state.audit
    assert again is not None
    assert (again.different, again.equal > 30, again.difference) == (0, True, {RECEIVED: 0})


@pytest.mark.parametrize("again", ["sync", "reopen"])
def test_a_slice_waits_on_through_reloads_and_anew_after_a_start(start: Start, again: str) -> None:
    driver = start(**PAST)
    live(driver, HOURS)

    for _ in range(3):
        driver.clock.advance(1_800)
        getattr(driver, again)(driver.spec)

    assert driver.ledger.starved() is (again == "sync")
    assert (driver.ledger.claim_slice(ahead=True) is not None) is (again == "sync")


def test_an_audit_of_money_says_its_difference_in_the_unit(start: Start) -> None:
    cost, at_ms = NORMALISED["chatbot_llm_cost_usd_total"], NOW - 5 * DAY_MS
    driver = start(**PAST, per_unit={cost.name: cost.per_unit})

    def read_slices(millionths: float) -> None:
        row = (cost.name, ("shop", "", "gpt")), at_ms, millionths
        while (claim := driver.ledger.claim_slice()) is not None:
            window = driver.window(claim)
            inside = [row] if window.holds(at_ms) else []
            driver.apply(claim, Reading(window, counts=inside), of_past=True)
            driver.ledger.end_slice(claim)

    driver.poll()
    read_slices(2_000_000)
    a_day_later(driver, {})
    read_slices(2_500_000)

    audit = driver.view().state.audit
    assert audit is not None
    assert audit.difference == {cost.name: 0.5}


def test_an_api_that_reaches_less_far_back_leaves_the_rest_unknown(start: Start) -> None:
    driver = start(**PAST)
    short = {at: n for at, n in HOURS.items() if at > NOW - 4 * DAY_MS}
    live(driver, short)

    read_past(driver, short)

    assert floor(driver) == min(short)
    assert driver.counted("coverage_gaps_total") == 0


def test_history_ends_where_the_api_is_known_to_end(start: Start) -> None:
    driver = start(**PAST, reach_ms=4 * DAY_MS)
    live(driver, HOURS)

    assert len(read_past(driver, HOURS)) == 1

    assert floor(driver) == NOW - 4 * DAY_MS + 6 * HOUR_MS


def test_start_history_shows_nothing_until_it_is_read_and_then_its_sum_at_once(
    start: Start,
) -> None:
    driver = start(**PAST, history=True)
    live(driver, HOURS)
    assert driver.shown() == {}

    read_past(driver, HOURS)

    (shown,) = [each for each in driver.view().shown if each.family == RECEIVED]
    assert shown.value == sum(n for at, n in HOURS.items() if at >= NOW - 10 * DAY_MS)
    assert shown.created_ms == floor(driver)
    assert driver.counter() == shown.value
    assert driver.counted("revisions_total") == 0


@pytest.mark.parametrize(
    "change",
    [{"label_rules": {"channel": LabelRule({"web": "site"})}}, {"caps": {RECEIVED: 9}}],
    ids=["alias", "cap"],
)
def test_a_change_amid_a_history_that_counts_loses_none_of_it(
    start: Start, change: Mapping[str, Any]
) -> None:
    driver = start(**PAST, history=True)
    live(driver, HOURS)
    assert driver.read_slice(HOURS)

    driver.reopen(spec(**PAST, history=True, **change))
    assert driver.shown() == {}
    live(driver, HOURS)
    assert driver.shown() == {}
    read_past(driver, HOURS)

    assert (driver.shown(), driver.view().pending) == ({("shop", "", ""): reached(HOURS)}, ())


@pytest.mark.parametrize(
    ("before", "after"),
    [({"c1": "c0"}, {}), ({"c0": "x", "c1": "x"}, {}), ({}, {"c1": "c0"}), ({"c0": "x"}, {})],
)
def test_a_change_of_names_amid_a_history_that_counts_ends_it_and_counts_nothing_twice(
    start: Start, before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    def named(aliases: Mapping[str, str], *hours: int) -> dict[tuple[str, int], float]:
        found = defaultdict[tuple[str, int], float](float)
        for channel, units in (("c0", 3.0), ("c1", 7.0)):
            for at in hours:
                found[aliases.get(channel, channel), at] += units
        return dict(found)

    past = BEGUN - DAY_MS, BEGUN - 9 * DAY_MS
    driver = start(**PAST, history=True, label_rules={"channel": LabelRule(before)})
    driver.poll(named(before, BEGUN))
    assert driver.read_slice(named(before, *past))

    driver.reopen(spec(**PAST, history=True, label_rules={"channel": LabelRule(after)}))
    driver.poll(named(after, BEGUN))
    while driver.read_slice(named(after, *past)) is not None:
        pass

    counted = {name: each.counter for name, each in driver.numbers().items()}
    assert sum(counted.values()) == 20  # the first slice and the first poll, not what came later
    assert driver.overhang() == 0


def test_a_new_meaning_amid_a_history_that_counts_goes_on_from_what_was_read(start: Start) -> None:
    driver = start(**PAST, history=True)
    live(driver, HOURS)
    assert driver.read_slice(HOURS)

    driver.reopen(spec(**PAST, history=True, meaning={"v": 2}))
    begun = driver.shown()
    live(driver, HOURS)
    read_past(driver, HOURS)

    assert begun == driver.shown() == {("shop", "", ""): 2100}
    assert driver.view().pending == ()


def test_a_change_after_a_history_that_counts_hides_no_counter(start: Start) -> None:
    driver = start(**PAST, history=True)
    live(driver, HOURS)
    read_past(driver, HOURS)
    before = driver.shown()

    driver.reopen(spec(**PAST, history=True, caps={RECEIVED: 9}))

    assert driver.shown() == before != {}


def test_history_that_cannot_be_read_ends_where_a_shorter_initial_lookback_does(
    start: Start,
) -> None:
    driver = start(**PAST, history=True)
    live(driver, HOURS)
    driver.read_slice(HOURS)  # 3 of 10 days
    claim = driver.ledger.claim_slice()
    assert claim is not None
    driver.ledger.fail_slice(claim, Retry(NOW + DAY_MS, 1000, "closed"))
    history = driver.view().state.history
    assert history is not None
    assert (history.counts, history.failing, driver.shown()) == (True, True, {})

    driver.reopen(spec(**{**PAST, "initial_lookback_ms": 2 * DAY_MS}, history=True))

    assert driver.read_slice(HOURS) is None
    assert driver.view().state.history is None
    assert driver.counter() == sum(n for at, n in HOURS.items() if at >= BEGUN - 3 * DAY_MS)
    assert driver.shown() != {}


@pytest.mark.parametrize("of_past", [False, True])
def test_no_slice_of_a_target_is_read_before_the_provider_asked_for(
    start: Start, *, of_past: bool
) -> None:
    driver = start(**PAST)
    driver.sync(driver.spec, spec(**PAST, name="daily", fields={}))
    for _ in range(2):
        live(driver, {})
    claim = driver.ledger.claim_slice() if of_past else driver.claim()
    assert claim is not None
    until_ms = driver.clock.now_ms() + HOUR_MS
    retry = Retry(until_ms, 1000, "closed", until_ms)

    if of_past:
        driver.ledger.fail_slice(claim, retry)
    else:
        driver.ledger.fail(claim, retry, reason="server")
    driver.clock.step(HOUR_MS - 1)
    assert driver.ledger.claim_slice() is None

    driver.clock.step(1)
    for _ in range(2):
        live(driver, {})
    assert driver.read_slice({}) is not None


@pytest.mark.parametrize("off", [{"initial_lookback_ms": 0}, {"initial_lookback_ms": None}])
def test_it_can_be_off(start: Start, off: Mapping[str, Any]) -> None:
    driver = start(**{**PAST, **off})
    live(driver, HOURS)

    assert driver.read_slice(HOURS) is None


def test_the_past_of_a_query_that_feeds_no_buckets_now_is_forgotten(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)

    driver.reopen(spec(**{**PAST, "initial_lookback_ms": None}))

    for _ in range(2):
        assert driver.read_slice(HOURS) is None
        assert bounds(driver) is None
        a_day_later(driver, HOURS)


def test_a_query_that_is_due_goes_first(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    driver.clock.advance(1)

    assert driver.ledger.claim_slice() is None
    assert driver.ledger.due_targets(["shop"]) == {"shop"}


def test_a_slice_that_has_waited_an_hour_goes_ahead_of_live_polls_once(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    driver.clock.advance(1)  # a poll is due, and stays so

    for _ in range(2):
        assert driver.ledger.claim_slice(ahead=True) is None
        driver.clock.advance(3_600)
        claim = driver.ledger.claim_slice(ahead=True)
        assert claim is not None
        assert driver.ledger.claim() is None  # nobody else asks the vendor meanwhile
        driver.ledger.give_way(claim)


def test_nothing_has_waited_while_no_exporter_ran(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    driver.clock.advance(7_200)

    driver.reopen()

    assert driver.ledger.claim_slice(ahead=True) is None


def test_a_slice_that_gave_way_is_half_as_long_next_and_commits_nothing(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    claim = driver.ledger.claim_slice()
    assert claim is not None

    driver.ledger.give_way(claim)

    with pytest.raises(ClaimLost):
        driver.ledger.end_slice(claim)
    again = driver.ledger.claim_slice()
    assert again is not None
    assert driver.window(again).length_ms == 36 * HOUR_MS


def test_a_last_slice_that_is_cut_off_once_applied_ends_its_claim(start: Start) -> None:
    driver = start(**{**PAST, "span_ms": None})
    live(driver, HOURS)
    claim = driver.ledger.claim_slice()
    assert claim is not None
    driver.apply(claim, Reading(driver.window(claim)), of_past=True)

    driver.ledger.give_way(claim)

    driver.clock.advance(1)
    assert driver.ledger.claim() is not None


def test_a_restart_goes_on_where_it_was_and_a_kill_reads_the_slice_again(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    driver.read_slice(HOURS)
    driver.reopen()
    assert bounds(driver) == Window(NOW - 10 * DAY_MS, BEGUN - 3 * DAY_MS)
    driver.ledger.claim_slice()
    driver.kill()

    live(driver, HOURS | {NOW: 101.0})
    read_past(driver, HOURS)

    assert driver.counter() == 1
    assert floor(driver) == NOW - 10 * DAY_MS


def test_a_change_of_labels_reads_the_past_again_under_the_new_ones(start: Start) -> None:
    hours = {("web", at): n for at, n in HOURS.items()}
    driver = start(**PAST)
    claim = driver.claim()
    window = driver.window(claim)
    driver.poll({key: n for key, n in hours.items() if window.holds(key[1])}, claim=claim)
    while driver.read_slice(hours) is not None:
        pass
    driver.reopen(spec(**PAST, label_rules={"channel": LabelRule({"web": "site"})}))
    assert driver.read_slice({}) is None  # its next poll comes first
    renamed = {("site", at): n for (_, at), n in hours.items()}
    claim = driver.claim()
    driver.poll({key: n for key, n in renamed.items() if window.holds(key[1])}, claim=claim)

    while driver.read_slice(renamed) is not None:
        pass

    assert driver.counters() == {"site": 0}
    assert floor(driver) == NOW - 10 * DAY_MS


@pytest.mark.parametrize(
    "changed",
    [
        {"caps": {"chatbot_engagement": 600}},
        {"caps": {RECEIVED: 600}},
        {"label_rules": {"channel": LabelRule({"sms": "text"})}},
        {"label_value_bytes": 64},
    ],
    ids=["cap of others", "cap", "alias", "length"],
)
def test_settings_that_concern_no_series_read_no_past_again(
    start: Start, changed: dict[str, Any]
) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    driver.read_slice(HOURS)
    left, claim = bounds(driver), driver.claim()
    driver.end(claim, held=True)

    driver.reopen(spec(**PAST, **changed))
    live(driver, HOURS)

    assert bounds(driver) == left
    assert floor(driver) == claim.floor_ms


def test_history_must_be_whole(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)

    with pytest.raises(SchemaError, match="must be whole"):
        driver.read_slice(HOURS, kept=frozenset({RECEIVED}))


def test_a_collapse_of_an_old_week_waits_for_two_confirmations(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    read_past(driver, HOURS)
    lost = {at: n for at, n in HOURS.items() if at >= BEGUN or at < NOW - 9 * DAY_MS}
    a_day_later(driver, lost)
    held = []

    for _ in range(12):
        applied = driver.read_slice(lost)
        held.append(applied is not None and applied.held)
        if applied is not None and applied.held:
            driver.clock.step(driver.spec.interval_ms)
            live(driver, lost)

    assert sum(held) == 4  # of two slices
    assert driver.counted("written_off_total") == 2400
    assert (driver.counter(), driver.overhang()) == (0, 0)


@pytest.mark.parametrize("days", [4, 5, 9])
def test_what_the_api_reports_no_longer_is_no_retraction(start: Start, days: int) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    read_past(driver, HOURS)
    kept = {at: n for at, n in HOURS.items() if at >= NOW - days * DAY_MS}
    kept[NOW - 4 * DAY_MS] += 5

    a_day_later(driver, kept)
    audited(driver, kept)

    audit = driver.view().state.audit
    assert audit is not None
    assert NOW - days * DAY_MS - 6 * HOUR_MS < audit.from_ms <= NOW - days * DAY_MS
    assert audit.different == 1
    assert (driver.counter(), driver.overhang()) == (5, 0)
    assert driver.counted("retracted_total") == 0


def test_a_hole_between_weeks_that_are_there_is_a_retraction(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    read_past(driver, HOURS)
    hole = Window(NOW - 8 * DAY_MS, NOW - 3 * DAY_MS)
    left = {at: n for at, n in HOURS.items() if not hole.holds(at)}
    a_day_later(driver, left)

    for _ in range(20):
        applied = driver.read_slice(left)
        if applied is not None and applied.held:
            driver.clock.step(driver.spec.interval_ms)
            live(driver, left)

    audit = driver.view().state.audit
    assert audit is not None
    assert (audit.from_ms, audit.difference) == (NOW - 10 * DAY_MS, {RECEIVED: 2000})
    assert driver.counted("retracted_total") == 2000


def test_a_slice_that_the_key_may_not_read_is_shown_as_failing(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    claim = driver.ledger.claim_slice()
    assert claim is not None

    driver.ledger.fail_slice(claim, Retry(driver.clock.now_ms(), backoff_ms=0, circuit="open"))

    history = driver.view().state.history
    assert history is not None
    assert history.failing


def test_the_slice_of_a_query_that_is_removed_does_not_starve(start: Start) -> None:
    driver = start(**PAST)
    live(driver, HOURS)
    driver.clock.step(2 * HOUR_MS)
    waiting = driver.ledger.starved()

    driver.sync(spec(target="other"))

    assert (waiting, driver.ledger.starved()) == (True, False)
