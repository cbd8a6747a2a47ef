"""Samples of the exporter's own metrics about each query."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.errors import Reason
from exporter.ledger.rows import QueryState, Shown
from exporter.model.families import PERIOD_END
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, SECOND_MS, Family, SelfCount
from exporter.telemetry.counters import FAMILIES, PREFIX

FAMILY_BY_NAME: Mapping[str, Family] = {family.name: family for family in (*FAMILIES, PERIOD_END)}
FROM_ZERO = (Reason.AUTH, Reason.THROTTLED, Reason.SERVER, Reason.SCHEMA)
DRIFT_KINDS = ("missing", "unexpected_type", "unknown_enum", "negative", "non_integer")
ACCOUNT = "account"
"""The value of the label ``budget``: providers limit calls per account."""
AUDITED = ("equal", "different", "missing")
_GRANULARITY = {HOUR_MS: "hour", DAY_MS: "day"}


def target_samples(
    states: Sequence[QueryState],
    specs: Mapping[QueryKey, QuerySpec],
    counts: Mapping[SelfCount, float],
    up: Mapping[QueryKey, bool],
) -> list[Shown]:
    """Return every self sample of one target: gauges of its queries, and its counters."""
    shown: list[Shown] = []
    for state in states:
        key = state.target, state.query
        shown += _of_query(state, specs[key], up=up[key])
    shown += _of_target(states)
    shown += _counters(states, {**_not_written_off(states), **counts})
    return shown


def is_up(state: QueryState, spec: QuerySpec, now_ms: int) -> bool:
    """Return whether the last poll succeeded within the last three intervals and a deadline.

    A query that is no longer polled is not up, whatever the cause (specification: schedule.md, Up).
    """
    if state.last_reason is not None or state.last_success_ms is None:
        return False
    margin_ms = 0 if spec.budget is None else spec.budget.margin_ms
    return now_ms - state.last_success_ms <= 3 * (spec.interval_ms + margin_ms) + spec.deadline_ms


def series_samples(counts: Mapping[tuple[str, str], int]) -> list[Shown]:
    """Return samples of how many series each family has and may have, from ``counts``."""
    return [
        _sample(PREFIX + name, number, family=family)
        for (name, family), number in counts.items()
        if number
    ]


def zero_counts(spec: QuerySpec) -> dict[SelfCount, float]:
    """Return a query's counters that start at 0, so that ``increase()`` sees the first event."""
    own = {"provider": spec.provider, "target": spec.target, "query": spec.name}
    names: list[tuple[str, dict[str, str]]] = [
        (name, {})
        for name in (
            "polls_total",
            "retracted_total",
            "provider_resets_total",
            "coverage_gaps_total",
            "coverage_gap_seconds_total",
        )
    ]
    names += [("poll_failures_total", {"reason": reason}) for reason in FROM_ZERO]
    names += [("schema_drift_total", {"kind": kind}) for kind in DRIFT_KINDS]
    names += [
        ("revisions_total", {"direction": direction, "stage": stage})
        for direction in ("up", "down")
        for stage in ("settling", "settled")
    ]
    if spec.stream:
        names.append(("duplicate_events_total", {}))
        names += [("late_events_total", {"outcome": outcome}) for outcome in ("counted", "ignored")]
    zeros = {(PREFIX + name, tuple(sorted((own | more).items()))): 0.0 for name, more in names}
    target = tuple(sorted({"provider": spec.provider, "target": spec.target}.items()))
    return zeros | {(PREFIX + "throttled_total", target): 0.0}


def _not_written_off(states: Sequence[QueryState]) -> dict[SelfCount, float]:
    """Return the counter of units written off at 0, for each family shown; see ``zero_counts``."""
    own = {"provider": states[0].provider, "target": states[0].target}
    families = {family for state in states for family in state.overhang}
    name = f"{PREFIX}written_off_total"
    return {(name, tuple(sorted((own | {"family": each}).items()))): 0.0 for each in families}


