"""The data of the status page and of ``/api/v1/status``; the JSON has these names and shapes."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from exporter.engagement.expectation import HourExpectation, WindowScore
from exporter.engagement.hours import DAY_H
from exporter.errors import Reason
from exporter.exposition.engagement import BotEngagement
from exporter.ledger.rows import AuditState, BudgetState, QueryState
from exporter.model.query import QueryKey
from exporter.model.samples import DAY_MS, Family, SelfCount
from exporter.polling.poll import PollResult
from exporter.telemetry.counters import PREFIX

POLLS_KEPT = 120

UNUSUAL = 3.0
"""The score from which engagement is unusual, and half the width of the band, in deviations."""

OK = "ok"
"""The outcome of a poll that was applied."""
NOT_APPLIED = {"held": "quarantined", "budget": "skipped"}
"""The outcomes of polls that neither failed nor were applied, in words; others are failures' reasons."""


class State(StrEnum):
    """The state of a query."""

    NEVER_POLLED = "never polled"
    OK = "ok"
    FAILING = "failing"
    CIRCUIT_OPEN = "circuit open"
    THROTTLED = "throttled"
    QUARANTINED = "quarantined"
    STALLED = "stalled"
    """The last poll succeeded, but too long ago, or the ledger takes no writes."""


@dataclass(frozen=True, slots=True)
class PollErrorStatus:
    """Why the last poll failed: a ``reason`` from a fixed set, and a sentence without secrets."""

    reason: str
    sentence: str
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryStatus:
    """Progress of reading history after a first start: ``12 of 35 days``.

    ``hides_counters`` until it is read (``start: history``); ``failing``: the last read failed.
    """

    days_read: int
    days: int
    hides_counters: bool = False
    failing: bool = False


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """The result of the last audit of the last ``days``, of which ``days_equal`` agree.

    ``different`` and ``missing`` count buckets; ``difference`` is by how much each family differed
    before the vendor's values were applied.
    """

    at_ms: int
    days: int
    days_equal: int
    different: int
    missing: int
    difference: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PollStatus:
    """One finished poll: its start, its duration, its outcome, and the rows read."""

    at_ms: int
    duration_s: float
    outcome: str
    rows: int


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """One query of one target; instants are None while unknown.

    ``polls`` are the recent ones. ``overhang`` was counted, later retracted by the provider and not
    yet repaid; ``revisions`` is how often a bucket changed. ``history`` is None once it is read,
    ``audit`` is None until the first one is complete.
    """

    name: str
    state: State
    last_success_ms: int | None = None
    last_attempt_ms: int | None = None
    next_poll_ms: int | None = None
    data_end_ms: int | None = None
    last_error: PollErrorStatus | None = None
    fail_streak: int = 0
    series: int = 0
    overhang: float = 0
    revisions: int = 0
    budget: BudgetState | None = None
    history: HistoryStatus | None = None
    audit: AuditStatus | None = None
    polls: tuple[PollStatus, ...] = ()


class Verdict(StrEnum):
    """How a bot's engagement compares with its usual engagement at this time of the week."""

    EXPECTED = "as expected"
    BELOW = "below"
    ABOVE = "above"
    NOT_JUDGED = "not judged"
    """Its data is late, hours are missing, or there is less than a week of history."""


@dataclass(frozen=True, slots=True)
class BotStatus:
    """One bot and its engagement; ``verdict`` is about ``window``.

    ``end_ms`` is the end of the newest settled hour; ``hours`` has the last week, oldest first.
    """

    project: str
    environment: str
    verdict: Verdict
    window: WindowScore | None
    windows: tuple[WindowScore, ...]
    weeks: float
    late: bool
    end_ms: int
    holiday: bool | None
    hours: tuple[HourExpectation, ...]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One configured account.

    ``dropped_series`` is how often a label set was shortened, merged or dropped. ``history`` is that
    of the query that fails or is furthest behind; ``audit`` combines all queries and has the oldest
    of their instants.
    """

    name: str
    provider: str
    queries: tuple[QueryStatus, ...]
    bots: tuple[BotStatus, ...] = ()
    dropped_series: int = 0
    history: HistoryStatus | None = None
    audit: AuditStatus | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole program at ``now_ms``; ``config_hash`` and ``config_loaded_ms`` are those in force.

    ``superseded`` are queries left to a replica with newer settings. ``config_refused_ms`` is when
    newer settings were refused, ``ledger_failing_since_ms`` when ledger writes began to fail.
    """

    version: str
    now_ms: int
    started_ms: int
    config_hash: str
    config_loaded_ms: int
    targets: tuple[TargetStatus, ...]
    superseded: tuple[str, ...] = ()
    config_refused_ms: int | None = None
    ledger_failing_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """A metric family with series from vendors' data, and the targets that feed it.

    ``retracted`` is a target with overhang in this family.
    """

    name: str
    help: str
    series: int
    targets: tuple[str, ...]
    retracted: str | None = None


