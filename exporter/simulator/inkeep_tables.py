"""The truth as the rows that Inkeep keeps: events, conversations, feedback, semantic threads."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.traffic import Groups, Traffic, Window

ORGANIZATION = "org_acme"
PROJECT = "proj_docs"
ESCALATIONS = ("get_help_option", "contact_us", "support_form", "intelligent_support_form")
HOUR_MS = 3_600_000
INSTANT_COLUMNS = frozenset({"createdAt", "firstMessageTime"})
LONGEST_MS = 24 * HOUR_MS
"""A conversation's messages are looked for this long after its hour."""

Table = list[tuple[dict[str, Any], int]]
"""Rows, and how many equal ones each stands for."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a query needs of a view: which range, as of when, which columns.

    ``dense`` lets rows that differ only in columns that are not needed stand for each other.
    """

    window: Window
    now_ms: int
    columns: frozenset[str]
    dense: bool


@lru_cache(maxsize=1024)
def iso(at_ms: int) -> str:
    """Return an instant as columns spell it."""
    text = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Shape:
    """How the widget logs an occurrence: entity, event names, what is in ``properties``."""

    entity: str
    names: tuple[str, ...]
    properties: Callable[[Occurrence], Mapping[str, Any]] = lambda _: {}
    when: Callable[[Occurrence], bool] = lambda _: True


def _is_negative(one: Occurrence) -> bool:
    return one.get("rating") == "negative"


