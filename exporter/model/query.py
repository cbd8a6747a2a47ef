"""The vocabulary of requests: a query's fixed traits, and one poll of it."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from exporter.model.samples import DAY_MS, HOUR_MS, OTHER, Window

USUAL_LABEL_BYTES = 128
QueryKey: TypeAlias = tuple[str, str]
"""A query's identity: ``(target, query)``."""


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How one label's raw values become label values: aliases first, then the allow list.

    With ``allow`` None every name is admitted (up to the family's cap); otherwise only the listed
    names are, and the rest becomes ``other``.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    allow: frozenset[str] | None = None

    def name(self, raw: str) -> str:
        """Return the label value of ``raw``."""
        value = self.aliases.get(raw, raw)
        return value if self.allow is None or value in self.allow else OTHER

    def members(self, value: str) -> frozenset[str] | None:
        """Return the raw values behind ``value`` (not ``other``); None if it cannot occur."""
        raws = {raw for raw in self.aliases if self.name(raw) == value}
        itself = value not in self.aliases and (self.allow is None or value in self.allow)
        return frozenset(raws | ({value} if itself else set())) or None


@dataclass(frozen=True, slots=True)
class Budget:
    """A persisted call budget, spent before a request leaves: one call per ``period_ms``.

    ``name`` identifies the account, so that targets on one account share it.
    """

    name: str
    period_ms: int
    margin_ms: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one poll of a query costs, as far as that is known before the first call.

    ``calls`` is the minimum number of requests for a span of at most ``span_ms``. ``rows`` is the
    number of rows per bucket or, if ``listed``, in the whole answer (None: it depends on the
    account). ``page_rows`` is the number of rows per request (None: one request gets all of them;
    0: it is not known). ``plan`` shows ``note``.
    """

    calls: int = 1
    rows: int | None = None
    listed: bool = False
    page_rows: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class QuerySpec:
    """The fixed traits of one query of one target.

    ``name`` is the label ``query``. ``granularity_ms`` is the length of a bucket; buckets begin at
    whole hours of ``timezone`` with ``local_hours``, else of UTC. ``holidays`` are dates and
    country codes, see ``exporter.config.holidays``. ``span_ms`` is the longest span that one
    reading covers, ``slice_ms`` the longest slice of the past (None: the same), ``reach_ms`` how
    far back the API goes (None: no limit), and ``audit_every_ms`` the time from one audit to the
    next. ``initial_lookback_ms`` is how much of the past the first start reads (0: none; None: the
    query feeds no buckets, so it has no past). ``meaning`` is everything that changes what the
    numbers mean (endpoint, filter, grouping, schema version): a change rebases the query's
    counters. ``label_rules`` maps raw values to label values, by label name: a change rebases only
    the series that it touches. Label values longer than ``label_value_bytes`` are cut. ``caps``
    limit the series of each family; ``target_cap`` and ``total_cap`` limit the target and all
    targets together. With ``write_off_after_ms`` None, overhang is never written off. A ``stream``
    looks back ``lookback_ms`` before its watermark and remembers event ids for ``ids_kept_ms``
    before it. ``known`` series are exported before anything has happened. ``explain`` shows
    ``fields``, the answer's field by family, and ``plan`` shows ``cost``. ``per_unit`` has the
    families that count parts of a unit.
    """

    target: str
    provider: str
    name: str
    meaning: Mapping[str, Any]
    interval_ms: int
    settle_ms: int
    lookback_ms: int
    zero_hold_ms: int
    write_off_after_ms: int | None
    timezone: str
    holidays: tuple[str, ...]
    history: bool
    period_gauges: bool
    label_value_bytes: int
    target_cap: int
    total_cap: int
    granularity_ms: int = HOUR_MS
    initial_lookback_ms: int | None = None
    span_ms: int | None = None
    slice_ms: int | None = None
    reach_ms: int | None = None
    audit_every_ms: int = DAY_MS
    deadline_ms: int = 120_000
    local_hours: bool = False
    stream: bool = False
    ids_kept_ms: int = 31 * HOUR_MS
    label_rules: Mapping[str, LabelRule] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    budget: Budget | None = None
    known: tuple[tuple[str, tuple[str, ...]], ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    cost: Cost = Cost()
    per_unit: Mapping[str, int] = field(default_factory=dict)

    @property
    def request(self) -> str:
        """Return the method and path of the query's requests, without secrets or parameters."""
        return str(self.meaning.get("endpoint", ""))

    @property
    def key(self) -> QueryKey:
        """Return ``(target, query)``, the query's identity."""
        return (self.target, self.name)

    @property
    def fingerprint(self) -> bytes:
        """Return a digest of everything that changes what the numbers mean."""
        meaning = {
            "provider": self.provider,
            "granularity_ms": self.granularity_ms,
            "meaning": self.meaning,
        }
        text = msgspec.json.encode(meaning, order="deterministic")
        return hashlib.blake2b(text, digest_size=16).digest()

    @property
    def period_grace_ms(self) -> int:
        """Return the delay after a period's end by which its data are normally published."""
        return self.settle_ms + 2 * self.interval_ms + self.deadline_ms


class PastMode(StrEnum):
    """Why the past is read, and how it counts.

    ``BASELINE`` moves no counter, ``COUNT`` is the history of ``start: history``, and ``AUDIT``
    reads known buckets again and applies differences as revisions.
    """

    BASELINE = "baseline"
    COUNT = "count"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Past:
    """The part of a query's past that is left to read: ``[from_ms, until_ms)``, newest first.

    ``span_ms`` is the longest part to read at once if the query's own span took too long.
    ``hole_ms`` is the end of a range in which an audit found no known bucket, while it looks for
    older ones to tell a retraction from the end of the API's reach; then it reads the range again.
    """

    mode: PastMode
    from_ms: int
    until_ms: int
    hole_ms: int | None = None
    span_ms: int | None = None
    backoff_ms: int = 0
    quarantine: int = 0
    quarantine_ms: int | None = None

    @property
    def audits(self) -> bool:
        """Return whether known buckets are read again."""
        return self.mode is PastMode.AUDIT


Spend: TypeAlias = Callable[[Budget | None], Awaitable[None]]
"""Takes one call from a budget, if there is one; raises ``BudgetSpent`` if no call is left."""


async def unmetered() -> None:
    """Spend nothing: the ``spend`` of a query without a budget."""


@dataclass(frozen=True, slots=True)
class PollRequest:
    """One poll: read ``window`` completely, as seen at ``now_ms``.

    ``first`` is true until a poll has succeeded, and for history: nothing of it has been read yet.
    ``epoch_ms`` is the start of the first successful poll, ``watermark_ms`` how far a stream was
    read. ``memo`` is what the provider stored with its last applied reading. ``spend`` commits one
    call of the query's budget: await it before the request leaves; it raises ``BudgetSpent`` if no
    call is left.
    """

    window: Window
    now_ms: int
    first: bool = True
    epoch_ms: int | None = None
    watermark_ms: int | None = None
    memo: Mapping[str, Any] = field(default_factory=dict)
    spend: Callable[[], Awaitable[None]] = unmetered
