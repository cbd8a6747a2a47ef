"""Flow XO's answers as rows: pure functions.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.numbers import Number, count, optional_count, parse_number
from exporter.model.samples import HOUR_MS, OTHER, Family, MetricType
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import parse_instant, trailing_label
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.texts import REDACTED, cut, normalize, presentable

# Active users are those of the last 30 days, whatever the bucket (support article 165).
FIELDS: Mapping[str, tuple[Family, tuple[str, ...]]] = {
    "received_messages": (families.MESSAGES_RECEIVED, ()),
    "sent_messages": (families.MESSAGES_SENT, ()),
    "triggers": (families.FLOW_TRIGGERS, ()),
    "new_users": (families.NEW_USERS, ()),
    "active_users": (families.ACTIVE_USERS, ("", "", "trailing_30d")),
    "total_users": (families.KNOWN_USERS, ()),
}
"""The fields of an hour, and their labels after ``project``: counts, and levels at its end."""


class InsightsHour(msgspec.Struct):
    """One hour. ``_id`` is not read: its form for hours is not documented."""

    timestamp: str | None = msgspec.field(default=None, name="_timestamp")
    received_messages: Number | None = None
    sent_messages: Number | None = None
    triggers: Number | None = None
    new_users: Number | None = None
    active_users: Number | None = None
    total_users: Number | None = None


class Insights(msgspec.Struct):
    """The answer to ``/insights``; ``stats`` repeats the sums and is only a check."""

    metrics: list[InsightsHour]
    stats: list[dict[str, Any]] | None = None


class FlowName(msgspec.Struct):
    """A flow: names repeat, ids do not."""

    id: str
    name: str = ""


class TopFlow(msgspec.Struct):
    """One entry of ``top_flows``."""

    flow: FlowName = msgspec.field(name="_id")
    count: Number | None = None


class TopMessage(msgspec.Struct):
    """One entry of ``top_messages``; ``text`` is what users wrote."""

    text: str = msgspec.field(name="_id")
    count: Number | None = None


Entry = TypeVar("Entry", TopFlow, TopMessage)


def collect_hours(answers: Sequence[Insights], rows: Rows, *, project: str) -> None:
    """Add the hours of the one answer; hours outside the window are left out.

    A counter that some hour lacks is not counted at all: absent is not zero. A sum in ``stats``
    that differs is drift, where all hours are there to be added.
    """
    (answer,) = answers
    hours: dict[int, InsightsHour] = {}
    for index, hour in enumerate(answer.metrics):
        at_ms = _hour_ms(hour, f"metrics[{index}]._timestamp")
        if at_ms in hours:
            raise SchemaError(f"metrics[{index}]._timestamp: the hour came twice")
        hours[at_ms] = hour
    inside = {at_ms: hour for at_ms, hour in hours.items() if rows.window.holds(at_ms)}
    for field, (family, labels) in FIELDS.items():
        add = rows.count if family.kind is MetricType.COUNTER else rows.level
        for at_ms, hour in inside.items():
            number = optional_count(getattr(hour, field), f"metrics[].{field}")
            add(family, (project, *labels), at_ms, number)
    if answer.stats and len(inside) == len(hours):
        rows.drift["unexpected_type"] += _wrong_sums(answer.metrics, answer.stats[0])


def collect_flows(flows: Sequence[TopFlow], rows: Rows, *, limit: int) -> None:
    """Add the most used flows; a flow is its id, its name is the first that came."""
    names: dict[str, str] = {}
    for entry, uses in _most_used(flows, limit):
        name = names.setdefault(entry.flow.id, cut(entry.flow.name))
        labels = (entry.flow.id, name, trailing_label(rows.window))
        rows.window_value(TOP_FLOW_TRIGGERS, labels, uses)


def collect_messages(messages: Sequence[TopMessage], rows: Rows, *, limit: int, raw: bool) -> None:
    """Add the most frequent messages.

    ``raw`` shows them with personal data redacted. Otherwise the label rule of ``message``, whose
    keys are normalized as by ``normalize``, admits listed texts only and the rest is ``other``.
    """
    for entry, uses in _most_used(messages, limit):
        text = (presentable(entry.text) or OTHER) if raw else normalize(entry.text)
        if raw and text == REDACTED:
            rows.drop(TOP_MESSAGE_USES, "pii")
        rows.window_value(TOP_MESSAGE_USES, (text, trailing_label(rows.window)), uses)


def _hour_ms(hour: InsightsHour, path: str) -> int:
    if hour.timestamp is None:
        raise SchemaError(f"{path}: missing", "missing")
    with suppress(ValueError):
        at_ms = parse_instant(hour.timestamp)
        if at_ms % HOUR_MS == 0 and hour.timestamp.endswith("Z"):
            return at_ms
    raise SchemaError(f"{path}: expected a whole hour in UTC")


def _wrong_sums(hours: Sequence[InsightsHour], stats: Mapping[str, Any]) -> int:
    """Return how many counts in ``stats`` are not the sum of the hours."""
    counts = [name for name, (family, _) in FIELDS.items() if family.kind is MetricType.COUNTER]
    sums = {name: sum(parse_number(getattr(h, name)) or 0 for h in hours) for name in counts}
    return sum(parse_number(stats[name]) != sums[name] for name in counts if name in stats)


def _most_used(entries: Sequence[Entry], limit: int) -> list[tuple[Entry, int]]:
    counted = [(each, count(each.count, f"[{i}].count")) for i, each in enumerate(entries)]
    return sorted(counted, key=lambda pair: -pair[1])[:limit]
