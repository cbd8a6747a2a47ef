"""Inkeep's grouped rows as counts and distinct counts: pure functions.

Source: https://docs.inkeep.com/analytics-api/query
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.families import counter
from exporter.model.numbers import Number, count, optional_count
from exporter.model.samples import Family, Window
from exporter.providers.base.options import COUNTERS, MappedFamily
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import parse_instant, trailing_label

ESCALATIONS = counter(
    "chatbot_inkeep_escalations_total",
    100,
    "Inkeep escalations by kind.",
    "channel",
    "kind",
    aggregated=("kind",),
    meaning="kind = properties.escalationType; a thumbs-down alone is one, of kind downvote",
)
CONVERSATION_USER_MESSAGES = counter(
    "chatbot_inkeep_conversation_user_messages_total",
    60,
    "User messages of Inkeep conversations, attributed to the start of the conversation.",
    "channel",
    meaning="Grows after its bucket has closed; for traffic without widget events",
)


T = TypeVar("T")
DOWNVOTE = "downvote"
_BUCKET = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
_ENTITIES = frozenset({"message", "conversation", "search"})


class HourGroup(msgspec.Struct):
    """One group of an hourly count; which fields it has depends on the query."""

    created: str | None = msgspec.field(default=None, name="createdAt_hour")
    begun: str | None = msgspec.field(default=None, name="firstMessageTime_hour")
    integration: str | None = msgspec.field(default=None, name="integrationId")
    event_type: str | None = msgspec.field(default=None, name="eventType")
    type: str | None = None
    kind: Any = msgspec.field(default=msgspec.UNSET, name="properties.escalationType")
    ids: Number | None = msgspec.field(default=None, name="count_id")
    user_messages: Number | msgspec.UnsetType | None = msgspec.field(
        default=msgspec.UNSET, name="sum_userMessageCount"
    )


DistinctGroup: TypeAlias = dict[str, Any]
"""One group of a distinct count; the key of its one number depends on what is counted."""


class FoundGroups(msgspec.Struct, Generic[T]):
    """The groups of an answer, and how many there would be without a limit."""

    result: list[T]
    total: Number | None

    @property
    def complete(self) -> bool:
        """Return whether no group is missing."""
        return count(self.total, "total") <= len(self.result)


class GroupsAnswer(msgspec.Struct, Generic[T]):
    """The answer to every query."""

    status: Literal["ok"]
    data: FoundGroups[T]


Counted: TypeAlias = Iterator[tuple[Family, tuple[str, ...], int | None]]
"""What one group counts: families, label values after ``project, bot_environment``, numbers.

None: the number is absent, and the family's known buckets stay.
"""

ReadGroup: TypeAlias = Callable[[HourGroup, int, Counter[str]], Counted]
"""Returns what a group counts, given its number of ids."""


def collect_hours(
    groups: Sequence[HourGroup], rows: Rows, *, project: str, read: ReadGroup
) -> None:
    """Add the groups of an hourly count.

    The request bounds the window, so an hour outside it shows that hours are in another zone: it
    is left out and counts as drift.
    """
    for index, group in enumerate(groups):
        path = f"result[{index}]"
        hour_ms = rows.bucket(_instant_ms(group, path))
        if hour_ms is None:
            rows.drift["unexpected_type"] += 1
            continue
        ids = count(group.ids, f"{path}.count_id")
        for family, labels, number in read(group, ids, rows.drift):
            rows.count(family, (project, "", *labels), hour_ms, number)


def events(event_map: Mapping[str, MappedFamily]) -> ReadGroup:
    """Return how events count: each by its name, and in the family that it is mapped to."""

    def read(group: HourGroup, ids: int, drift: Counter[str]) -> Counted:
        name, channel = _event_name(group, drift), group.integration or ""
        yield families.EVENTS, (channel, name), ids
        if mapped := event_map.get(name):
            yield COUNTERS[mapped.family], mapped.values(channel), ids

    return read


def conversations(group: HourGroup, ids: int, drift: Counter[str]) -> Counted:
    """Yield conversations started, and the number of their user messages so far.

    A null sum adds nothing; an absent one is unknown, not 0.
    """
    channel = (group.integration or "",)
    yield families.CONVERSATIONS_STARTED, channel, ids
    if group.user_messages is msgspec.UNSET:
        yield CONVERSATION_USER_MESSAGES, channel, None
    elif group.user_messages is None:
        drift["missing"] += 1
    else:
        messages = count(group.user_messages, "result[].sum_userMessageCount")
        yield CONVERSATION_USER_MESSAGES, channel, messages


def feedback(group: HourGroup, ids: int, drift: Counter[str]) -> Counted:
    """Yield ratings."""
    drift["missing"] += group.type is None
    yield families.FEEDBACK, (group.integration or "", group.type or ""), ids


def escalations(group: HourGroup, ids: int, drift: Counter[str]) -> Counted:
    """Yield escalations by kind, and handovers; a thumbs-down alone does not ask for a human."""
    drift["missing"] += group.kind is msgspec.UNSET
    kind, channel = str(group.kind or ""), group.integration or ""
    yield ESCALATIONS, (channel, kind), ids
    if kind != DOWNVOTE:
        yield families.HANDOVERS, (channel,), ids


def collect_distinct(
    groups: Sequence[DistinctGroup],
    overall: Sequence[DistinctGroup],
    rows: Rows,
    *,
    family: Family,
    project: str,
    window: Window,
) -> None:
    """Add a distinct count of ``window``: per integration, and in total (one group, or none).

    Groups without an integration are left out, since an empty channel is the total.
    """
    found = [(_channel(group), _distinct(group)) for group in groups]
    if len({channel for channel, _ in found}) < len(found):
        raise SchemaError("result: duplicate integration; distinct counts never add up")
    if len(overall) > 1:
        raise SchemaError("result: expected one row")
    shown = [each for each in found if each[0]] + [("", _distinct(group)) for group in overall]
    for channel, number in shown:
        if number is not None:
            labels = (project, "", channel, trailing_label(window))
            rows.window_value(family, labels, number, window)


def parse_bucket(text: str) -> int:
    """Return the instant of a bucket in UTC milliseconds.

    The format is not documented. Accepted are a day, or a day and a time with a space or ``T``
    between them; without an offset they are UTC.
    """
    if _BUCKET.fullmatch(text):
        with suppress(ValueError):
            return parse_instant(text, assume_utc=True)
    raise SchemaError("result[]: expected a bucket such as 2026-03-01 09:00:00")


def _instant_ms(group: HourGroup, path: str) -> int:
    text = group.created or group.begun
    if text is None:
        raise SchemaError(f"{path}: the bucket is missing", "missing")
    return parse_bucket(text)


def _event_name(group: HourGroup, drift: Counter[str]) -> str:
    """Return the event's name: the one of two fields that does not name what it is about."""
    given = {value: None for value in (group.type, group.event_type) if value}
    names = [value for value in given if value not in _ENTITIES]
    if len(names) != 1:
        drift["unknown_enum" if given else "missing"] += 1
    return next(iter(names or given), "")


def _channel(group: DistinctGroup) -> str:
    value = group.get("integrationId") or ""
    if not isinstance(value, str):
        raise SchemaError("result[].integrationId: expected text")
    return value


def _distinct(group: DistinctGroup) -> int | None:
    """Return the one distinct count of ``group``; how its key spells a path is not documented."""
    found = [key for key in group if key.startswith("countDistinct")]
    if len(found) != 1:
        raise SchemaError("result[]: the distinct count is missing", "missing")
    return optional_count(group[found[0]], "result[].countDistinct")
