"""A simulator of Intercom's search for conversations: records that change after they began."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from exporter.clock import Clock
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.manifests.frame import CURSOR_MODES, page_of, target_of
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service
from exporter.simulator.times import HOUR_MS
from exporter.simulator.traffic import Traffic, Window

KEY = "dG9rOmNhbmFyeS1pbnRlcmNvbQ"
SCORES = {"positive": 5, "neutral": 3, "negative": 1}
MODES = CURSOR_MODES | {
    "strict_bounds",  # > and < leave the bound itself out
    "late_outcomes",  # hours=48: what became of a conversation shows that much later
    "fewer_than_total",  # the last conversation is left out, and total_count counts it
}


class SearchBound(msgspec.Struct, forbid_unknown_fields=True):
    """One condition on when a conversation began, in seconds."""

    field: Literal["created_at"]
    operator: Literal[">", "<"]
    value: int


class SearchCondition(msgspec.Struct, forbid_unknown_fields=True):
    """All conditions, which must hold together."""

    operator: Literal["AND"]
    value: list[SearchBound]


class SearchPages(msgspec.Struct, forbid_unknown_fields=True):
    """Which page, and of how many conversations."""

    per_page: Annotated[int, msgspec.Meta(ge=1, le=150)] = 20
    starting_after: str | None = None


class SearchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    query: SearchCondition
    pagination: SearchPages = msgspec.field(default_factory=SearchPages)


def error_body(status: int, reason: str) -> Any:
    """Return an error list in the vendor's form."""
    return {"type": "error.list", "errors": [{"code": str(status), "message": reason}]}


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one workspace; its modes are ``MODES``."""

    async def search(call: Call) -> Answer:
        body = call.read_body(SearchBody)
        size = body.pagination.per_page
        if call.headers.get("intercom-version") != "2.16":
            raise Refusal(400, "Intercom-Version 2.16 is required")
        found = _conversations(traffic, _window(body.query, call), call)
        page = page_of(call, found, body.pagination.starting_after, size)
        rows = list(page.items)[: -1 if "fewer_than_total" in call.faults else None]
        following = {"starting_after": page.cursor} if page.more else None
        pages = {"page": 1, "per_page": size, "total_pages": -(-len(found) // size)}
        payload = {"type": "conversation.list", "total_count": len(found), "conversations": rows}
        return Answer({**payload, "pages": {**pages, "next": following}}, rows)

    return Service(
        clock=clock,
        traffic=traffic,
        routes={("POST", "/conversations/search"): search},
        modes=MODES,
        secrets=[KEY],
        authorization=f"Bearer {KEY}",
        error=error_body,
        target=target_of("intercom", KEY),
    )


def _window(condition: SearchCondition, call: Call) -> Window:
    """Return what both bounds leave; the specification calls them inclusive."""
    bounds = {each.operator: each.value for each in condition.value}
    strict = "strict_bounds" in call.faults
    return 1000 * (bounds[">"] + strict), 1000 * (bounds["<"] + (not strict))


def _conversations(traffic: Traffic, window: Window, call: Call) -> Rows:
    is_late = "late_outcomes" in call.faults
    late_ms = HOUR_MS * call.option("late_outcomes", "hours", 48) * is_late
    after = window[0], window[1] + HOUR_MS

    def known(kind: Kind) -> dict[str, Occurrence]:
        found = traffic.records(kind, after, call.now_ms - late_ms)
        return {one.get("conversation"): one for one in found}

    started = traffic.records(Kind.CONVERSATION_STARTED, window, call.now_ms)
    outcomes = {
        kind: known(kind) for kind in (Kind.CONVERSATION_ENDED, Kind.HANDOVER, Kind.FEEDBACK)
    }
    return [_conversation(one, outcomes) for one in sorted(started, key=lambda each: each.at_ms)]


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
