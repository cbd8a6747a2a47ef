"""When a query is polled next: slots, missed slots, back-off, Retry-After and the circuit."""

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import (
    ProviderError,
    Refused,
    SchemaError,
    ServerError,
    Throttled,
    TimedOut,
    Truncated,
    Unreachable,
)
from exporter.ledger.rows import Retry
from exporter.model.query import Budget, QuerySpec
from exporter.polling import schedule
from tests.support.builders import spec
from tests.support.examples import examples
from tests.support.virtual import START_MS

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS

HOURLY_CALL = spec(interval_ms=HOUR_MS, budget=Budget("account", HOUR_MS, margin_ms=MINUTE_MS))

intervals = st.integers(SECOND_MS, 24 * HOUR_MS)
instants = st.integers(START_MS, START_MS + 400 * 24 * HOUR_MS)
names = st.text(min_size=1, max_size=20)
chances = st.integers(0, 2**32).map(random.Random)
queries = st.builds(
    lambda target, name, interval_ms: spec(target=target, name=name, interval_ms=interval_ms),
    names,
    names,
    intervals,
)


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same jitter each time


def after(query: QuerySpec, error: ProviderError, **changes: Any) -> Retry:
    plain: dict[str, Any] = {"streak": 1, "backoff_ms": 0, "now_ms": START_MS, "rng": dice(1)}
    return schedule.after_failure(query, error, **(plain | changes))


@examples(200)
@given(query=queries)
def test_the_phase_lies_within_the_interval(query: QuerySpec) -> None:
    assert 0 <= schedule.phase_ms(query) < query.interval_ms


def test_the_phase_is_the_same_after_every_restart() -> None:
    # Literals: a phase that came from anything of the process (hash(), say) would differ.
    phases = [schedule.phase_ms(spec(name=name)) for name in ("hourly", "top_flows")]

    assert phases == [196_055, 19_569]