def _escalation_type(one: Occurrence) -> Mapping[str, Any]:
    if one.get("escalation") == "none":
        return {}
    usual = ESCALATIONS[(one.at_ms // HOUR_MS + len(one.get("channel"))) % len(ESCALATIONS)]
    return {"escalationType": one.get("escalation") or usual}


def _chat(one: Occurrence) -> Mapping[str, Any]:
    messages = [{"role": "user", "content": one.get("text")}]
    return {"conversation": json.dumps({"messages": messages})}


SHAPES: Mapping[Kind, tuple[Shape, ...]] = {
    Kind.MESSAGE_RECEIVED: (Shape("conversation", ("user_message_submitted",), _chat),),
    # The same answer is told twice, by two names.
    Kind.MESSAGE_SENT: (
        Shape("conversation", ("assistant_message_received", "assistant_answer_displayed"), _chat),
    ),
    Kind.SEARCH: (Shape("search", ("search_query_submitted", "search_query_response_received")),),
    Kind.HANDOVER: (Shape("conversation", ("user_escalation_indicated",), _escalation_type),),
    # A thumbs-down alone is logged as an escalation, too.
    Kind.FEEDBACK: (
        Shape(
            "message",
            ("assistant_positive_feedback_submitted",),
            when=lambda one: not _is_negative(one),
        ),
        Shape("message", ("assistant_negative_feedback_submitted",), when=_is_negative),
        Shape(
            "conversation",
            ("user_escalation_indicated",),
            lambda _: {"escalationType": "downvote"},
            _is_negative,
        ),
    ),
}
"""What the widget logs as events. Any other name can be scripted: ``add(…, event=NAME)``."""


def events(traffic: Traffic, extent: Extent) -> Table:
    """Return the event view's rows."""
    by = ("channel", "event", "entity", "rating", "escalation", *_user_if_needed(extent))
    return [
        (row, one.amount)
        for kind, shapes in SHAPES.items()
        for one in _occurrences(traffic, kind, extent, by)
        for row in _events_of(one, shapes)
    ]


def _events_of(one: Occurrence, shapes: Iterable[Shape]) -> Iterator[dict[str, Any]]:
    if one.get("event"):
        shapes = (Shape(one.get("entity") or "conversation", (one.get("event"),)),)
    for shape in shapes:
        for name in shape.names if shape.when(one) else ():
            yield {
                "id": f"{one.id}-{name}",
                **_place(one),
                **({"messageId": f"m-{one.id}"} if shape.entity == "message" else {}),
                "conversationId": _conversation(one),
                "createdAt": iso(one.at_ms),
                "eventType": shape.entity,
                "type": name,
                **({"searchQuery": "how do I"} if shape.entity == "search" else {}),
                "properties": dict(shape.properties(one)),
                "userProperties": _user(one),
            }


def conversations(traffic: Traffic, extent: Extent) -> Table:
    """Return the conversation view's rows; ``userMessageCount`` grows while people write."""
    counts = "userMessageCount" in extent.columns or not extent.dense
    by = ("channel", *_user_if_needed(extent), *(("conversation",) if counts else ()))
    sent = _messages(traffic, extent) if counts else Counter()
    begun = _occurrences(traffic, Kind.CONVERSATION_STARTED, extent, by)
    return [
        (
            {
                "id": _conversation(one),
                **_place(one),
                "userMessageCount": messages,
                "firstMessageTime": iso(one.at_ms),
                "type": "openai",
                "properties": {},
                "userProperties": _user(one),
            },
            number,
        )
        for one, messages, number in _alike(begun, sent, extent)
    ]


def _alike(
    begun: Iterable[Occurrence], sent: Mapping[str, int], extent: Extent
) -> Iterator[tuple[Occurrence, int, int]]:
    """Yield conversations with their messages, and how many there are of each kind."""
    found: dict[tuple[Any, ...], tuple[Occurrence, int, int]] = {}
    for one in begun:
        messages = sent.get(one.get("conversation"), 0)
        key = (one.at_ms, one.get("channel"), one.get("user"), messages) if extent.dense else one.id
        first, _, number = found.get((key,), (one, 0, 0))
        found[key,] = (first, messages, number + one.amount)
    yield from found.values()


def feedback(traffic: Traffic, extent: Extent) -> Table:
    """Return the feedback view's rows; the vendor knows two ratings."""
    by = ("channel", "rating", *_user_if_needed(extent))
    return [
        (
            {
                "id": f"fb-{one.id}",
                **_place(one),
                "type": "negative" if _is_negative(one) else "positive",
                "messageId": f"m-{one.id}",
                "createdAt": iso(one.at_ms),
                "reasons": [],
                "properties": {},
                "userProperties": _user(one),
                "conversationId": _conversation(one),
            },
            one.amount,
        )
        for one in _occurrences(traffic, Kind.FEEDBACK, extent, by)
    ]


def threads(traffic: Traffic, extent: Extent) -> Table:
    """Return the semantic-thread view's rows, one a conversation."""
    return [
        (
            {
                "id": f"st-{row['id']}",
                "organizationId": ORGANIZATION,
                "question": "how do I",
                "isDocumented": True,
                "projectId": row["projectId"],
                "integrationId": row["integrationId"],
                "firstMessageTime": row["firstMessageTime"],
                "lastMessageTime": row["firstMessageTime"],
                "conversationIds": [row["id"]],
                "properties": {},
                "userProperties": row["userProperties"],
            },
            number,
        )
        for row, number in conversations(traffic, extent)
    ]


def _occurrences(
    traffic: Traffic, kind: Kind, extent: Extent, by: tuple[str, ...]
) -> Iterator[Occurrence]:
    if not extent.dense:
        yield from traffic.records(kind, extent.window, extent.now_ms)
        return
    sums = traffic.grouped(kind, extent.window, extent.now_ms, by=by, bucket_ms=HOUR_MS)
    if INSTANT_COLUMNS.isdisjoint(extent.columns):
        sums = _whole(sums, extent.window[0])
    for number, ((hour_ms, *values), count) in enumerate(sums.items()):
        at_ms = max(hour_ms, extent.window[0])
        context = dict(zip(by, values, strict=True))
        yield Occurrence(f"{kind}-{at_ms}", number, at_ms, kind, at_ms, context, {}, count)


def _whole(sums: Groups, start_ms: int) -> Groups:
    """Return sums of a range as if it were one bucket."""
    found: Groups = Counter()
    for (_, *values), count in sums.items():
        found[start_ms, *values] += count
    return found


def _messages(traffic: Traffic, extent: Extent) -> Counter[str]:
    """Return how many messages each conversation has by now."""
    window = (extent.window[0], min(extent.window[1] + LONGEST_MS, extent.now_ms + 1))
    counts: Counter[str] = Counter()
    sums = traffic.grouped(
        Kind.MESSAGE_RECEIVED, window, extent.now_ms, by=("conversation",), bucket_ms=HOUR_MS
    )
    for (_, *names), count in sums.items():
        counts[names[0]] += count
    return counts


def _user_if_needed(extent: Extent) -> tuple[str, ...]:
    return ("user",) if "userProperties" in extent.columns else ()


def _place(one: Occurrence) -> dict[str, Any]:
    channel = one.get("channel")
    return {
        "organizationId": ORGANIZATION,
        "projectId": PROJECT,
        "integrationId": f"int_{channel}" if channel else None,
    }


def _conversation(one: Occurrence) -> str:
    return f"c-{one.get('conversation') or one.id}"


def _user(one: Occurrence) -> dict[str, Any]:
    user = one.get("user")
    return {"id": user, "identificationType": "COOKIED"} if user else {}


_SHARED = ("id", "organizationId", "projectId", "integrationId", "properties", "userProperties")
FIELDS: Mapping[str, Sequence[str]] = {
    "events": (
        *_SHARED,
        *("messageId", "conversationId", "createdAt", "eventType", "type", "searchQuery"),
    ),
    "conversations": (*_SHARED, "userMessageCount", "firstMessageTime", "type"),
    "feedback": (
        *_SHARED,
        *("type", "messageId", "createdAt", "updatedAt", "reasons", "sources", "details"),
        "conversationId",
    ),
    "semantic-threads": (
        *_SHARED,
        *("messageIds", "messagesCount", "question", "questionLength", "answer", "isOnTopic"),
        *("isClear", "isDocumented", "isFeatureSupported", "isAnswerConfident", "gapSummary"),
        *("subject", "category", "languages", "firstPartyEntities", "thirdPartyEntities"),
        *("emotion", "sentiment", "questionType", "firstMessageTime", "lastMessageTime"),
        *("lastUpdated", "hasPositiveFeedback", "hasNegativeFeedback", "conversationIds"),
        *("areAIAnnotationsVerified", "isInitialQuestionAnswer"),
    ),
}
"""The columns of each view."""

INSTANTS: Mapping[str, str] = {
    "events": "createdAt",
    "conversations": "firstMessageTime",
    "feedback": "createdAt",
    "semantic-threads": "firstMessageTime",
}
"""The column that says when a row happened."""

DENSE: Mapping[str, frozenset[str]] = {
    "events": frozenset(
        {"createdAt", "eventType", "type", "integrationId", "projectId", "organizationId"}
        | {"properties", "userProperties"}
    ),
    "conversations": frozenset(FIELDS["conversations"]) - {"id", "type"},
    "feedback": frozenset({"createdAt", "type", "integrationId", "projectId", "userProperties"}),
    "semantic-threads": frozenset({"firstMessageTime", "isDocumented", "integrationId"}),
}
"""The columns that dense rows still tell apart."""

VIEWS: Mapping[str, Callable[[Traffic, Extent], Table]] = {
    "events": events,
    "conversations": conversations,
    "feedback": feedback,
    "semantic-threads": threads,
}
"""The table of each view."""
