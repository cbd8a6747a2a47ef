"""Simulators of lists of conversations: Intercom's search, ElevenLabs' agents.

Intercom's conversations change after they have begun; ElevenLabs lists the newest first.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from exporter.simulator.conversations import HOUR_MS, Kind, Occurrence
from exporter.simulator.server import (
    CURSOR_MODES,
    Answer,
    Call,
    Refusal,
    Rows,
    Service,
    manifest_target,
    page_of,
)
from exporter.simulator.traffic import Window

SCORES = {"positive": 5, "neutral": 3, "negative": 1}


def _started(call: Call, window: Window) -> list[Occurrence]:
    """Return the conversations that began in the window, oldest first."""
    found = call.records(Kind.CONVERSATION_STARTED, window)
    return sorted(found, key=lambda one: one.at_ms)


def _of_each(call: Call, kind: Kind, window: Window, late_ms: int = 0) -> dict[str, Occurrence]:
    """Return what happened in each conversation of the window, as known ``late_ms`` ago."""
    longer = window[0], window[1] + HOUR_MS
    found = call.traffic.records(kind, longer, call.now_ms - late_ms)
    return {one.get("conversation"): one for one in found}


INTERCOM_KEY = "dG9rOmNhbmFyeS1pbnRlcmNvbQ"
INTERCOM_MODES = CURSOR_MODES | {
    "strict_bounds",  # > and < exclude the bound itself
    "late_outcomes",  # hours=48: a conversation's outcome is shown this much later
    "fewer_than_total",  # the last conversation is missing, but total_count counts it
}


class SearchBound(msgspec.Struct, forbid_unknown_fields=True):
    """A condition on the start of a conversation, in seconds."""

    field: Literal["created_at"]
    operator: Literal[">", "<"]
    value: int


class SearchCondition(msgspec.Struct, forbid_unknown_fields=True):
    """Conditions, all of which must hold."""

    operator: Literal["AND"]
    value: list[SearchBound]


class SearchPages(msgspec.Struct, forbid_unknown_fields=True):
    """The requested page, and its number of conversations."""

    per_page: Annotated[int, msgspec.Meta(ge=1, le=150)] = 20
    starting_after: str | None = None


class SearchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    query: SearchCondition
    pagination: SearchPages = msgspec.field(default_factory=SearchPages)


async def _search(call: Call) -> Answer:
    body = call.read_body(SearchBody)
    size = body.pagination.per_page
    if call.headers.get("intercom-version") != "2.16":
        raise Refusal(400, "Intercom-Version 2.16 is required")
    bounds = {each.operator: each.value for each in body.query.value}
    strict = "strict_bounds" in call.faults  # the specification calls them inclusive
    found = _searched(call, (1000 * (bounds[">"] + strict), 1000 * (bounds["<"] + (not strict))))
    page = page_of(call, found, body.pagination.starting_after, size)
    rows = list(page.items)[: -1 if "fewer_than_total" in call.faults else None]
    following = {"starting_after": page.cursor} if page.more else None
    pages = {"page": 1, "per_page": size, "total_pages": -(-len(found) // size)}
    payload = {"type": "conversation.list", "total_count": len(found), "conversations": rows}
    return Answer({**payload, "pages": {**pages, "next": following}}, rows)


def _searched(call: Call, window: Window) -> Rows:
    is_late = "late_outcomes" in call.faults
    late_ms = HOUR_MS * call.option("late_outcomes", "hours", 48) * is_late
    outcomes = {
        kind: _of_each(call, kind, window, late_ms)
        for kind in (Kind.CONVERSATION_ENDED, Kind.HANDOVER, Kind.FEEDBACK)
    }
    return [_conversation(one, outcomes) for one in _started(call, window)]


def _conversation(
    one: Occurrence, outcomes: Mapping[Kind, Mapping[str, Occurrence]]
) -> dict[str, Any]:
    name = one.get("conversation")
    ended, handover, feedback = (known.get(name) for known in outcomes.values())
    score = feedback and SCORES[feedback.get("rating")]
    resolution = "assumed_resolution" if ended else None
    if score == SCORES["negative"]:
        resolution = "negative_feedback"
    if handover:
        resolution = "escalated"
    preview = one.get("environment") == "staging"
    changed_ms = max(each.at_ms for each in (one, ended, handover, feedback) if each)
    return {
        "type": "conversation",
        "created_at": one.at_ms // 1000,
        "id": name,
        "updated_at": changed_ms // 1000,
        "state": "closed" if ended else "open",
        "source": {
            "type": one.get("channel"),
            "body": f"<p>My name is {one.get('user')}</p>",
            "author": {"name": one.get("user"), "email": f"{one.get('user')}@example.com"},
        },
        "ai_agent_participated": True,
        "ai_agent": {
            "source_type": "workflow_preview" if preview else "workflow",
            "last_answer_type": "ai_answer" if ended else None,
            "resolution_state": resolution,
            "rating": score,
            "rating_remark": None,
        },
    }


intercom = partial(
    Service,
    routes={("POST", "/conversations/search"): _search},
    modes=INTERCOM_MODES,
    secrets=[INTERCOM_KEY],
    authorization=f"Bearer {INTERCOM_KEY}",
    error=lambda status, reason: {
        "type": "error.list",
        "errors": [{"code": str(status), "message": reason}],
    },
    target=manifest_target("intercom", INTERCOM_KEY),
)
"""Builds the simulator of one workspace at Intercom."""

ELEVENLABS_KEY = "xi-canary-03b9ae"
SOURCES = {"web": "widget", "whatsapp": "whatsapp", "messenger": "js_sdk", "telegram": "twilio"}
ELEVENLABS_MODES = CURSOR_MODES | {
    "strict_bounds",  # both bounds exclude their own second
    "shifted_pages",  # a page begins with the last conversation of the previous one
    "row_limit",  # rows=12: an answer has no more rows, and nothing shows that
    "json_filter",  # the bounds are JSON in one parameter: filter={"after": 1, "before": 2}
}


class ListQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of a list; times are in seconds."""

    after: int = msgspec.field(name="call_start_after_unix", default=0)
    before: int = msgspec.field(name="call_start_before_unix", default=0)
    filter: str = ""
    page_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 30
    cursor: str | None = None

    def bounds(self, *, as_json: bool) -> tuple[int, int]:
        """Return the bounds in seconds; refuse them in the other of the two forms."""
        if as_json != bool(self.filter):
            raise Refusal(422, "filter")
        given = json.loads(self.filter or "{}")
        return given.get("after", self.after), given.get("before", self.before)


