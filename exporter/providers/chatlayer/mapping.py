"""Chatlayer's tracking events as events of a stream: pure, no clock, no network.

Source: https://developers.sinch.com/docs/chatlayer-analytics/api-reference/chatlayer-analytics/tag/Events
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import astuple

from exporter.model import families
from exporter.model.query import LabelRule
from exporter.model.samples import SECOND_MS, Event, Series, Window, floor_to
from exporter.providers.base.labels import Labels
from exporter.providers.base.times import parse_instant
from exporter.providers.chatlayer.options import MappedEvent

T = TypeVar("T")


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
    """One page of events; an empty or absent token ends the list."""

    events: list[TrackingEvent] | None = None
    next_page_token: str | float | None = ""


class CamelEvent(msgspec.Struct, rename="camel"):
    """The same, field by field, where the gateway spells names in camel case."""

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


class CamelEventPage(msgspec.Struct, rename="camel"):
    """A page of such events."""

    events: list[CamelEvent] | None = None
    next_page_token: str | float | None = ""


class Decode(Protocol):
    """Decodes a body, or raises ``SchemaError``."""

    def __call__(self, body: bytes, into: type[T]) -> T:
        """Return ``body`` as ``into``."""
        ...


Owner = tuple[str, str]
"""Bot and version."""


@dataclass(frozen=True, slots=True)
class EventScope:
    """Whose events are read: one bot and version, or (both empty) those of a team.

    ``covered`` are the bots and versions whose events another query of the target counts.
    """

    bot: str = ""
    version: str = ""
    covered: frozenset[Owner] = frozenset()


@dataclass(frozen=True, slots=True)
class EventRules:
    """How events become series: see ``options.EventOptions``; ``limit`` is a label's length in bytes."""

    event_map: Mapping[str, MappedEvent]
    active: frozenset[str] | None
    label_rules: Mapping[str, LabelRule]
    limit: int


Key = tuple[str, str, str, str]
"""Bot, version, event name and channel type."""


@dataclass(frozen=True, slots=True)
class EventPlaces:
    """What each kind of event adds to, worked out once a kind, and how its identity begins."""

    rules: EventRules
    labels: Labels
    known: dict[Key, tuple[tuple[Series, ...], tuple[str, ...] | None]] = field(
        default_factory=dict
    )
    identities: dict[Owner, "hashlib.blake2b"] = field(default_factory=dict)

    def digest_prefix(self, owner: Owner) -> "hashlib.blake2b":
        """Return the digest of an identity up to the event's own id; a copy goes on from there."""
        found = self.identities.get(owner)
        if found is None:
            text = "\0".join((*owner, "")).encode()
            found = self.identities[owner] = hashlib.blake2b(text, digest_size=16)
        return found

    def of(self, key: Key) -> tuple[tuple[Series, ...], tuple[str, ...] | None]:
        """Return the series of a kind of event, and where its user counts as active, if at all."""
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self._build(key)
        return found

    def _build(self, key: Key) -> tuple[tuple[Series, ...], tuple[str, ...] | None]:
        bot, version, name, channel = key
        counted = self.labels.series(families.EVENTS, bot, version.lower(), channel, name)
        place = counted[1][:3]
        active = self.rules.active is None or name in self.rules.active
        mapped = self.rules.event_map.get(name)
        series = (counted,) if mapped is None else (counted, self._mapped(mapped, key))
        return series, place if active else None

    def _mapped(self, mapped: MappedEvent, key: Key) -> Series:
        bot, version, _, channel = key
        family = families.NORMALISED[mapped.family]
        own = {"channel": channel} | dict(mapped.labels)
        beyond = [own.get(label, "") for label in family.labels[4:]]
        return self.labels.series(family, bot, version.lower(), *beyond)


def page_to_events(
    page: Iterable[TrackingEvent],
    window: Window,
    scope: EventScope,
    places: EventPlaces,
    drift: Counter[str],
) -> list[Event]:
    """Return the events of ``window``; those outside it belong to another read and are left out.

    An event of the second in which the window starts is kept: a time may be written without its
    fraction, and a page that is filtered by the millisecond is then the only one that has it.
    An event without a readable time is left out, too, and counted in ``drift``.
    """
    start_ms, end_ms = floor_to(window.start_ms, SECOND_MS), window.end_ms
    found: list[Event] = []
    for raw in page:
        at_ms = _instant(raw, drift)
        if at_ms is None or not start_ms <= at_ms < end_ms:
            continue
        owner = _owner(raw, scope, drift)
        if owner not in scope.covered:
            found.append(_event(raw, at_ms, owner, places))
    return found


def _instant(raw: TrackingEvent, drift: Counter[str]) -> int | None:
    if not raw.timestamp:
        drift["missing"] += 1
        return None
    try:
        return parse_instant(raw.timestamp)
    except ValueError:
        drift["unexpected_type"] += 1
        return None


def _owner(raw: TrackingEvent, scope: EventScope, drift: Counter[str]) -> Owner:
    if not scope.bot:
        return raw.bot_id or "", (raw.version or "").upper()
    if raw.version and raw.version.upper() != scope.version:
        drift["unknown_enum"] += 1
    return scope.bot, scope.version


def _event(raw: TrackingEvent, at_ms: int, owner: Owner, places: EventPlaces) -> Event:
    counts, place = places.of((*owner, raw.event or "", raw.channel_type or ""))
    digest, content = _digest(raw, owner, places), _content(raw, at_ms)
    if place is None:
        return Event(digest, at_ms, counts, content)
    user, conversation = raw.user_id or "", raw.conversation_id or ""
    return Event(digest, at_ms, counts, content, place, user, conversation)


def _digest(raw: TrackingEvent, owner: Owner, places: EventPlaces) -> bytes:
    """Return the event's identity: its id, or all that it says where it has none."""
    if not raw.id:
        return hashlib.blake2b(_canonical(raw, *owner), digest_size=16).digest()
    digest_prefix = places.digest_prefix(owner).copy()
    digest_prefix.update(raw.id.encode())
    return digest_prefix.digest()


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


def decode_page(body: bytes, decode: Decode) -> EventPage:
    """Return a page in either spelling; ``decode`` raises ``SchemaError`` for anything else."""
    page = decode(body, EventPage)
    camel = b'"nextPageToken"' in body or b'"botId"' in body
    if camel and not page.next_page_token and not any(each.bot_id for each in page.events or ()):
        found = decode(body, CamelEventPage)
        events = [TrackingEvent(*astuple(each)) for each in found.events or ()]
        return EventPage(events, found.next_page_token)
    return page