class RecentPolls:
    """The last polls of each query, kept in memory for the page only."""

    def __init__(self) -> None:
        self._polls: dict[QueryKey, deque[PollStatus]] = {}

    def note(self, ended: PollResult) -> None:
        """Add a finished poll."""
        polls = self._polls.setdefault(ended.key, deque(maxlen=POLLS_KEPT))
        polls.append(PollStatus(ended.at_ms, ended.seconds, ended.outcome, ended.rows))

    def keep(self, keys: AbstractSet[QueryKey]) -> None:
        """Drop the polls of all queries but ``keys``."""
        self._polls = {key: polls for key, polls in self._polls.items() if key in keys}

    def of(self, key: QueryKey) -> tuple[PollStatus, ...]:
        """Return the recent polls of a query, oldest first."""
        return tuple(self._polls.get(key, ()))


def targets(
    states: Sequence[tuple[QueryState, bool]],
    counts: Mapping[str, Mapping[SelfCount, float]],
    recent: RecentPolls,
    engagement: Sequence[BotEngagement] = (),
) -> tuple[TargetStatus, ...]:
    """Return the targets by name, with their queries, from the queries' states and up flags."""
    bots = sorted(engagement, key=lambda each: each.labels)
    ordered = sorted(states, key=lambda each: (each[0].target, each[0].query))
    return tuple(
        _target(
            name,
            provider,
            [(s, _query(s, counts.get(name, {}), recent, up=up)) for s, up in group],
            counts.get(name, {}),
            tuple(_bot(each) for each in bots if each.labels.target == name),
        )
        for (name, provider), group in groupby(ordered, lambda s: (s[0].target, s[0].provider))
    )


def families(
    states: Sequence[tuple[QueryState, bool]], known: Mapping[str, Family]
) -> tuple[FamilyStatus, ...]:
    """Return the families that have series now, sorted by name."""
    fed: defaultdict[str, list[QueryState]] = defaultdict(list)
    for state, _ in states:
        for name, number in state.series.items():
            if number:
                fed[name].append(state)
    return tuple(
        FamilyStatus(
            name=name,
            help=known[name].help,
            series=sum(state.series[name] for state in feeding),
            targets=tuple(sorted({state.target for state in feeding})),
            retracted=next((s.target for s in feeding if s.overhang.get(name)), None),
        )
        for name, feeding in sorted(fed.items())
    )


def days_equal(days: int, different: Iterable[object]) -> int:
    """Return ``days`` minus the number of distinct ``different`` days."""
    return max(0, days - len(set(different)))


def _target(
    name: str,
    provider: str,
    queries: Sequence[tuple[QueryState, QueryStatus]],
    counts: Mapping[SelfCount, float],
    bots: tuple[BotStatus, ...],
) -> TargetStatus:
    reading = [each.history for _, each in queries if each.history is not None]
    audits = [state.audit for state, _ in queries if state.audit is not None]
    dropped = [
        value
        for (metric, labels), value in counts.items()
        if metric == f"{PREFIX}dropped_series_total" and ("reason", "not_allowlisted") not in labels
    ]
    return TargetStatus(
        name=name,
        provider=provider,
        queries=tuple(each for _, each in queries),
        bots=bots,
        dropped_series=round(sum(dropped)),
        history=min(reading, key=lambda each: (not each.failing, each.days_read), default=None),
        audit=_audit(audits),
    )