def _counters(states: Sequence[QueryState], counts: Mapping[SelfCount, float]) -> list[Shown]:
    """Return the counters of configured queries.

    Those of other queries stay in the ledger, and so do counters that only another version has.
    """
    queries = {state.query for state in states} | {""}
    return [
        _sample(name, value, **dict(labels))
        for (name, labels), value in counts.items()
        if dict(labels).get("query", "") in queries and _is_known(name, dict(labels))
    ]


def _is_known(name: str, labels: Mapping[str, str]) -> bool:
    family = FAMILY_BY_NAME.get(name)
    return family is not None and labels.keys() == {*family.labels}


def _of_query(state: QueryState, spec: QuerySpec, *, up: bool) -> Iterator[Shown]:
    """Yield the gauges of a query; those about its last poll only once a first one has ended."""
    own = {"provider": state.provider, "target": state.target, "query": state.query}
    polled = state.last_success_ms is not None or state.last_reason is not None
    values: dict[str, float | None] = {
        "expected_lag_seconds": (spec.settle_ms + spec.interval_ms) / SECOND_MS,
        "quarantined": state.quarantined,
        "target_up": up if polled else None,
        "last_attempt_timestamp_seconds": _seconds(state.last_attempt_ms) if polled else None,
        "last_success_timestamp_seconds": _seconds(state.last_success_ms),
        "next_poll_timestamp_seconds": _seconds(state.next_poll_ms),
        "data_end_timestamp_seconds": _seconds(state.cursor_ms),
        "cursor_timestamp_seconds": _seconds(
            state.cursor_ms if state.watermark_ms is None else state.watermark_ms
        ),
        "history_days": _history_days(state, spec),
        "audit_timestamp_seconds": _seconds(state.audit.at_ms) if state.audit else None,
    }
    for name, value in values.items():
        if value is not None:
            yield _sample(PREFIX + name, value, **own)
    granularity = _GRANULARITY.get(spec.granularity_ms, "window")
    yield _sample(PREFIX + "target_info", 1, **own, granularity=granularity, timezone=spec.timezone)
    for period, end_ms in state.periods.items():
        yield _sample(PERIOD_END.name, end_ms / SECOND_MS, **own, period=period)
    for result in AUDITED if state.audit else ():
        number = getattr(state.audit, result)
        yield _sample(PREFIX + "audit_buckets", number, **own, result=result)


def _history_days(state: QueryState, spec: QuerySpec) -> float | None:
    if spec.initial_lookback_ms is None or state.epoch_ms is None or state.oldest_ms is None:
        return None
    return max(0, state.epoch_ms - state.oldest_ms) / DAY_MS


def _of_target(states: Sequence[QueryState]) -> Iterable[Shown]:
    own = {"provider": states[0].provider, "target": states[0].target}
    open_ = any(state.circuit == "open" for state in states)
    held = [state.next_poll_ms for state in states if state.fail_streak > 0]
    budgets = [state.budget for state in states if state.budget is not None]
    held += [left.next_at_ms for left in budgets if left.next_at_ms is not None]
    yield _sample(PREFIX + "circuit_open", float(open_), **own)
    yield _sample(
        PREFIX + "blocked_until_timestamp_seconds", max(held, default=0) / SECOND_MS, **own
    )
    if budgets:
        least = min(left.tokens for left in budgets)
        yield _sample(PREFIX + "budget_tokens", least, **own, budget=ACCOUNT)
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for state in states:
        for family, units in state.overhang.items():
            sums["overhang", family] += units
        for family, units in state.audit.difference.items() if state.audit else ():
            sums["audit_difference", family] += units
    for (name, family), units in sums.items():
        yield _sample(PREFIX + name, units, **own, family=family)


def _seconds(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / SECOND_MS


def _sample(name: str, value: float, **labels: str) -> Shown:
    return Shown(name, tuple(labels[label] for label in FAMILY_BY_NAME[name].labels), value)
