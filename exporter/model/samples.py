"""The vocabulary of samples: families, series, windows, and readings of a window."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

BASE = ("provider", "target", "project", "bot_environment")
OTHER = "other"
SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
RETENTION_MS = 35 * DAY_MS
"""How long buckets, and series that do not change, are kept."""
LARGEST_EXACT = 2**53


class MetricType(StrEnum):
    """A family's Prometheus type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family of the catalogue.

    ``labels`` are all label names in order, ``provider, target`` first. ``cap`` is the maximum
    number of series of one target. ``period``: the newest settled hour and day of this counter are
    also shown, as ``chatbot_period_*``, summed over the ``aggregated`` labels. ``meaning`` states
    whose definition the numbers follow, and what adds up. The ledger counts in whole parts, of
    which ``per_unit`` make a unit: micro-dollars for a counter that shows dollars.
    """

    name: str
    kind: MetricType
    help: str
    labels: tuple[str, ...]
    cap: int
    meaning: str = ""
    period: bool = False
    aggregated: tuple[str, ...] = ()
    reference: str = ""
    per_unit: int = 1

    @property
    def period_name(self) -> str:
        """Return the name of this counter's period gauge."""
        return "chatbot_period_" + self.name.removeprefix("chatbot_").removesuffix("_total")

    @property
    def period_labels(self) -> tuple[str, ...]:
        """Return the labels of the period gauge, ``period`` last."""
        return (*(label for label in self.labels if label not in self.aggregated), "period")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open span of time ``[start_ms, end_ms)`` in UTC milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    def holds(self, instant_ms: int) -> bool:
        """Return whether ``instant_ms`` lies in the window."""
        return self.start_ms <= instant_ms < self.end_ms


Series: TypeAlias = tuple[str, tuple[str, ...]]
"""A family's name and its label values after ``provider, target`` (``Family.labels[2:]``)."""

SelfCount: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A counter of the exporter itself: the name of its family, and its labels sorted by name."""

CountRow: TypeAlias = tuple[Series, int, float]
"""Series, start of the bucket in UTC milliseconds, and the provider's current number."""


@dataclass(frozen=True, slots=True)
class GaugeRow:
    """One value that never adds up: of a bucket, of its end (a level), or of a whole window."""

    series: Series
    window: Window
    value: float


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream; not tracked by the garbage collector, since there are many.

    ``digest`` is BLAKE2b-128 over bot, version and id. ``counts`` are the series it adds 1 to.
    ``content`` is a checksum that detects a different event with the same id. ``user`` and
    ``conversation`` count as active in ``place`` (project, bot_environment and channel; None:
    nowhere). Only here are those two plain text: the ledger stores keyed digests, in sketches.
    """

    digest: bytes
    at_ms: int
    counts: tuple[Series, ...]
    content: int = 0
    place: tuple[str, ...] | None = None
    user: str = ""
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of one complete, validated read of ``window``.

    ``counts``: additive buckets; absent means zero, since the read was complete.
    ``gauges_only``: additive buckets were not read; those in the ledger do not change.
    ``kept``: families of ``counts`` that could not be read; their buckets do not change either.
    ``absent``: starts of buckets that could not be read; they do not change either.
    ``buckets``: distinct counts and averages of buckets; the newest settled one is shown.
    ``daily``: ``buckets`` are local days, else hours; gauges of the other length do not change.
    ``levels``: values at a bucket's end; the newest bucket read is shown.
    ``lists``: values of a whole window (top lists, trailing windows, definitions); they replace
    the query's earlier values of the same families.
    ``events``: events of a stream; after de-duplication, their hours become additive buckets.
    ``lists_of``: families whose lists were read, so that an empty list empties them.
    ``watermark_ms``: where a stream continues once this reading is applied.
    ``drift``: fields that did not match the schema but could be left out, by kind.
    ``dropped``: label sets that were shortened, renamed to ``other`` or dropped, by
    ``(family, reason)``.
    ``notes``: what rows lack, without any of their values; shown when a manifest is tested.
    ``unfit``: why a query cannot begin with this reading: no row has a field that its series need.
    ``memo``: what the provider needs at its next poll (None: no change).
    ``more``: another reading of the same poll follows; a first poll is baseline until the last.
    """

    window: Window
    counts: Sequence[CountRow] = ()
    gauges_only: bool = False
    kept: frozenset[str] = frozenset()
    absent: frozenset[int] = frozenset()
    buckets: Sequence[GaugeRow] = ()
    daily: bool = False
    levels: Sequence[GaugeRow] = ()
    lists: Sequence[GaugeRow] = ()
    lists_of: frozenset[str] = frozenset()
    events: Sequence[Event] = ()
    watermark_ms: int | None = None
    drift: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    unfit: str = ""
    memo: Mapping[str, Any] | None = None
    more: bool = False

    @property
    def rows(self) -> int:
        """Return how many counts, gauges and events were read."""
        parts = (self.counts, self.buckets, self.levels, self.lists, self.events)
        return sum(map(len, parts))

    def since(self, start_ms: int) -> "Reading":
        """Return the reading without the buckets before ``start_ms``."""
        window = Window(max(self.window.start_ms, start_ms), self.window.end_ms)
        return replace(self, window=window, counts=[r for r in self.counts if r[1] >= start_ms])

    def within(self, window: Window) -> "Reading":
        """Return only the buckets in ``window``, without gauges."""
        end_ms = min(self.window.end_ms, window.end_ms)
        inside = Window(min(max(self.window.start_ms, window.start_ms), end_ms), end_ms)
        counts = [row for row in self.counts if inside.holds(row[1])]
        kept, absent = self.kept, self.absent
        return Reading(inside, counts=counts, kept=kept, absent=absent, more=self.more)


Readings: TypeAlias = AsyncGenerator[Reading, None]
"""The readings of one poll, oldest first; see ``Query.read``."""


def floor_to(instant_ms: int, step_ms: int) -> int:
    """Return the latest multiple of ``step_ms`` that is not after ``instant_ms``."""
    return instant_ms - instant_ms % step_ms


def ceil_to(instant_ms: int, step_ms: int) -> int:
    """Return the earliest multiple of ``step_ms`` that is not before ``instant_ms``."""
    return -floor_to(-instant_ms, step_ms)
