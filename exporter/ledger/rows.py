"""Records of the ledger: claims, inputs of applying a reading, views, the state of a query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa

from exporter.model.query import Past, QueryKey, QuerySpec
from exporter.model.samples import Family, Reading, SelfCount, Series
from exporter.telemetry.counters import PREFIX

Counts = list[tuple[SelfCount, float]]
"""Additions to the exporter's own persisted counters."""
Circuit = Literal["open", "closed"]
"""Of a query; while it is open, the provider is only probed."""
SeriesState = Literal["live", "dormant", "hidden"]
"""Only a live series is shown; another one replaced a hidden one."""


class LastOutcome(NamedTuple):
    """When a poll of a query last succeeded, and how many have failed since."""

    success_ms: int | None
    failures: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to poll one query, until another holder raises its token.

    ``past`` is the part of its past to read under this claim; ``ahead``: ahead of live polls.
    """

    query_id: int
    target: str
    query: str
    holder: str
    token: int
    due_ms: int
    epoch_ms: int | None
    cursor_ms: int | None
    floor_ms: int | None
    watermark_ms: int | None
    last_read_ms: int | None
    last_success_ms: int | None
    fail_streak: int
    backoff_ms: int
    circuit: Circuit
    memo: Mapping[str, Any]
    past: Past | None = None
    ahead: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Return the target and the name of the query."""
        return self.target, self.query

    @property
    def last_outcome(self) -> LastOutcome:
        """Return the outcome before this poll."""
        return LastOutcome(self.last_success_ms, self.fail_streak)


class Shown(NamedTuple):
    """One sample of ``/metrics``, with all label values in the family's order.

    A named tuple, because one poll may create a hundred thousand.
    """

    family: str
    labels: tuple[str, ...]
    value: float
    created_ms: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The calls left now, and when the next one is granted (None: now)."""

    tokens: int
    next_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryState:
    """Progress of a history under way: read back to ``until_ms``, ends at ``from_ms``.

    ``counts``: the query's counters are hidden meanwhile. ``failing``: the last slice failed.
    """

    from_ms: int
    until_ms: int
    counts: bool = False
    failing: bool = False


@dataclass(frozen=True, slots=True)
class AuditState:
    """What the last complete audit of a query found in ``[from_ms, until_ms)``.

    ``equal``, ``different`` and ``missing`` (not in the ledger) count buckets of single series.
    ``difference`` is the sum of absolute differences by family; ``days`` are the starts of the UTC
    days with differences.
    """

    at_ms: int
    from_ms: int
    until_ms: int
    equal: int
    different: int
    missing: int
    difference: Mapping[str, float]
    days: Sequence[int]


@dataclass(frozen=True, slots=True)
class QueryState:
    """The committed state of a query; None: nothing has happened yet, or it has no budget.

    ``oldest_ms`` is the start of the oldest bucket ever read.
    """

    target: str
    query: str
    provider: str
    epoch_ms: int | None
    cursor_ms: int | None
    watermark_ms: int | None
    last_attempt_ms: int | None
    last_success_ms: int | None
    next_poll_ms: int
    last_reason: str | None
    last_error: str | None
    fail_streak: int
    circuit: Circuit
    quarantined: bool
    periods: Mapping[str, int] = field(default_factory=dict)
    overhang: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, int] = field(default_factory=dict)
    budget: BudgetState | None = None
    history: HistoryState | None = None
    audit: AuditState | None = None
    oldest_ms: int | None = None

    @property
    def last_outcome(self) -> LastOutcome:
        """Return the outcome of the polls up to now."""
        return LastOutcome(self.last_success_ms, self.fail_streak)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that one query shows.

    ``pending`` lists series still shown at their held value: id, and the instant from which the
    real value may follow. ``expires_ms`` is when the next gauge is withdrawn or a spent budget
    refills. ``mark`` is the replica that changed the query last, with the number of its change.
    """

    state: QueryState
    shown: tuple[Shown, ...]
    pending: tuple[tuple[int, int], ...] = ()
    expires_ms: int | None = None
    mark: tuple[str, int] = ("", 0)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a committed reading changed. ``held``: a collapse awaits confirmation."""

    held: bool
    counted: Mapping[SelfCount, float]
    rows: int


@dataclass(frozen=True, slots=True)
class Retry:
    """The reaction to a failure: when to try again, the back-off reached, the circuit.

    The whole target keeps quiet until ``quiet_until_ms`` if the provider asked for that.
    """

    next_poll_ms: int
    backoff_ms: int
    circuit: Circuit
    quiet_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LastReading:
    """A digest of what was last counted for a query, and its claim, state and floor."""

    token: int
    state_ms: int
    floor_ms: int
    digest: bytes

    def repeats(self, before: "LastReading | None") -> bool:
        """Return whether this reading equals the one ``before``, with no other claim in between."""
        return before == replace(self, token=self.token - 1)


@dataclass(frozen=True, slots=True)
class ApplyInput:
    """One reading and everything that decides how it counts; ``query`` is the claimed, locked row.

    ``label_rules_changed``: label rules or caps differ from those under which what is read now was
    read last. ``first``: this is the first part of its poll. ``kept`` are the families that some
    part of the poll could not read. ``key`` is the installation's key for sketches. ``past``: the
    reading belongs to a slice of the past. ``specs`` are those of all queries.
    """

    tx: sa.Connection
    query: sa.Row[Any]
    spec: QuerySpec
    reading: Reading
    now_ms: int
    started_ms: int
    families: Mapping[str, Family]
    label_rules_changed: bool
    first: bool = True
    kept: frozenset[str] = frozenset()
    key: bytes | None = None
    last_reading: LastReading | None = None
    past: Past | None = None
    specs: Mapping[QueryKey, QuerySpec] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Return whether this range was never read before: a first poll, or history."""
        return self.query.epoch_ms is None if self.past is None else not self.past.audits

    @property
    def watermark_ms(self) -> int:
        """Return the watermark of a stream once this reading is applied."""
        return max(self.query.watermark_ms or 0, self.reading.watermark_ms or 0)

    def count_query(self, name: str, amount: float = 1, **labels: str) -> Counts:
        """Return the addition to a self counter that has the label ``query``."""
        return self_count(self.spec, name, amount, query=self.spec.name, **labels)

    def count_dropped(self, dropped: Mapping[tuple[str, str], int]) -> Counts:
        """Return the additions for label sets without a place of their own."""
        counts: Counts = []
        for (family, reason), n in dropped.items():
            counts += self_count(self.spec, "dropped_series_total", n, family=family, reason=reason)
        return counts


