"""Chatlayer's tracking events as events of a stream, its aggregates as samples: pure functions.

Neither the names of series nor the format of ``x_values`` is documented, so both are read
leniently, and an unknown name is no error.

Source: https://developers.sinch.com/docs/chatlayer-analytics/api-reference/chatlayer-analytics
"""

import hashlib
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from exporter.errors import SchemaError, Truncated
from exporter.http_client.client import decode, with_whole_characters
from exporter.model import families
from exporter.model.families import counter, gauge
from exporter.model.numbers import Number, count, parse_number
from exporter.model.query import LabelRule
from exporter.model.samples import SECOND_MS, Event, Family, MetricType, Series, Window, floor_to
from exporter.providers.base.options import COUNTERS, MappedFamily
from exporter.providers.base.rows import Labels, Rows
from exporter.providers.base.times import parse_instant

MESSAGES = counter(
    "chatbot_chatlayer_messages_total",
    100,
    "Chatlayer messages series by kind, as the API names it.",
    "channel",
    "kind",
    meaning="Kinds are undocumented (understood, not understood, click …)",
)
USERS = gauge(
    "chatbot_chatlayer_users",
    60,
    "Chatlayer users series by kind for the last settled period, as the API names it.",
    "kind",
    "window",
    meaning="Kinds are undocumented (total, new, returning …); never add",
)
CAMPAIGN_CONVERSATIONS = Family(
    "chatbot_chatlayer_campaign_conversations_total",
    MetricType.COUNTER,
    "Chatlayer conversations by campaign.",
    ("provider", "target", "project", "campaign", "campaign_source"),
    100,
    meaning="The only place where campaigns appear in the API's output; counted by day",
)
EVENT_VOLUME = gauge(
    "chatbot_chatlayer_event_volume_30d",
    300,
    "Chatlayer event volume over the last 30 days, as its definitions list reports it.",
    "event",
    meaning="Cross-check against chatbot_events_total",
)

_MEMBERS = frozenset({"data", "events", "event_definitions", "next_page_token"})
_TOTAL = re.compile(r"(total|all|overall|sum)|total[ _-]\w+|\w+[ _-]total")
_SECONDS_BELOW = 100_000_000_000  # since 1970, as far as the year 5138; a larger number is in ms

Owner: TypeAlias = tuple[str, str]
"""Bot and version."""

_CAMEL_CASE = re.compile(
    rb'"(nextPageToken|(bot|user|channel|conversation)Id|channelType'
    rb'|eventDefinitions|volume30Day|seriesLabels|xValues)"(?=\s*:)',
    re.ASCII,
)


class TrackingEvent(msgspec.Struct, gc=False):
    """One event as the API returns it; every field may be absent. Attributes stay raw.

    It holds no reference that could form a cycle, so the garbage collector need not track it.
    """

    id: str | None = ""
    event: str | None = ""
    bot_id: str | None = ""
    version: str | None = ""
    user_id: str | None = ""
    channel_id: str | None = ""
    channel_type: str | None = ""
    conversation_id: str | None = ""
    attributes: msgspec.Raw = msgspec.Raw(b"{}")
    timestamp: str | None = ""


class EventPage(msgspec.Struct):
    """One page of events."""

    events: list[TrackingEvent] | None = None
    next_page_token: str | int | float | None = ""


class RawPage(msgspec.Struct):
    """One page of events of any shape."""

    events: list[msgspec.Raw] | None = None
    next_page_token: str | int | float | None = ""


def decode_page(body: bytes, endpoint: str, drift: Counter[str]) -> EventPage:
    """Return a page, whose names may be in camel case; raise ``SchemaError`` for anything else.

    Drift: what is not an event is left out, and types other than text are read as text.
    """
    page = _decode_page(body, endpoint, drift)
    if page.next_page_token or any(each.bot_id for each in page.events or ()):
        return page
    named = snake_case(body)
    return page if named == body else _decode_page(named, endpoint, drift)


