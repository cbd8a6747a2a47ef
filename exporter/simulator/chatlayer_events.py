"""The truth as Chatlayer's tracking events, in pages without order."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.simulator.chatlayer_format import (
    BOT,
    chance,
    error_body,
    stamp,
    version_of,
)
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.server import Refusal
from exporter.simulator.traffic import Traffic, Window

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


@dataclass(frozen=True, slots=True)
class EventListRequest:
    """One question to an event list: ``version`` is empty for a team's list."""

    window: Window
    version: str = ""
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    size: int = MOST

    @property
    def seal(self) -> str:
        """Return what binds a token to its question."""
        text = repr((self.window, self.version, self.attributes))
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def page(
    traffic: Traffic, asked: EventListRequest, token: str, now_ms: int, modes: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    """Return one page and the token of the next, empty after the last.

    The list is fixed when its first page is asked for; what arrives later is not in it.
    """
    as_of_ms, offset = (now_ms, 0) if not token else _opened(asked, token, modes)
    if "empty_page" in modes and not token:
        return [], _sealed(asked, as_of_ms, 0)
    found = _found(traffic, asked, as_of_ms, modes)
    size = min(FEW if "short_pages" in modes else MOST, max(1, asked.size))
    begin = max(0, offset - REPEATED) if "repeated_rows" in modes else offset
    following = "" if offset + size >= len(found) else _sealed(asked, as_of_ms, offset + size)
    if "looping_token" in modes:
        following = _sealed(asked, as_of_ms, 0)
    return [_event(one, modes) for one in found[begin : offset + size]], following


def _found(
    traffic: Traffic, asked: EventListRequest, as_of_ms: int, modes: Mapping[str, Any]
) -> Sequence[Occurrence]:
    start_ms, end_ms = asked.window
    if "unfiltered_time" in modes:
        start_ms, end_ms = start_ms - 3_600_000, end_ms + 3_600_000
    every = _records(traffic, (start_ms, end_ms), as_of_ms)
    wanted = [one for one in every if _matches(one, asked)]
    return sorted(wanted, key=lambda one: (chance(one.id, 2**32), one.id))


def _records(traffic: Traffic, window: Window, as_of_ms: int) -> Iterator[Occurrence]:
    for kind in NAMES:
        yield from traffic.records(kind, window, as_of_ms)


def _matches(one: Occurrence, asked: EventListRequest) -> bool:
    if asked.version and version_of(one.get("environment")) != asked.version:
        return False
    attributes = _attributes(one)
    return all(attributes.get(key) in values for key, values in asked.attributes)


def _attributes(one: Occurrence) -> dict[str, str]:
    known = {"flow": one.get("flow") or "main", "step_name": one.kind.value}
    return known | {"input": f"canary text of {one.get('user') or 'somebody'}"}


def _event(one: Occurrence, modes: Mapping[str, Any]) -> dict[str, Any]:
    digits = DIGITS[chance(one.id, 4)] if "varied_fractions" in modes else 3
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


def _sealed(asked: EventListRequest, as_of_ms: int, offset: int) -> str:
    text = json.dumps([asked.seal, as_of_ms, offset])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _opened(asked: EventListRequest, token: str, modes: Mapping[str, Any]) -> tuple[int, int]:
    try:
        seal, as_of_ms, offset = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        seal = as_of_ms = offset = None
    if seal != asked.seal or "expired_token" in modes:
        raise Refusal(400, payload=error_body(400, "invalid page token"))
    return as_of_ms, offset