def test_the_phases_of_many_queries_are_spread_over_the_interval() -> None:
    quarters = [schedule.phase_ms(spec(target=f"t{i}")) * 4 // 300_000 for i in range(400)]

    assert all(60 < quarters.count(quarter) < 140 for quarter in range(4))


@examples(300)
@given(query=queries, now_ms=instants, rng=chances)
def test_the_next_slot_comes_after_now_and_at_most_five_percent_late(
    query: QuerySpec, now_ms: int, rng: random.Random
) -> None:
    late = 0.05 * query.interval_ms
    next_ms = schedule.next_slot_ms(query, now_ms, rng)

    assert now_ms < next_ms <= now_ms + query.interval_ms + late + 1
    assert (next_ms - schedule.phase_ms(query)) % query.interval_ms <= late + 1


@examples(100)
@given(query=queries, now_ms=instants, rng=chances)
def test_a_query_polled_on_time_is_polled_once_a_slot(
    query: QuerySpec, now_ms: int, rng: random.Random
) -> None:
    polls = [schedule.next_slot_ms(query, now_ms, rng)]
    for _ in range(8):
        polls.append(schedule.next_slot_ms(query, polls[-1], rng))

    slots = [(at_ms - schedule.phase_ms(query)) // query.interval_ms for at_ms in polls]
    assert [later - earlier for earlier, later in pairwise(slots)] == [1] * 8


@examples(200)
@given(query=queries, due_ms=instants, slots=st.integers(0, 50), rng=chances)
def test_every_slot_that_a_late_poll_lets_pass_is_counted(
    query: QuerySpec, due_ms: int, slots: int, rng: random.Random
) -> None:
    at_ms = schedule.next_slot_ms(query, due_ms, rng)

    assert schedule.slots_between(query, at_ms, at_ms + slots * query.interval_ms) == slots


def test_a_slot_at_the_start_is_not_missed_and_one_at_the_end_is() -> None:
    query = spec()
    slot_ms = schedule.phase_ms(query) + 10_000 * query.interval_ms

    assert schedule.slots_between(query, slot_ms, slot_ms + query.interval_ms - 1) == 0
    assert schedule.slots_between(query, slot_ms - 1, slot_ms) == 1
    assert schedule.slots_between(query, slot_ms + query.interval_ms, slot_ms) == 0


@examples(200)
@given(
    interval_ms=intervals,
    rng=chances,
    rounds=st.integers(1, 30),
)
def test_back_off_is_decorrelated_jitter_between_its_bounds(
    interval_ms: int, rng: random.Random, rounds: int
) -> None:
    query = spec(interval_ms=interval_ms)
    least_ms = min(5_000, interval_ms)
    most_ms = min(15 * MINUTE_MS, max(4 * interval_ms, 30_000))

    waits = [0]
    for _ in range(rounds):
        waits.append(schedule.next_backoff_ms(query, waits[-1], rng))

    assert all(least_ms <= wait_ms <= most_ms for wait_ms in waits[1:])
    assert all(later <= 3 * max(least_ms, before) + 1 for before, later in pairwise(waits))


@pytest.mark.parametrize(
    ("interval_ms", "most_ms"),
    [(2_000, 30_000), (MINUTE_MS, 4 * MINUTE_MS), (HOUR_MS, 15 * MINUTE_MS)],
)
def test_back_off_reaches_its_upper_bound_and_differs_from_time_to_time(
    interval_ms: int, most_ms: int
) -> None:
    query, rng = spec(interval_ms=interval_ms), dice(3)

    waits = [schedule.next_backoff_ms(query, most_ms, rng) for _ in range(60)]

    assert max(waits) == most_ms
    assert len(set(waits)) > 10


def test_a_failure_waits_its_back_off_and_remembers_it() -> None:
    verdict = after(spec(), ServerError("502"), backoff_ms=40_000)

    assert verdict.next_poll_ms == START_MS + verdict.backoff_ms
    assert 5_000 <= verdict.backoff_ms <= 120_000
    assert (verdict.circuit, verdict.quiet_until_ms) == ("closed", None)


@pytest.mark.parametrize(
    ("seconds", "wait_ms"),
    [(90, 90_000), (21_600, 21_600_000), (1e9, 21_600_000)],
)
def test_a_long_retry_after_is_kept_up_to_six_hours_for_the_whole_target(
    seconds: float, wait_ms: int
) -> None:
    verdict = after(spec(), Throttled("429", seconds), backoff_ms=7_000)

    assert verdict.next_poll_ms == verdict.quiet_until_ms == START_MS + wait_ms
    assert verdict.circuit == "closed"


@examples(100)
@given(seconds=st.sampled_from([-20.0, 0.0, 1.5]), rng=chances)
def test_a_short_retry_after_is_never_sooner_than_the_back_off(
    seconds: float, rng: random.Random
) -> None:
    verdict = after(spec(), Throttled("429", seconds), backoff_ms=60_000, rng=rng)

    assert verdict.next_poll_ms >= START_MS + 5_000
    assert verdict.backoff_ms == verdict.next_poll_ms - START_MS


def test_a_provider_that_always_answers_429_with_retry_after_0_is_asked_less_and_less_often() -> (
    None
):
    at_ms, backoff_ms, asked, circuits = START_MS, 0, 0, set()
    rng = dice(3)
    while at_ms < START_MS + HOUR_MS:
        asked += 1
        verdict = after(
            spec(),
            Throttled("429", 0.0),
            streak=asked,
            backoff_ms=backoff_ms,
            now_ms=at_ms,
            rng=rng,
        )
        at_ms, backoff_ms = verdict.next_poll_ms, verdict.backoff_ms
        circuits.add(verdict.circuit)

    assert circuits == {"closed", "open"}
    assert asked <= 20


@pytest.mark.parametrize(
    "error",
    [
        ServerError("500"),
        TimedOut("slow"),
        Unreachable("reset"),
        Refused("bad", 400),
        SchemaError("odd"),
        Truncated("cut"),
    ],
    ids=lambda error: str(error.reason),
)
def test_the_circuit_opens_at_the_fifth_failure_in_a_row(error: ProviderError) -> None:
    circuits = [after(spec(), error, streak=streak).circuit for streak in range(1, 8)]

    assert circuits == ["closed"] * 4 + ["open"] * 3


@pytest.mark.parametrize(
    ("interval_ms", "probe_ms"),
    [(10_000, 100_000), (30_000, 300_000), (HOUR_MS, 300_000)],
)
def test_an_open_circuit_is_probed_every_ten_intervals_and_at_least_every_five_minutes(
    interval_ms: int, probe_ms: int
) -> None:
    verdict = after(spec(interval_ms=interval_ms), ServerError("500"), streak=9, backoff_ms=6_000)

    assert verdict == Retry(START_MS + probe_ms, 6_000, "open")


@examples(50)
@given(now_ms=instants, rng=chances)
def test_a_budgeted_query_is_due_one_interval_and_the_margin_after_its_call(
    now_ms: int, rng: random.Random
) -> None:
    assert schedule.next_slot_ms(HOURLY_CALL, now_ms, rng) == now_ms + HOUR_MS + MINUTE_MS


def test_a_budgeted_query_misses_no_slots() -> None:
    assert schedule.slots_between(HOURLY_CALL, START_MS, START_MS + 48 * HOUR_MS) == 0