def _decode_page(body: bytes, endpoint: str, drift: Counter[str]) -> EventPage:
    with suppress(SchemaError):
        return decode(body, EventPage, endpoint)
    page = decode(body, RawPage, endpoint)
    events = [_as_text(each, drift) for each in page.events or ()]
    return EventPage([each for each in events if each], page.next_page_token)


def _as_text(raw: bytes, drift: Counter[str]) -> TrackingEvent | None:
    """Return an event whose members are texts or empty; None if it is not an event at all."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(raw, type=TrackingEvent)
    drift["unexpected_type"] += 1
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        attributes = members.pop("attributes", msgspec.Raw(b"{}"))
        texts = {
            name: text for name, content in members.items() if (text := _text(content)) is not None
        }
    except (msgspec.DecodeError, UnicodeDecodeError):  # not an event, or half a character in it
        whole = with_whole_characters(bytes(raw))
        drift["unexpected_type"] -= whole != raw
        return None if whole == raw else _as_text(whole, drift)
    return msgspec.structs.replace(msgspec.convert(texts, TrackingEvent), attributes=attributes)


def _text(raw: msgspec.Raw) -> str | None:
    """Return a text, a number or a truth value as text; None for anything else."""
    try:
        content = msgspec.json.decode(raw)
    except msgspec.ValidationError:  # a number that no float holds
        return bytes(raw).decode()
    return str(content) if isinstance(content, str | int | float) else None


def snake_case(body: bytes) -> bytes:
    """Return an answer with its names in snake case, as documented.

    Raise ``SchemaError`` if none of them is known: that is an error, not an answer without data.
    """
    named = _CAMEL_CASE.sub(lambda name: re.sub(rb"(?=[A-Z]|30)", b"_", name[0]).lower(), body)
    with suppress(msgspec.DecodeError, UnicodeDecodeError):  # `decode` reports what it is
        members = msgspec.json.decode(named, type=dict[str, msgspec.Raw])
        if members and members.keys().isdisjoint(_MEMBERS):
            raise SchemaError("the answer has no known field")
    return named


@dataclass(frozen=True, slots=True)
class EventRules:
    """Which events are read, and how they become series: see ``provider.EventOptions``.

    They are those of one bot and version or, with both empty, of a team. ``covered`` are the bots
    and versions whose events another query counts. ``limit`` is a label value's maximum in bytes.
    """

    bot: str = ""
    version: str = ""
    covered: frozenset[Owner] = frozenset()
    event_map: Mapping[str, MappedFamily] = field(default_factory=dict)
    active: frozenset[str] | None = None
    label_rules: Mapping[str, LabelRule] = field(default_factory=dict)
    limit: int = 128


class EventMapper:
    """Turns the API's events into events of a stream, for the duration of a poll."""

    def __init__(self, rules: EventRules) -> None:
        self.labels = Labels(rules.label_rules, rules.limit)
        self._rules = rules
        # By bot, version, name and channel: there are few kinds and many events.
        self._kinds: dict[tuple[str, ...], tuple[tuple[Series, ...], tuple[str, ...] | None]] = {}

    def events(
        self, page: Iterable[TrackingEvent], window: Window, drift: Counter[str]
    ) -> list[Event]:
        """Return the events of ``window``; those outside it belong to another read.

        An event of the second in which the window starts is kept: its time may be written without
        a fraction, and then only this page, which is filtered by the millisecond, has it. An event
        without a readable time is left out and counted in ``drift``.
        """
        start_ms, end_ms = floor_to(window.start_ms, SECOND_MS), window.end_ms
        found: list[Event] = []
        for raw in page:
            at_ms = _event_ms(raw, drift)
            if at_ms is None or not start_ms <= at_ms < end_ms:
                continue
            owner = self._owner(raw, drift)
            if not self._is_covered(owner, drift):
                found.append(self._event(raw, at_ms, owner))
        return found

    def _owner(self, raw: TrackingEvent, drift: Counter[str]) -> Owner:
        version = (raw.version or "").upper()
        if not self._rules.bot:
            return raw.bot_id or "", version
        drift["unknown_enum"] += version not in {"", self._rules.version}
        return self._rules.bot, self._rules.version

    def _is_covered(self, owner: Owner, drift: Counter[str]) -> bool:
        """Return whether another query counts the events of ``owner``, or may, which is drift."""
        covered = self._rules.covered
        if all(owner) or not covered:
            return owner in covered
        bot, version = owner
        may_be = any(bot in {"", known[0]} and version in {"", known[1]} for known in covered)
        drift["missing"] += may_be
        return may_be

    def _event(self, raw: TrackingEvent, at_ms: int, owner: Owner) -> Event:
        kind = (*owner, raw.event or "", raw.channel_type or "")
        if kind not in self._kinds:
            self._kinds[kind] = self._series(*kind)
        counts, place = self._kinds[kind]
        digest, content = _digest(raw, owner), _content(raw, at_ms)
        if place is None:
            return Event(digest, at_ms, counts, content)
        user, conversation = raw.user_id or "", raw.conversation_id or ""
        return Event(digest, at_ms, counts, content, place, user, conversation)

    def _series(
        self, bot: str, version: str, name: str, channel: str
    ) -> tuple[tuple[Series, ...], tuple[str, ...] | None]:
        """Return the series that a kind of event adds to, and where its user counts as active."""
        rules, base = self._rules, (bot, version.lower())
        series = [self.labels.series(families.EVENTS, *base, channel, name)]
        place = series[0][1][:3] if rules.active is None or name in rules.active else None
        if mapped := rules.event_map.get(name):
            family = COUNTERS[mapped.family]
            series.append(self.labels.series(family, *base, *mapped.values(channel)))
        return tuple(series), place


