"""The truth as Chatlayer's tracking events, in pages without order."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from exporter.simulator.chatlayer_format import BOT, Version, choice, version_of
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.server import Refusal
from exporter.simulator.times import HOUR_MS, Instant, milliseconds, stamp
from exporter.simulator.traffic import Traffic

NAMES: Mapping[Kind, str] = {
    Kind.HANDOVER: "handover",
    Kind.GOAL: "goal_booked",
    Kind.FEEDBACK: "feedback_given",
    Kind.FALLBACK: "not_understood",
    Kind.SEARCH: "search_submitted",
    Kind.FLOW_TRIGGER: "flow_entered",
}
"""The tracking events of this customer's flows; the vendor has none of its own."""

EVENT_MODES = frozenset(
    {
        "short_pages",  # at most 7 events a page
        "empty_page",  # the first page has a token and no events
        "repeated_rows",  # every page begins with the last events of the one before
        "expired_token",  # a token is refused
        "looping_token",  # every page has the same token
        "no_ids",
        "changed_content",  # the same ids, another conversation each
        "unfiltered_time",  # includes events outside the range
        "varied_fractions",  # timestamps with 0, 3, 6 or 9 digits
        "broken_times",  # no event has a valid time
    }
)
MOST = 100
FEW = 7
REPEATED = 3
DIGITS = (0, 3, 6, 9)


class EventFilter(msgspec.Struct, forbid_unknown_fields=True):
    """An event passes when its attribute ``key`` is one of the values; operators are not known."""

    key: str
    operator: str
    value: list[str]


class EventQuery(msgspec.Struct, forbid_unknown_fields=True):
    """One page of an event list, asked by a query string or a body; without a version a team's."""

    start_time: Instant
    end_time: Instant
    version: Version | None = None
    page_size: Annotated[int, msgspec.Meta(ge=1)] = 10
    page_token: str = ""
    filters: list[EventFilter] = []

    @property
    def digest(self) -> str:
        """Return what binds a token to its list."""
        filters = [(each.key, each.value) for each in self.filters]
        text = repr((self.start_time, self.end_time, self.version, filters))
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def page(
    traffic: Traffic, query: EventQuery, now_ms: int, modes: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    """Return one page and the token of the next, empty after the last.

    The list is fixed when its first page is asked for; what arrives later is not in it.
    """
    as_of_ms, offset = _decoded_token(query, modes) if query.page_token else (now_ms, 0)
    if "empty_page" in modes and not query.page_token:
        return [], _token(query, as_of_ms, 0)
    found = _events(traffic, query, as_of_ms, modes)
    size = min(FEW if "short_pages" in modes else MOST, query.page_size)
    begin = max(0, offset - REPEATED) if "repeated_rows" in modes else offset
    following = "" if offset + size >= len(found) else _token(query, as_of_ms, offset + size)
    if "looping_token" in modes:
        following = _token(query, as_of_ms, 0)
    return [_event(one, modes) for one in found[begin : offset + size]], following


def _events(
    traffic: Traffic, query: EventQuery, as_of_ms: int, modes: Mapping[str, Any]
) -> list[Occurrence]:
    more_ms = HOUR_MS if "unfiltered_time" in modes else 0
    window = milliseconds(query.start_time) - more_ms, milliseconds(query.end_time) + more_ms
    found = [
        one
        for kind in NAMES
        for one in traffic.records(kind, window, as_of_ms)
        if query.version in (None, version_of(one.get("environment")))
        and all(_attributes(one).get(each.key) in each.value for each in query.filters)
    ]
    return sorted(found, key=lambda one: (choice(one.id, 2**32), one.id))


def _attributes(one: Occurrence) -> dict[str, str]:
    known = {"flow": one.get("flow") or "main", "step_name": one.kind.value}
    return known | {"input": f"canary text of {one.get('user') or 'somebody'}"}


def _event(one: Occurrence, modes: Mapping[str, Any]) -> dict[str, Any]:
    digits = DIGITS[choice(one.id, 4)] if "varied_fractions" in modes else 3
    changed = "-changed" if "changed_content" in modes else ""
    return {
        "id": "" if "no_ids" in modes else f"event-{one.id}",
        "event": NAMES[one.kind],
        "bot_id": BOT,
        "version": version_of(one.get("environment")),
        "user_id": one.get("user"),
        "channel_id": "64f0aa",
        "channel_type": one.get("channel"),
        "conversation_id": one.get("conversation") + changed,
        "attributes": _attributes(one),
        "timestamp": "yesterday" if "broken_times" in modes else stamp(one.at_ms, digits),
    }


def _token(query: EventQuery, as_of_ms: int, offset: int) -> str:
    text = json.dumps([query.digest, as_of_ms, offset])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decoded_token(query: EventQuery, modes: Mapping[str, Any]) -> tuple[int, int]:
    try:
        digest, as_of_ms, offset = json.loads(base64.urlsafe_b64decode(query.page_token))
    except ValueError:
        digest = as_of_ms = offset = None
    if digest != query.digest or "expired_token" in modes:
        raise Refusal(400, "invalid page token")
    return as_of_ms, offset
