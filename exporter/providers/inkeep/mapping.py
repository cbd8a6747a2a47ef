"""Inkeep's grouped rows as samples: pure, no clock, no network.

Source: https://docs.inkeep.com/analytics-api/query
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.numbers import Number, count
from exporter.model.samples import HOUR_MS, Family, GaugeRow, Reading, Series, Window, floor_to
from exporter.providers.base.labels import Labels
from exporter.providers.inkeep.event_map import COUNTERS, Mapped
from exporter.providers.inkeep.families import CONVERSATION_USER_MESSAGES, ESCALATIONS

Figure: TypeAlias = Number | str | None
"""A number as the API may spell it: two of its endpoints give counts as strings."""

DOWNVOTE = "downvote"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUCKET = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
_NUMBER = re.compile(r"-?\d{1,17}(\.\d{1,9})?", re.ASCII)
_ENTITIES = frozenset({"message", "conversation", "search"})


class Row(msgspec.Struct):
    """One group of an hourly count; which fields it has depends on the query."""

    created: str | None = msgspec.field(default=None, name="createdAt_hour")
    begun: str | None = msgspec.field(default=None, name="firstMessageTime_hour")
    integration: str | None = msgspec.field(default=None, name="integrationId")
    event_type: str | None = msgspec.field(default=None, name="eventType")
    type: str | None = None
    kind: str | msgspec.UnsetType | None = msgspec.field(
        default=msgspec.UNSET, name="properties.escalationType"
    )
    ids: Figure = msgspec.field(default=None, name="count_id")
    user_messages: Figure = msgspec.field(default=None, name="sum_userMessageCount")


Part: TypeAlias = tuple[Family, tuple[str, ...], int]
"""A family, its label values after ``project, bot_environment``, and what one row adds to it."""

Measure: TypeAlias = Callable[[Row, str, Counter[str]], Iterable[Part]]
"""What one row counts; the text names the row in a fault's message."""


def rows_to_reading(
    rows: Sequence[Row], window: Window, project: str, measure: Measure, labels: Labels
) -> Reading:
    """Return the complete ``rows`` of ``window`` as a reading.

    Rows of one hour and one label set are parts and are summed. The request bounds the window, so
    an hour outside it means that hours are told in another zone: it is left out and is drift, as
    is an instant within an hour, which counts into its hour.
    """
    sums: defaultdict[tuple[Series, int], int] = defaultdict(int)
    drift: Counter[str] = Counter()
    for index, row in enumerate(rows):
        path = f"result[{index}]"
        at_ms = _instant(row, path)
        hour_ms = floor_to(at_ms, HOUR_MS)
        drift["unexpected_type"] += at_ms != hour_ms or not window.holds(hour_ms)
        if not window.holds(hour_ms):
            continue
        for family, values, number in measure(row, path, drift):
            sums[labels.series(family, project, "", *values), hour_ms] += number
    counts = [(series, at_ms, value) for (series, at_ms), value in sums.items()]
    return Reading(window, counts, drift=+drift, dropped=labels.dropped)


def events(event_map: Mapping[str, Mapped]) -> Measure:
    """Return how events count: each by its name, and into the family it is mapped to."""

    def measure(row: Row, path: str, drift: Counter[str]) -> Iterable[Part]:
        number = whole(row.ids, f"{path}.count_id")
        name = _name(row, drift)
        channel = row.integration or ""
        yield families.EVENTS, (channel, name), number
        if mapped := event_map.get(name):
            yield COUNTERS[mapped.family], mapped.values(channel), number

    return measure


def conversations(row: Row, path: str, drift: Counter[str]) -> Iterable[Part]:
    """Yield conversations begun, and the user messages that they have by now."""
    channel = (row.integration or "",)
    yield families.CONVERSATIONS_STARTED, channel, whole(row.ids, f"{path}.count_id")
    if row.user_messages is None:
        drift["missing"] += 1
    else:
        number = whole(row.user_messages, f"{path}.sum_userMessageCount")
        yield CONVERSATION_USER_MESSAGES, channel, number


