"""Chatlayer's tracking events as events of a stream: pure, no clock, no network.

Source: https://developers.sinch.com/docs/chatlayer-analytics/api-reference/chatlayer-analytics/tag/Events
"""

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from exporter.http_client.client import decode
from exporter.model import families
from exporter.model.query import LabelRule
from exporter.model.samples import SECOND_MS, Event, Series, Window, floor_to
from exporter.providers.base.options import COUNTERS, MappedFamily
from exporter.providers.base.rows import Labels
from exporter.providers.base.times import parse_instant

Owner: TypeAlias = tuple[str, str]
"""Bot and version."""

_CAMEL_CASE = re.compile(
    rb'"(nextPageToken|(bot|user|channel|conversation)Id|channelType'
    rb'|eventDefinitions|volume30Day|seriesLabels|xValues)"(?=\s*:)',
    re.ASCII,
)


class TrackingEvent(msgspec.Struct, gc=False):
    """One event as the API gives it; every field may be left out. Attributes are not looked at.

    It refers to nothing that could refer back, so the collector need not follow it.
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


def decode_page(body: bytes, endpoint: str) -> EventPage:
    """Return a page, whose names may be in camel case; raise ``SchemaError`` for anything else."""
    page = decode(body, EventPage, endpoint)
    if page.next_page_token or any(each.bot_id for each in page.events or ()):
        return page
    return decode(snake_case(body), EventPage, endpoint)


def snake_case(body: bytes) -> bytes:
    """Return an answer whose names are in snake case, as they are documented."""
    return _CAMEL_CASE.sub(lambda name: re.sub(rb"(?=[A-Z]|30)", b"_", name[0]).lower(), body)


@dataclass(frozen=True, slots=True)
class EventRules:
    """Whose events are read, and how they become series: see ``options.EventOptions``.

    They are those of one bot and version, or (both empty) of a team. ``covered`` are the bots and
    versions whose events another query of the target counts. ``limit`` is a label's length in bytes.
    """

    bot: str = ""
    version: str = ""
    covered: frozenset[Owner] = frozenset()
    event_map: Mapping[str, MappedFamily] = field(default_factory=dict)
    active: frozenset[str] | None = None
    label_rules: Mapping[str, LabelRule] = field(default_factory=dict)
    limit: int = 128


class EventMapper:
    """Turns events as the API gives them into events of a stream, for the length of a poll."""

    def __init__(self, rules: EventRules) -> None:
        self.labels = Labels(rules.label_rules, rules.limit)
        self._rules = rules
        # By bot, version, name and channel, since there are few kinds and many events.
        self._kinds: dict[tuple[str, ...], tuple[tuple[Series, ...], tuple[str, ...] | None]] = {}

    def events(
        self, page: Iterable[TrackingEvent], window: Window, drift: Counter[str]
    ) -> list[Event]:
        """Return the events of ``window``; those outside it belong to another read.

        An event of the second in which the window starts is kept: a time may be written without
        its fraction, and a page that is filtered by the millisecond is then the only one that has
        it. An event without a readable time is left out and counted in ``drift``.
        """
        start_ms, end_ms = floor_to(window.start_ms, SECOND_MS), window.end_ms
        found: list[Event] = []
        for raw in page:
            at_ms = _instant(raw, drift)
            if at_ms is None or not start_ms <= at_ms < end_ms:
                continue
            owner = self._owner(raw, drift)
            if owner not in self._rules.covered:
                found.append(self._event(raw, at_ms, owner))
        return found

    def _owner(self, raw: TrackingEvent, drift: Counter[str]) -> Owner:
        version = (raw.version or "").upper()
        if not self._rules.bot:
            return raw.bot_id or "", version
        drift["unknown_enum"] += version not in {"", self._rules.version}
        return self._rules.bot, self._rules.version

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
        """Return what a kind of event adds to, and where its user counts as active, if at all."""
        rules, base = self._rules, (bot, version.lower())
        series = [self.labels.series(families.EVENTS, *base, channel, name)]
        place = series[0][1][:3] if rules.active is None or name in rules.active else None
        if mapped := rules.event_map.get(name):
            family = COUNTERS[mapped.family]
            series.append(self.labels.series(family, *base, *mapped.values(channel)))
        return tuple(series), place


def _instant(raw: TrackingEvent, drift: Counter[str]) -> int | None:
    if not raw.timestamp:
        drift["missing"] += 1
        return None
    with suppress(ValueError):
        return parse_instant(raw.timestamp)
    drift["unexpected_type"] += 1
    with suppress(ValueError):  # the window, which is in UTC, still has to hold it
        return parse_instant(raw.timestamp, assume_utc=True)
    return None


def _digest(raw: TrackingEvent, owner: Owner) -> bytes:
    """Return the event's identity: its id, or all that it says where it has none."""
    said = "\0".join((*owner, raw.id)).encode() if raw.id else _canonical(raw, *owner)
    return hashlib.blake2b(said, digest_size=16).digest()


def _canonical(raw: TrackingEvent, bot: str, version: str) -> bytes:
    try:
        attributes = msgspec.json.decode(raw.attributes)
    except msgspec.DecodeError:
        attributes = None
    said = [
        *(bot, version, raw.event, raw.user_id, raw.channel_id, raw.channel_type),
        *(raw.conversation_id, raw.timestamp, attributes or {}),
    ]
    return b"\0" + msgspec.json.encode(said, order="deterministic")


def _content(raw: TrackingEvent, at_ms: int) -> int:
    """Return a checksum of what the event says, attributes apart."""
    said = f"{raw.event}\0{raw.user_id}\0{raw.channel_type}\0{raw.conversation_id}\0{at_ms}"
    return zlib.crc32(said.encode())
