"""The vocabulary of figures: families, series, windows and what one read says of a window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

BASE = ("provider", "target", "project", "bot_environment")
OTHER = "other"
SECOND_MS = 1000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LARGEST_EXACT = 2**53


class MetricType(StrEnum):
    """A family's Prometheus type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family of the catalogue (``metrics.md``).

    ``labels`` are all label names in order, ``provider, target`` first. ``cap`` is the most series
    that one target may have. ``period`` says that the newest settled hour and day of this counter
    are also shown, as ``chatbot_period_*``, summed over the ``folded`` labels. ``meaning`` says whose definition and what adds up.
    """

    name: str
    kind: MetricType
    help: str
    labels: tuple[str, ...]
    cap: int
    meaning: str = ""
    period: bool = False
    folded: tuple[str, ...] = ()
    reference: str = ""

    @property
    def period_name(self) -> str:
        """Return the name of the period gauge that goes with this counter."""
        return "chatbot_period_" + self.name.removeprefix("chatbot_").removesuffix("_total")

    @property
    def period_labels(self) -> tuple[str, ...]:
        """Return the labels of that gauge, ``period`` last."""
        return (*(label for label in self.labels if label not in self.folded), "period")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open stretch of time ``[start_ms, end_ms)`` in UTC milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    def holds(self, instant_ms: int) -> bool:
        """Say whether ``instant_ms`` lies in the window."""
        return self.start_ms <= instant_ms < self.end_ms


Series: TypeAlias = tuple[str, tuple[str, ...]]
"""A family's name and its label values after ``provider, target`` (``Family.labels[2:]``)."""

SelfCount: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A counter of the exporter itself: its family's name and its labels, sorted by name."""

CountRow: TypeAlias = tuple[Series, int, float]
"""Series, start of the bucket in UTC milliseconds, what the provider says of it now."""


@dataclass(frozen=True, slots=True)
class GaugeRow:
    """One value that must never be added up: of a bucket, a level, or of a whole window."""

    series: Series
    window: Window
    value: float


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream; there are ten thousand a second, so the collector need not see them.

    ``digest`` is BLAKE2b-128 over bot, version and id. ``counts`` are the series it adds 1 to.
    ``content`` is a checksum of what the event says, so that another event under the same id is
    noticed. ``place`` (project, bot_environment and channel) is where ``user`` and ``conversation``
    count as active; None: nowhere. Those two are in the clear here and nowhere else: the ledger
    turns them into keyed digests and keeps those in sketches only.
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
    """All that one complete, validated read says of ``window``.

    ``counts``: additive buckets; absent means none, since the read was complete.
    ``gauges_only``: nothing was read of additive buckets; those the ledger knows stay as they are.
    ``kept``: families of ``counts`` that could not be read; their buckets stay as they are, too.
    ``buckets``: distinct counts and averages of buckets; the newest settled one is shown.
    ``daily``: those buckets are local days, else hours; the other kind shown stays as it was.
    ``levels``: values at a bucket's end; the newest bucket read is shown.
    ``lists``: values of a whole window (top lists, trailing windows, definitions): they replace
    what the query showed of the same families before.
    ``events``: events of a stream; their hours become additive buckets once de-duplicated.
    ``lists_of``: families whose lists were read, so that an empty list empties them.
    ``watermark_ms``: where a stream goes on, once this reading is applied.
    ``drift``: fields that did not match the schema but could be left out, by kind.
    ``dropped``: label sets folded or dropped at the edge, by ``(family, reason)``.
    ``memo``: what the provider wants to be told at its next poll (None: as before).
    ``more``: another reading of the same poll follows; a first range is baseline until the last.
    """

    window: Window
    counts: Sequence[CountRow] = ()
    gauges_only: bool = False
    kept: frozenset[str] = frozenset()
    buckets: Sequence[GaugeRow] = ()
    daily: bool = False
    levels: Sequence[GaugeRow] = ()
    lists: Sequence[GaugeRow] = ()
    lists_of: frozenset[str] = frozenset()
    events: Sequence[Event] = ()
    watermark_ms: int | None = None
    drift: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    memo: Mapping[str, Any] | None = None
    more: bool = False


def floor_to(instant_ms: int, step_ms: int) -> int:
    """Return the latest multiple of ``step_ms`` that is not after ``instant_ms``."""
    return instant_ms - instant_ms % step_ms


def ceil_to(instant_ms: int, step_ms: int) -> int:
    """Return the earliest multiple of ``step_ms`` that is not before ``instant_ms``."""
    return -floor_to(-instant_ms, step_ms)