def feedback(row: Row, path: str, drift: Counter[str]) -> Iterable[Part]:
    """Yield ratings."""
    drift["missing"] += row.type is None
    number = whole(row.ids, f"{path}.count_id")
    yield families.FEEDBACK, (row.integration or "", row.type or ""), number


def escalations(row: Row, path: str, drift: Counter[str]) -> Iterable[Part]:
    """Yield escalations by kind, and handovers: a thumbs-down alone asks for nobody."""
    drift["missing"] += row.kind is msgspec.UNSET
    kind = row.kind or ""
    channel = row.integration or ""
    number = whole(row.ids, f"{path}.count_id")
    yield ESCALATIONS, (channel, kind), number
    if kind != DOWNVOTE:
        yield families.HANDOVERS, (channel,), number


@dataclass(frozen=True, slots=True)
class Shown:
    """How distinct users are shown: of which project, over which window, and that window's label."""

    project: str
    window: Window
    label: str

    def row(self, channel: str, number: int, labels: Labels) -> GaugeRow:
        """Return the users of ``channel``."""
        series = labels.series(families.ACTIVE_USERS, self.project, "", channel, self.label)
        return GaugeRow(series, self.window, number)


def users(rows: Sequence[Mapping[str, Any]], shown: Shown, labels: Labels) -> list[GaugeRow]:
    """Return the different users per integration.

    No integration is no row here: an empty channel is the total, which is asked for by itself.
    """
    found = [(_channel(row), _distinct(row)) for row in rows]
    if len({channel for channel, _ in found}) < len(found):
        raise SchemaError("result: an integration came twice; distinct counts never add up")
    return [
        shown.row(channel, number, labels)
        for channel, number in found
        if channel and number is not None
    ]


def all_users(rows: Sequence[Mapping[str, Any]], shown: Shown, labels: Labels) -> list[GaugeRow]:
    """Return the users of all integrations together: one row, or none if there is no figure."""
    if len(rows) > 1:
        raise SchemaError("result: expected one row")
    numbers = [number for number in map(_distinct, rows) if number is not None]
    return [shown.row("", number, labels) for number in numbers]


def whole(value: Figure, path: str) -> int:
    """Return a count that may be spelt as a string; raise ``SchemaError`` label_rules ``path``."""
    if not isinstance(value, str):
        return count(value, path)
    if not _NUMBER.fullmatch(value):
        raise SchemaError(f"{path}: expected a number")
    return count(float(value) if "." in value else int(value), path)


@lru_cache(maxsize=4096)
def parse_bucket(text: str) -> int:
    """Return the instant of a bucket in UTC milliseconds.

    The form is not documented: a day, or a day and a time with a blank or ``T`` between them;
    without an offset it is UTC.
    """
    try:
        if _BUCKET.fullmatch(text):
            at = datetime.fromisoformat(text)
            aware = at if at.tzinfo else at.replace(tzinfo=UTC)
            return (aware - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass
    raise SchemaError("result[]: expected a bucket such as 2026-03-01 09:00:00")


def _instant(row: Row, path: str) -> int:
    text = row.created or row.begun
    if text is None:
        raise SchemaError(f"{path}: the bucket is missing", "missing")
    return parse_bucket(text)


def _name(row: Row, drift: Counter[str]) -> str:
    """Return the event's name: of two fields the one that does not say what the event is about."""
    told = {value: None for value in (row.type, row.event_type) if value}
    names = [value for value in told if value not in _ENTITIES]
    if len(names) != 1:
        drift["unknown_enum" if told else "missing"] += 1
    return next(iter(names or told), "")


def _channel(row: Mapping[str, Any]) -> str:
    value = row.get("integrationId") or ""
    if not isinstance(value, str):
        raise SchemaError("result[].integrationId: expected text")
    return value


def _distinct(row: Mapping[str, Any]) -> int | None:
    """Return the one distinct count of ``row``; the key's spelling for a path is not certain."""
    found = [key for key in row if key.startswith("countDistinct")]
    if len(found) != 1:
        raise SchemaError("result[]: the distinct count is missing", "missing")
    value = row[found[0]]
    if value is None:
        return None
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise SchemaError("result[].countDistinct: expected a number")
    return whole(value, "result[].countDistinct")
