"""A simulator of ElevenLabs' list of agent conversations, newest first."""

import json
from typing import Annotated

import msgspec

from exporter.clock import Clock
from exporter.simulator.conversations import Kind
from exporter.simulator.manifests.frame import CURSOR_MODES, page_of, target_of
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service
from exporter.simulator.times import HOUR_MS
from exporter.simulator.traffic import Traffic

KEY = "xi-canary-03b9ae"
SCORES = {"positive": 5.0, "neutral": 3.0, "negative": 1.0}
SOURCES = {"web": "widget", "whatsapp": "whatsapp", "messenger": "js_sdk", "telegram": "twilio"}
MODES = CURSOR_MODES | {
    "strict_bounds",  # both bounds leave their own second out
    "shifted_pages",  # a page begins with the last conversation of the one before
    "row_limit",  # rows=12: an answer holds no more, and nothing says so
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
        """Return the bounds in seconds; refuse the other form than the one that holds."""
        if as_json != bool(self.filter):
            raise Refusal(422, "filter")
        given = json.loads(self.filter or "{}")
        return given.get("after", self.after), given.get("before", self.before)


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one workspace; its modes are ``MODES``."""

    async def conversations(call: Call) -> Answer:
        query = call.read_params(ListQuery)
        after, before = query.bounds(as_json="json_filter" in call.faults)
        strict = "strict_bounds" in call.faults
        window = 1000 * (after + strict), 1000 * (before + (not strict))
        found = _conversations(traffic, window, call.now_ms)
        page = page_of(call, found, query.cursor, query.page_size)
        rows = list(page.items)
        if "shifted_pages" in call.faults and query.cursor and page.items:
            rows.insert(0, found[found.index(page.items[0]) - 1])
        if "row_limit" in call.faults:
            rows = rows[: call.option("row_limit", "rows", 12)]
            return Answer({"conversations": rows, "has_more": False}, rows, "message_count")
        payload = {"conversations": rows, "next_cursor": page.cursor, "has_more": page.more}
        return Answer(payload, rows, "message_count")

    return Service(
        clock=clock,
        traffic=traffic,
        routes={("GET", "/v1/convai/conversations"): conversations},
        modes=MODES,
        secrets=[KEY],
        authorization=KEY,
        key_header="xi-api-key",
        target=target_of("elevenlabs", KEY, "/v1"),
    )


def _conversations(traffic: Traffic, window: tuple[int, int], now_ms: int) -> Rows:
    after = window[0], window[1] + HOUR_MS
    ended = {
        o.get("conversation"): o for o in traffic.records(Kind.CONVERSATION_ENDED, after, now_ms)
    }
    rated = {o.get("conversation"): o for o in traffic.records(Kind.FEEDBACK, after, now_ms)}
    started = sorted(
        traffic.records(Kind.CONVERSATION_STARTED, window, now_ms),
        key=lambda one: one.at_ms,
        reverse=True,
    )
    rows: Rows = []
    for one in started:
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
                "rating": SCORES[feedback.get("rating")] if feedback else None,
                "transcript_summary": f"{one.get('user')} asked for help",
            }
        )
    return rows
