"""Flow XO's answers as rows: pure functions.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.numbers import Number, count, optional_count, parse_number
from exporter.model.samples import HOUR_MS, OTHER, Family, MetricType
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import parse_instant, trailing_label

TOP_FLOW_TRIGGERS = Family(
    "chatbot_flowxo_top_flow_triggers",
    MetricType.GAUGE,
    "Triggers of the most used flows in the window (top N).",
    ("provider", "target", "flow_id", "flow", "window"),
    20,
    meaning="Rank set changes; do not use rate()",
)
TOP_MESSAGE_USES = Family(
    "chatbot_flowxo_top_message_uses",
    MetricType.GAUGE,
    "Uses of the most frequent user messages in the window (top N); off by default.",
    ("provider", "target", "message", "window"),
    20,
    meaning="What users wrote: only listed texts, or raw ones after two opt-ins",
)

REDACTED = "redacted"
LONGEST = 64
_EXAMINED = 1000  # far more than is shown, but not too much for the patterns

_PERSONAL = re.compile(
    r"""
      @                                                  # e-mail addresses, handles
    | (?:\d[^0-9A-Za-z]{0,3}){5}\d                       # phones, cards, codes: six digits or more
    | \b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{2,4}){3,}          # IBANs, in groups or not
    | (?=[\w+/=.-]*\d)(?=[\w+/=.-]*[a-z])[\w+/=.-]{16,}  # tokens: long, letters and digits
    | \S{32,}                                            # anything long without a space
    """,
    re.VERBOSE | re.IGNORECASE,
)


def normalize(text: str) -> str:
    """Return ``text`` as allow lists compare it: NFKC, case-folded, trimmed."""
    normal = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", normal).strip()


def cut(text: str) -> str:
    """Return the first 64 characters of ``text``, tidied."""
    return _tidy(text)[:LONGEST].strip()


def presentable(text: str) -> str:
    """Return ``text`` tidied and cut, or ``redacted`` if it seems to hold personal data.

    The patterns see more than is shown, since a number cut in half would pass them. They are a
    safety net, not a guarantee (``docs/providers/flowxo.md``).
    """
    return REDACTED if _PERSONAL.search(_tidy(text)) else cut(text)


def _tidy(text: str) -> str:
    """Return ``text`` on one line, without control characters."""
    spaced = " ".join(unicodedata.normalize("NFKC", text[:_EXAMINED]).split())
    return "".join(sign for sign in spaced if not unicodedata.category(sign).startswith("C"))


OfT = TypeVar("OfT")
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


class Insights(msgspec.Struct):
    """The answer to ``/insights``; ``stats`` repeats the sums and is only a check."""

    metrics: list[dict[str, Any]]  # the form of an hour's _id is not documented
    stats: list[dict[str, Any]] | None = None


class FlowName(msgspec.Struct):
    """A flow; names may repeat, ids do not."""

    id: str
    name: str = ""


class TopEntry(msgspec.Struct, Generic[OfT]):
    """One entry of ``top_flows`` (a ``FlowName``) or of ``top_messages`` (what users wrote)."""

    of: OfT = msgspec.field(name="_id")
    count: Number | None = None


def collect_hours(answers: Sequence[Insights], rows: Rows, *, project: str) -> None:
    """Add the hours of the only answer; hours outside the window are left out.

    A counter that is absent from some hour is not counted at all: absent is not zero. A different
    sum in ``stats`` is drift, if all hours lie in the window.
    """
    (answer,) = answers
    hours: dict[int, dict[str, Any]] = {}
    for index, hour in enumerate(answer.metrics):
        path = f"metrics[{index}]._timestamp"
        at_ms = _hour_ms(hour.get("_timestamp"), path)
        if at_ms in hours:
            raise SchemaError(f"{path}: duplicate hour")
        hours[at_ms] = hour
    inside = {at_ms: hour for at_ms, hour in hours.items() if rows.window.holds(at_ms)}
    for field, (family, labels) in FIELDS.items():
        add = rows.count if family.kind is MetricType.COUNTER else rows.level
        for at_ms, hour in inside.items():
            number = optional_count(hour.get(field), f"metrics[].{field}")
            add(family, (project, *labels), at_ms, number)
    if answer.stats and len(inside) == len(hours):
        rows.drift["unexpected_type"] += _wrong_sums(answer.metrics, answer.stats[0])


def collect_flows(flows: Sequence[TopEntry[FlowName]], rows: Rows, *, limit: int) -> None:
    """Add the most used flows by id; the first name of a flow is shown."""
    names: dict[str, str] = {}
    for entry, uses in _most_used(flows, limit):
        name = names.setdefault(entry.of.id, cut(entry.of.name))
        labels = (entry.of.id, name, trailing_label(rows.window))
        rows.window_value(TOP_FLOW_TRIGGERS, labels, uses)


def collect_messages(
    messages: Sequence[TopEntry[str]], rows: Rows, *, limit: int, mode: str
) -> None:
    """Add the most frequent messages.

    Mode ``raw`` shows them with personal data redacted. Otherwise the label rule of ``message``,
    whose keys are normalized, admits only listed texts, and the rest is ``other``.
    """
    for entry, uses in _most_used(messages, limit):
        text = (presentable(entry.of) or OTHER) if mode == "raw" else normalize(entry.of)
        if text == REDACTED and mode == "raw":
            rows.drop(TOP_MESSAGE_USES, "pii")
        rows.window_value(TOP_MESSAGE_USES, (text, trailing_label(rows.window)), uses)


LISTS: Mapping[str, tuple[Family, type[list[Any]], Callable[..., None]]] = {
    "top_flows": (TOP_FLOW_TRIGGERS, list[TopEntry[FlowName]], collect_flows),
    "top_messages": (TOP_MESSAGE_USES, list[TopEntry[str]], collect_messages),
}
"""The family of each list, the type of its answer, and what collects it."""


def _hour_ms(text: Any, path: str) -> int:
    if text is None:
        raise SchemaError(f"{path}: missing", "missing")
    with suppress(ValueError, TypeError):
        at_ms = parse_instant(text)
        if at_ms % HOUR_MS == 0 and text.endswith("Z"):
            return at_ms
    raise SchemaError(f"{path}: expected a whole hour in UTC")


def _wrong_sums(hours: Sequence[Mapping[str, Any]], stats: Mapping[str, Any]) -> int:
    """Return how many counts in ``stats`` are not the sum of the hours."""
    counts = {name for name, (family, _) in FIELDS.items() if family.kind is MetricType.COUNTER}
    sums = {name: sum(parse_number(hour.get(name)) or 0 for hour in hours) for name in counts}
    return sum(parse_number(stats[name]) != sums[name] for name in counts & stats.keys())


def _most_used(entries: Sequence[TopEntry[OfT]], limit: int) -> list[tuple[TopEntry[OfT], int]]:
    counted = [(each, count(each.count, f"[{i}].count")) for i, each in enumerate(entries)]
    return sorted(counted, key=lambda pair: -pair[1])[:limit]