async def _list(call: Call) -> Answer:
    query = call.read_params(ListQuery)
    after, before = query.bounds(as_json="json_filter" in call.faults)
    strict = "strict_bounds" in call.faults
    found = _listed(call, (1000 * (after + strict), 1000 * (before + (not strict))))
    page = page_of(call, found, query.cursor, query.page_size)
    rows = list(page.items)
    if "shifted_pages" in call.faults and query.cursor and page.items:
        rows.insert(0, found[found.index(page.items[0]) - 1])
    if "row_limit" in call.faults:
        rows = rows[: call.option("row_limit", "rows", 12)]
        return Answer({"conversations": rows, "has_more": False}, rows, "message_count")
    payload = {"conversations": rows, "next_cursor": page.cursor, "has_more": page.more}
    return Answer(payload, rows, "message_count")


def _listed(call: Call, window: Window) -> Rows:
    ended = _of_each(call, Kind.CONVERSATION_ENDED, window)
    rated = _of_each(call, Kind.FEEDBACK, window)
    rows: Rows = []
    for one in reversed(_started(call, window)):
        name = one.get("conversation")
        over, feedback = ended.get(name), rated.get(name)
        rows.append(
            {
                "agent_id": "agent_1",
                "agent_name": "Shop",
                "conversation_id": name,
                "start_time_unix_secs": one.at_ms // 1000,
                "call_duration_secs": over.amount if over else 0,
                "message_count": 2 + 2 * (over.amount // 30) if over else 1,
                "status": "done" if over else "in-progress",
                "call_successful": "success" if over else "unknown",
                "main_language": "en",
                "conversation_initiation_source": SOURCES.get(one.get("channel"), "unknown"),
                "rating": float(SCORES[feedback.get("rating")]) if feedback else None,
                "transcript_summary": f"{one.get('user')} asked for help",
            }
        )
    return rows


elevenlabs = partial(
    Service,
    routes={("GET", "/v1/convai/conversations"): _list},
    modes=ELEVENLABS_MODES,
    secrets=[ELEVENLABS_KEY],
    authorization=ELEVENLABS_KEY,
    key_header="xi-api-key",
    target=manifest_target("elevenlabs", ELEVENLABS_KEY, "/v1"),
)
"""Builds the simulator of one workspace at ElevenLabs."""
