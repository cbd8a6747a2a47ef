"""Flow XO's insights as samples: pure, no clock, no network.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.numbers import Number, count
from exporter.model.samples import (
    HOUR_MS,
    OTHER,
    CountRow,
    Family,
    GaugeRow,
    Reading,
    Series,
    Window,
)
from exporter.providers.base.labels import Labels
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.texts import REDACTED, cut, fold, presentable

Figure: TypeAlias = Number | None
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

COUNTERS: tuple[tuple[str, Family], ...] = (
    ("received_messages", families.MESSAGES_RECEIVED),
    ("sent_messages", families.MESSAGES_SENT),
    ("triggers", families.FLOW_TRIGGERS),
    ("new_users", families.NEW_USERS),
)
"""The fields that add up over time."""

# Active users are those of the last 30 days, whatever the bucket (support article 165).
LEVELS: tuple[tuple[str, Family, tuple[str, ...]], ...] = (
    ("active_users", families.ACTIVE_USERS, ("", "", "trailing_30d")),
    ("total_users", families.KNOWN_USERS, ()),
)
"""The fields that are levels at the bucket's end, with their labels after ``project``."""


class Bucket(msgspec.Struct):
    """One hour. ``_id`` is not read: its form for hours is not documented."""

    timestamp: str | None = msgspec.field(default=None, name="_timestamp")
    received_messages: Figure = None
    sent_messages: Figure = None
    triggers: Figure = None
    new_users: Figure = None
    active_users: Figure = None
    total_users: Figure = None


class Insights(msgspec.Struct):
    """The answer to ``/insights``; ``stats`` repeats the sums and is only a check."""

    metrics: list[Bucket]
    stats: list[dict[str, Any]] | None = None


class FlowId(msgspec.Struct):
    """A flow: names repeat, ids do not."""

    id: str
    name: str = ""


class TopFlow(msgspec.Struct):
    """One entry of ``top_flows``."""

    flow: FlowId = msgspec.field(name="_id")
    count: Figure = None


class TopMessage(msgspec.Struct):
    """One entry of ``top_messages``; ``text`` is what users wrote."""

    text: str = msgspec.field(name="_id")
    count: Figure = None


Entry = TypeVar("Entry", TopFlow, TopMessage)


@dataclass(frozen=True, slots=True)
class Shown:
    """How a top list is shown: its window, that window's label, at most so many entries."""

    window: Window
    label: str
    limit: int


def insights_to_reading(answer: Insights, window: Window, project: str, labels: Labels) -> Reading:
    """Return the buckets of ``window``; one outside is left out, a repeated one is a fault.

    A field that some bucket lacks is not counted at all, and is drift: absent is not zero. So is a sum in ``stats`` that
    differs, where all buckets are there to be added.
    """
    drift: Counter[str] = Counter()
    buckets: dict[int, Bucket] = {}
    for index, bucket in enumerate(answer.metrics):
        at_ms = _hour(bucket, f"metrics[{index}]._timestamp")
        if at_ms in buckets:
            raise SchemaError(f"metrics[{index}]._timestamp: the hour came twice")
        buckets[at_ms] = bucket
    inside = {at_ms: bucket for at_ms, bucket in buckets.items() if window.holds(at_ms)}
    counts, kept = _counts(inside, project, labels, drift)
    levels = _levels(inside, project, labels, drift)
    if len(inside) == len(buckets):
        drift["unexpected_type"] += _disagreements(answer)
    return Reading(window, counts, kept=kept, levels=levels, drift=+drift, dropped=labels.dropped)


def flows_to_reading(rows: Sequence[TopFlow], shown: Shown, labels: Labels) -> Reading:
    """Return the most used flows; a flow is its id, its name is the first that came."""
    names: dict[str, str] = {}
    sums: dict[Series, int] = defaultdict(int)
    for row, uses in _most_used(rows, shown.limit):
        name = names.setdefault(row.flow.id, cut(row.flow.name))
        sums[labels.series(TOP_FLOW_TRIGGERS, row.flow.id, name, shown.label)] += uses
    return _list(TOP_FLOW_TRIGGERS, sums, shown, labels)


def messages_to_reading(
    rows: Sequence[TopMessage], shown: Shown, labels: Labels, *, raw: bool
) -> Reading:
    """Return the most frequent messages.

    ``raw`` shows them with personal data redacted; otherwise the label_rules of ``labels``, keyed by
    ``fold(text)``, admits listed texts only and the rest is ``other``.
    """
    sums: dict[Series, int] = defaultdict(int)
    for row, uses in _most_used(rows, shown.limit):
        text = (presentable(row.text) or OTHER) if raw else fold(row.text)
        if raw and text == REDACTED:
            labels.drop(TOP_MESSAGE_USES, "pii")
        sums[labels.series(TOP_MESSAGE_USES, text, shown.label)] += uses
    return _list(TOP_MESSAGE_USES, sums, shown, labels)


def _hour(bucket: Bucket, path: str) -> int:
    if bucket.timestamp is None:
        raise SchemaError(f"{path}: missing", "missing")
    try:
        at = datetime.fromisoformat(bucket.timestamp)
        if not _TIMESTAMP.fullmatch(bucket.timestamp) or (at - _EPOCH) % timedelta(hours=1):
            raise SchemaError(f"{path}: expected a whole hour in UTC")
    except ValueError:
        raise SchemaError(f"{path}: expected a whole hour in UTC") from None
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _counts(
    buckets: Mapping[int, Bucket], project: str, labels: Labels, drift: Counter[str]
) -> tuple[list[CountRow], frozenset[str]]:
    rows: list[CountRow] = []
    kept: set[str] = set()
    for field, family in COUNTERS:
        series = labels.series(family, project)
        values: dict[int, Figure] = {at_ms: getattr(b, field) for at_ms, b in buckets.items()}
        missing = sum(value is None for value in values.values())
        if missing:
            drift["missing"] += missing
            kept.add(family.name)
            continue
        rows += [
            (series, at_ms, count(value, f"metrics[].{field}"))
            for at_ms, value in values.items()
            if value is not None
        ]
    return rows, frozenset(kept)


def _levels(
    buckets: Mapping[int, Bucket], project: str, labels: Labels, drift: Counter[str]
) -> list[GaugeRow]:
    rows: list[GaugeRow] = []
    for field, family, rest in LEVELS:
        series = labels.series(family, project, *rest)
        for at_ms, bucket in buckets.items():
            value: Figure = getattr(bucket, field)
            if value is None:
                drift["missing"] += 1
            else:
                size = count(value, f"metrics[].{field}")
                rows.append(GaugeRow(series, Window(at_ms, at_ms + HOUR_MS), size))
    return rows


def _disagreements(answer: Insights) -> int:
    """Return how many fields of ``stats`` are not the sum of the buckets."""
    if not answer.stats:
        return 0
    overall = answer.stats[0]
    return sum(
        field in overall and overall[field] != sum(getattr(b, field) or 0 for b in answer.metrics)
        for field, _ in COUNTERS
    )


def _most_used(rows: Sequence[Entry], limit: int) -> list[tuple[Entry, int]]:
    counted = [(row, count(row.count, f"[{index}].count")) for index, row in enumerate(rows)]
    return sorted(counted, key=lambda pair: -pair[1])[:limit]


def _list(family: Family, sums: Mapping[Series, int], shown: Shown, labels: Labels) -> Reading:
    rows = [GaugeRow(series, shown.window, uses) for series, uses in sums.items()]
    return Reading(
        shown.window, lists=rows, lists_of=frozenset({family.name}), dropped=labels.dropped
    )