def _history(state: QueryState) -> HistoryStatus | None:
    left = state.history
    if left is None or state.epoch_ms is None:
        return None
    read_ms, whole_ms = (state.epoch_ms - at_ms for at_ms in (left.until_ms, left.from_ms))
    days = read_ms // DAY_MS, round(whole_ms / DAY_MS)
    return HistoryStatus(*days, hides_counters=left.counts, failing=left.failing)


def _audit(audits: Sequence[AuditState]) -> AuditStatus | None:
    if not audits:
        return None
    longest_ms = max(each.until_ms - each.from_ms for each in audits)
    days = math.ceil(longest_ms / DAY_MS)
    difference: Counter[str] = Counter()
    for each in audits:
        difference.update(each.difference)
    return AuditStatus(
        at_ms=min(each.at_ms for each in audits),
        days=days,
        days_equal=days_equal(days, (day for each in audits for day in each.days)),
        different=sum(each.different for each in audits),
        missing=sum(each.missing for each in audits),
        difference={family: units for family, units in difference.items() if units},
    )


def _query(
    state: QueryState, counts: Mapping[SelfCount, float], recent: RecentPolls, *, up: bool
) -> QueryStatus:
    revised = [
        value
        for (name, labels), value in counts.items()
        if name == f"{PREFIX}revisions_total" and ("query", state.query) in labels
    ]
    reason = state.last_reason
    return QueryStatus(
        name=state.query,
        state=_state(state, up=up),
        last_success_ms=state.last_success_ms,
        last_attempt_ms=state.last_attempt_ms,
        next_poll_ms=state.next_poll_ms,
        data_end_ms=state.cursor_ms,
        last_error=None
        if reason is None
        else PollErrorStatus(reason, state.last_error or "", state.last_attempt_ms),
        fail_streak=state.fail_streak,
        series=sum(state.series.values()),
        overhang=sum(state.overhang.values()),
        revisions=round(sum(revised)),
        budget=state.budget,
        history=_history(state),
        audit=_audit([state.audit] if state.audit else []),
        polls=recent.of((state.target, state.query)),
    )


def _bot(bot: BotEngagement) -> BotStatus:
    windows = tuple(bot.scores[hours] for hours in sorted(bot.scores))
    hours = tuple(bot.last_week())
    verdict, window = _verdict(windows, hours)
    return BotStatus(
        project=bot.labels.project,
        environment=bot.labels.bot_environment,
        verdict=verdict,
        window=window,
        windows=windows,
        weeks=bot.weeks,
        late=bot.late,
        end_ms=bot.end_ms,
        holiday=bot.holiday,
        hours=hours,
    )


def _verdict(
    windows: Sequence[WindowScore], hours: Sequence[HourExpectation]
) -> tuple[Verdict, WindowScore | None]:
    """Return the verdict and the window it is about: the most unusual one, or the last day."""
    if not windows:
        return Verdict.NOT_JUDGED, None
    off = [w for w in windows if w.score <= -UNUSUAL or (w.score >= UNUSUAL and _above(w, hours))]
    if farthest := max(off, key=lambda each: abs(each.score), default=None):
        return Verdict.BELOW if farthest.score < 0 else Verdict.ABOVE, farthest
    return Verdict.EXPECTED, next((w for w in windows if w.hours == DAY_H), windows[-1])


def _above(window: WindowScore, hours: Sequence[HourExpectation]) -> bool:
    """Return whether a window is above the sum of what its hours usually hold.

    The window's own expectation allows for a clock that is an hour off and takes the least, so by
    that alone every morning would be above.
    """
    usual = [hour.expected for hour in hours[-window.hours :] if hour.expected is not None]
    whole = len(usual) == window.hours
    return whole and window.engagement >= sum(usual) + UNUSUAL * window.deviation


def _state(state: QueryState, *, up: bool) -> State:
    if state.last_success_ms is None and state.last_reason is None:
        return State.NEVER_POLLED
    if state.last_reason is None:
        usual = State.OK if up else State.STALLED
        return State.QUARANTINED if state.quarantined else usual
    if state.circuit == "open":
        return State.CIRCUIT_OPEN
    return State.THROTTLED if state.last_reason == Reason.THROTTLED else State.FAILING