def _event_ms(raw: TrackingEvent, drift: Counter[str]) -> int | None:
    if not raw.timestamp:
        drift["missing"] += 1
        return None
    with suppress(ValueError):
        return parse_instant(raw.timestamp)
    drift["unexpected_type"] += 1
    with suppress(ValueError):  # used only if the window, which is in UTC, holds it
        return parse_instant(raw.timestamp, assume_utc=True)
    return None


def _digest(raw: TrackingEvent, owner: Owner) -> bytes:
    """Return a digest of the event's identity: its id or, without one, all its content."""
    content = "\0".join((*owner, raw.id)).encode() if raw.id else _canonical(raw, *owner)
    return hashlib.blake2b(content, digest_size=16).digest()


def _canonical(raw: TrackingEvent, bot: str, version: str) -> bytes:
    content = [
        *(bot, version, raw.event, raw.user_id, raw.channel_id, raw.channel_type),
        *(raw.conversation_id, raw.timestamp, _attributes(bytes(raw.attributes))),
    ]
    return b"\0" + msgspec.json.encode(content, order="deterministic")


def _attributes(raw: bytes) -> Any:
    """Return an event's attributes, decoded the same way whatever else its page holds."""
    try:
        return msgspec.json.decode(raw) or {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        whole = with_whole_characters(raw)
        return {} if whole == raw else _attributes(whole)


def _content(raw: TrackingEvent, at_ms: int) -> int:
    """Return a checksum of the event's content, except for its attributes."""
    content = f"{raw.event}\0{raw.user_id}\0{raw.channel_type}\0{raw.conversation_id}\0{at_ms}"
    return zlib.crc32(content.encode())


BotVersion: TypeAlias = tuple[str, str]
"""Bot and version, the latter in lower case."""


class SeriesValues(msgspec.Struct):
    """One series; ``values[i]`` belongs to ``x_values[i]``."""

    values: list[Number] | None = None
    labels: dict[str, str] | None = None


class SeriesData(msgspec.Struct):
    """The data of every aggregate; an empty field may be absent."""

    series: list[SeriesValues] | None = None
    series_labels: list[str] | None = None
    x_values: list[str | int | float] | None = None


class SeriesResponse(msgspec.Struct):
    """The answer of every aggregate."""

    data: SeriesData = msgspec.field(default_factory=SeriesData)


class Definition(msgspec.Struct):
    """One event name that the vendor has seen."""

    event: str | None = ""
    volume_30_day: Number | None = 0


class DefinitionPage(msgspec.Struct):
    """One page of definitions."""

    event_definitions: list[Definition] | None = None
    next_page_token: str | int | float | None = ""


@dataclass(frozen=True, slots=True)
class NamedSeries:
    """One series: its labels, its name, and its values by bucket start."""

    labels: Mapping[str, str]
    name: str
    values: Mapping[int, int]

    def label(self, key: str) -> str:
        """Return the label ``key`` or, if the series has no labels, its name."""
        return self.labels.get(key, "" if self.labels else self.name)


def is_total(name: str) -> bool:
    """Return whether a series of this name holds the sum of the others."""
    return _TOTAL.fullmatch(name.strip().casefold()) is not None


def read_series(
    data: SeriesData, asked: Window, step_ms: int, window: Window, drift: Counter[str]
) -> list[NamedSeries]:
    """Return the series of an answer to ``asked``, limited to ``window``.

    An answer that has zeros has every bucket, so it is drift if it begins later than ``asked``.
    """
    names, series = data.series_labels or [], data.series or []
    starts = _starts(data.x_values or [], asked, step_ms, drift)
    for index, one in enumerate(series):
        _check_length(one.values or [], starts, f"data.series[{index}].values", data)
    rows = zip(*(one.values or [] for one in series), strict=False)
    zeros = any(not any(map(parse_number, each)) for each in rows)
    if zeros and min(starts) > asked.start_ms:
        drift["missing"] += 1
    return [
        _read(one, names[index] if index < len(names) else str(index), index, starts, window)
        for index, one in enumerate(series)
    ]


def _check_length(
    values: Sequence[Number], starts: Sequence[int], path: str, data: SeriesData
) -> None:
    """Raise unless there is one value for each bucket.

    If buckets are not listed, the open one may be absent, or all those of a series without counts.
    """
    if len(values) > len(starts):
        raise SchemaError(f"{path}: more values than requested buckets")
    unlisted = () if data.x_values else (0, len(starts) - 1)
    if len(values) not in {len(starts), *unlisted}:
        raise Truncated(f"{path}: fewer values than buckets")


def _read(
    one: SeriesValues, name: str, index: int, starts: Sequence[int], window: Window
) -> NamedSeries:
    labels = one.labels or {}
    if len(labels) == 1:
        name = next(iter(labels.values()))
    path = f"data.series[{index}].values"
    sums: defaultdict[int, int] = defaultdict(int)
    for position, (at_ms, value) in enumerate(zip(starts, one.values or [], strict=False)):
        if window.holds(at_ms):
            sums[at_ms] += count(value, f"{path}[{position}]")
    return NamedSeries(labels, name, dict(sums))


def _starts(
    x_values: Sequence[str | float], asked: Window, step_ms: int, drift: Counter[str]
) -> list[int]:
    """Return the starts of the buckets: as given, or counted from the start of the request.

    They are counted if the given ones do not tell buckets apart, or if there is one per bucket but
    some lie outside the request: local times, or hours of the day.
    """
    counted = list(range(asked.start_ms, asked.end_ms, step_ms))
    given = [_bucket_ms(x) for x in x_values]
    if not given:
        return counted
    starts = [floor_to(at_ms, step_ms) for at_ms in given if at_ms is not None]
    distinct, inside = {*starts}, [at for at in starts if asked.start_ms <= at <= asked.end_ms]
    known = len(distinct) == len(given) and bool(inside)
    if known and starts == given == inside:
        return starts
    drift["unexpected_type"] += 1
    if known and (len(given) != len(counted) or starts == inside):
        return starts
    return counted[: len(given)] if len(counted) - 1 <= len(given) <= len(counted) else []


def _bucket_ms(x: str | float) -> int | None:
    number = parse_number(x.strip() if isinstance(x, str) else x)
    if number is not None and abs(number) < _SECONDS_BELOW * SECOND_MS:
        return int(number * SECOND_MS if abs(number) < _SECONDS_BELOW else number)
    try:
        return parse_instant(str(x).strip(), assume_utc=True)
    except ValueError:
        return None


def parts_of(found: Sequence[NamedSeries]) -> list[NamedSeries]:
    """Return the series that add up to the whole, without a total beside its parts."""
    parts = [each for each in found if not is_total(each.name)]
    return parts or list(found[:1])


def collect_conversations(found: Sequence[NamedSeries], rows: Rows, *, base: BotVersion) -> None:
    """Add conversations started, by channel."""
    alone = len(found) == 1 and not found[0].labels and found[0].name in {"0", ""}
    for each in found if len(found) == 1 else parts_of(found):
        channel = "" if alone else each.label("channel_type")
        _count(rows, families.CONVERSATIONS_STARTED, (*base, channel), each)


def collect_messages(
    found: Sequence[NamedSeries],
    rows: Rows,
    *,
    base: BotVersion,
    received: Sequence[str] | None,
) -> None:
    """Add messages by kind, and ``received`` kinds (None: all) as messages received."""
    kinds = parts_of(found)
    for each in kinds:
        _count(rows, MESSAGES, (*base, "", each.name), each)
    for each in kinds if received is None else found:
        if received is None or each.name in received:
            _count(rows, families.MESSAGES_RECEIVED, (*base, ""), each)


def collect_knowledge_base(found: Sequence[NamedSeries], rows: Rows, *, base: BotVersion) -> None:
    """Add uses of the knowledge base; the response names no document."""
    for each in parts_of(found):
        _count(rows, families.KNOWLEDGE_BASE_HITS, (*base, ""), each)


def collect_users(found: Sequence[NamedSeries], rows: Rows, *, base: BotVersion) -> None:
    """Add distinct users of each hour by kind, and their total as active users."""
    totals = [each for each in found if is_total(each.name)]
    whole = totals[:1] or (found if len(found) == 1 else [])
    # Distinct users never add up: of series with one name, the last counts.
    shown = {(USERS, (*base, each.name, "hour")): each for each in found}
    shown |= {(families.ACTIVE_USERS, (*base, "", "hour")): each for each in whole}
    for (family, labels), each in shown.items():
        for at_ms, value in each.values.items():
            rows.bucket_value(family, labels, at_ms, value)


def collect_campaigns(found: Sequence[NamedSeries], rows: Rows) -> None:
    """Add a team's conversations by bot and campaign; a series without labels is their sum."""
    for each in [each for each in found if each.labels] or found:
        keys = ("bot_id", "campaign_id", "campaign_source")
        _count(rows, CAMPAIGN_CONVERSATIONS, tuple(each.labels.get(k, "") for k in keys), each)


def collect_definitions(found: Sequence[Definition], rows: Rows, *, bot: str) -> None:
    """Add the vendor's own event volumes; names that share a label are summed."""
    for index, each in enumerate(found):
        path = f"event_definitions[{index}].volume_30_day"
        volume = count(0 if each.volume_30_day is None else each.volume_30_day, path)
        rows.window_value(EVENT_VOLUME, (bot, "", each.event or ""), volume)


def _count(rows: Rows, family: Family, labels: tuple[str, ...], each: NamedSeries) -> None:
    for at_ms, value in each.values.items():
        rows.count(family, labels, at_ms, value)
