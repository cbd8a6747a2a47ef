"""The exporter's own metrics of each query, as samples."""

from collections.abc import Iterable, Mapping, Sequence

from exporter.ledger.rows import QueryState, Shown
from exporter.model.families import PERIOD_END
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Family, SelfCount
from exporter.telemetry.counters import FAMILIES, PREFIX

FAMILY_BY_NAME: Mapping[str, Family] = {family.name: family for family in (*FAMILIES, PERIOD_END)}
FROM_ZERO = ("auth", "throttled", "server", "schema")
DRIFT_KINDS = ("missing", "unexpected_type", "unknown_enum", "negative", "non_integer")
MILLISECONDS = 1000
ACCOUNT = "account"
"""The label ``budget``: a provider allows so many calls of an account."""
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
        shown += _settings(state, specs[state.target, state.query])
        shown += _times(state, up=up[state.target, state.query])
        shown += _periods(state)
        shown += _history(state, specs[state.target, state.query])
        shown += _audited(state)
    shown += _of_target(states)
    shown += _counters(states, counts)
    return shown


def is_up(state: QueryState, spec: QuerySpec, now_ms: int) -> bool:
    """Say whether the last poll succeeded, and not too long ago: three intervals and a deadline.

    Whatever keeps a query from being polled, it is not up then (specification: schedule.md, Up).
    """
    if state.last_reason is not None or state.last_success_ms is None:
        return False
    margin_ms = 0 if spec.budget is None else spec.budget.margin_ms
    return now_ms - state.last_success_ms <= 3 * (spec.interval_ms + margin_ms) + spec.deadline_ms


def series_samples(series: Mapping[str, int], limit: Mapping[str, int]) -> list[Shown]:
    """Return how many series each family has, and may have."""
    return [
        _sample(PREFIX + name, number, family=family)
        for name, numbers in (("series", series), ("series_limit", limit))
        for family, number in numbers.items()
        if number
    ]


def zero_counts(spec: QuerySpec) -> dict[SelfCount, float]:
    """Return the counters of a query that exist at 0 from the start, so that the first shows."""
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
    zeros = {(PREFIX + name, tuple(sorted((own | more).items()))): 0.0 for name, more in names}
    target = tuple(sorted({"provider": spec.provider, "target": spec.target}.items()))
    return zeros | {(PREFIX + "throttled_total", target): 0.0}


def _counters(states: Sequence[QueryState], counts: Mapping[SelfCount, float]) -> list[Shown]:
    """Return the counters of queries that are configured; others' stay in the ledger."""
    queries = {state.query for state in states}
    return [
        _sample(name, value, **dict(labels))
        for (name, labels), value in counts.items()
        if dict(labels).get("query", "") in queries | {""}
    ]


def _settings(state: QueryState, spec: QuerySpec) -> Iterable[Shown]:
    own = _labels(state)
    granularity = _GRANULARITY.get(spec.granularity_ms, "window")
    yield _sample(PREFIX + "target_info", 1, **own, granularity=granularity, timezone=spec.timezone)
    yield _sample(
        PREFIX + "expected_lag_seconds", (spec.settle_ms + spec.interval_ms) / MILLISECONDS, **own
    )
    yield _sample(PREFIX + "quarantined", float(state.quarantined), **own)


def _times(state: QueryState, *, up: bool) -> Iterable[Shown]:
    """Yield when things happened; nothing before the first poll has ended."""
    own = _labels(state)
    if state.last_success_ms is not None or state.last_reason is not None:
        yield _sample(PREFIX + "target_up", float(up), **own)
        yield from _instant("last_attempt_timestamp_seconds", state.last_attempt_ms, own)
        yield from _instant("last_success_timestamp_seconds", state.last_success_ms, own)
    yield from _instant("next_poll_timestamp_seconds", state.next_poll_ms, own)
    yield from _instant("data_end_timestamp_seconds", state.cursor_ms, own)
    at_ms = state.cursor_ms if state.watermark_ms is None else state.watermark_ms
    yield from _instant("cursor_timestamp_seconds", at_ms, own)


def _periods(state: QueryState) -> Iterable[Shown]:
    for period, end_ms in state.periods.items():
        yield _sample(PERIOD_END.name, end_ms / MILLISECONDS, **_labels(state), period=period)


def _history(state: QueryState, spec: QuerySpec) -> Iterable[Shown]:
    if spec.initial_lookback_ms is None or state.epoch_ms is None or state.oldest_ms is None:
        return
    days = max(0, state.epoch_ms - state.oldest_ms) / DAY_MS
    yield _sample(PREFIX + "history_days", days, **_labels(state))


def _audited(state: QueryState) -> Iterable[Shown]:
    """Yield what the last complete audit found; nothing before the first."""
    if state.audit is None:
        return
    own, audit = _labels(state), state.audit
    yield from _instant("audit_timestamp_seconds", audit.at_ms, own)
    numbers = {"equal": audit.equal, "different": audit.different, "missing": audit.missing}
    for result, number in numbers.items():
        yield _sample(PREFIX + "audit_buckets", number, **own, result=result)


def _of_target(states: Sequence[QueryState]) -> Iterable[Shown]:
    own = {"provider": states[0].provider, "target": states[0].target}
    open_ = any(state.circuit == "open" for state in states)
    held = [state.next_poll_ms for state in states if state.fail_streak > 0]
    budgets = [state.budget for state in states if state.budget is not None]
    held += [left.ready_ms for left in budgets if left.ready_ms is not None]
    yield _sample(PREFIX + "circuit_open", float(open_), **own)
    yield _sample(
        PREFIX + "blocked_until_timestamp_seconds", max(held, default=0) / MILLISECONDS, **own
    )
    if budgets:
        least = min(left.calls for left in budgets)
        yield _sample(PREFIX + "budget_tokens", least, **own, budget=ACCOUNT)
    overhang = [state.overhang for state in states]
    differences = [state.audit.difference for state in states if state.audit is not None]
    for name, parts in (("overhang", overhang), ("audit_difference", differences)):
        for family, units in _summed(parts).items():
            yield _sample(PREFIX + name, units, **own, family=family)


def _summed(parts: Iterable[Mapping[str, float]]) -> Mapping[str, float]:
    sums: dict[str, float] = {}
    for part in parts:
        for family, units in part.items():
            sums[family] = sums.get(family, 0.0) + units
    return sums


def _instant(name: str, at_ms: int | None, labels: Mapping[str, str]) -> Iterable[Shown]:
    if at_ms is not None:
        yield _sample(PREFIX + name, at_ms / MILLISECONDS, **labels)


def _labels(state: QueryState) -> dict[str, str]:
    return {"provider": state.provider, "target": state.target, "query": state.query}


def _sample(name: str, value: float, **labels: str) -> Shown:
    return Shown(name, tuple(labels[label] for label in FAMILY_BY_NAME[name].labels), value)