def self_count(spec: QuerySpec, name: str, amount: float = 1, **labels: str) -> Counts:
    """Return the addition to a self counter of the target of ``spec``."""
    own = {"provider": spec.provider, "target": spec.target} | labels
    return [((PREFIX + name, tuple(sorted(own.items()))), amount)] if amount else []


def encode_labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return the labels as canonical JSON: sorted keys, no spaces."""
    return msgspec.json.encode(dict(zip(names, values, strict=True)), order="sorted").decode()


def decode_labels(names: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Return the values of ``names`` from canonical JSON; a missing label is empty."""
    labels = msgspec.json.decode(text)
    return tuple([labels.get(name, "") for name in names])


def encode_series(spec: QuerySpec, families: Mapping[str, Family], series: Series) -> str:
    """Return all labels of a series of the target as canonical JSON."""
    return encode_labels(families[series[0]].labels, (spec.provider, spec.target, *series[1]))


def decode_series(families: Mapping[str, Family], family: str, text: str) -> Series:
    """Return the series of ``family`` whose labels are the canonical JSON ``text``."""
    return family, decode_labels(families[family].labels, text)[2:]


def unread_since(row: sa.Row[Any]) -> dict[str, int]:
    """Return since when families of a query have not been read, in milliseconds."""
    return msgspec.json.decode(row.unread, type=dict[str, int])


def claim_of(row: sa.Row[Any], holder: str) -> Claim:
    """Return the claim on a query row."""
    columns = row._asdict() | {
        "query_id": row.id,
        "query": row.name,
        "holder": holder,
        "due_ms": row.next_poll_ms,
        "memo": msgspec.json.decode(row.memo),
        "past": None,
        "ahead": False,
    }
    return Claim(**{each.name: columns[each.name] for each in fields(Claim)})
