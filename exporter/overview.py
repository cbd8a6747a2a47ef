"""Where every query stands, in the words of the status page."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby

from exporter.ledger.rows import QueryState
from exporter.poll import Ended, QueryKey
from exporter.telemetry import PREFIX, SelfCount
from exporter.web.status import BudgetLeft, FaultSeen, PollSeen, QueryStatus, State, TargetStatus

POLLS_KEPT = 120


class Recent:
    """The last polls of each query, in memory: for the page, not for the record."""

    def __init__(self) -> None:
        self._polls: dict[QueryKey, deque[PollSeen]] = {}

    def note(self, ended: Ended) -> None:
        """Remember a poll that ended."""
        polls = self._polls.setdefault(ended.key, deque(maxlen=POLLS_KEPT))
        polls.append(PollSeen(ended.at_ms, ended.seconds, ended.outcome, ended.rows))

    def of(self, key: QueryKey) -> tuple[PollSeen, ...]:
        """Return the remembered polls of a query, oldest first."""
        return tuple(self._polls.get(key, ()))


def targets(
    states: Sequence[QueryState],
    counts: Mapping[str, Mapping[SelfCount, float]],
    recent: Recent,
) -> tuple[TargetStatus, ...]:
    """Return each target with its queries, by name."""
    ordered = sorted(states, key=lambda state: (state.target, state.query))
    return tuple(
        TargetStatus(
            name=name,
            provider=provider,
            queries=tuple(_query(state, counts.get(name, {}), recent) for state in group),
        )
        for (name, provider), group in groupby(ordered, lambda s: (s.target, s.provider))
    )


def _query(state: QueryState, counts: Mapping[SelfCount, float], recent: Recent) -> QueryStatus:
    return QueryStatus(
        name=state.query,
        state=_state(state),
        last_success_ms=state.last_success_ms,
        last_attempt_ms=state.last_attempt_ms,
        next_poll_ms=state.next_poll_ms,
        data_end_ms=state.cursor_ms,
        last_fault=_fault(state),
        fail_streak=state.fail_streak,
        series=sum(state.series.values()),
        dropped_series=round(_dropped(counts)),
        overhang=sum(state.overhang.values()),
        revisions=round(_total(counts, "revisions_total", state.query)),
        budget=_budget(state),
        polls=recent.of((state.target, state.query)),
    )


def _budget(state: QueryState) -> BudgetLeft | None:
    left = state.budget
    return None if left is None else BudgetLeft(left.calls, left.ready_ms)


def _state(state: QueryState) -> State:
    if state.last_success_ms is None and state.last_reason is None:
        return State.NEVER_POLLED
    if state.quarantined:
        return State.QUARANTINED
    if state.last_reason is None:
        return State.OK
    if state.circuit == "open":
        return State.CIRCUIT_OPEN
    return State.THROTTLED if state.last_reason == "throttled" else State.FAILING


def _fault(state: QueryState) -> FaultSeen | None:
    if state.last_reason is None:
        return None
    return FaultSeen(state.last_reason, state.last_fault or "", state.last_attempt_ms)


def _dropped(counts: Mapping[SelfCount, float]) -> float:
    """Return how often a label set had no place; what an allow list leaves out was asked for."""
    return sum(
        value
        for (name, labels), value in counts.items()
        if name == f"{PREFIX}dropped_series_total" and ("reason", "not_allowlisted") not in labels
    )


def _total(counts: Mapping[SelfCount, float], name: str, query: str) -> float:
    return sum(
        value
        for (found, labels), value in counts.items()
        if found == PREFIX + name and ("query", query) in labels
    )
