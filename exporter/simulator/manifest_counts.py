"""Simulators of counts for a range: records of Botpress Cloud, buckets of a Chatwoot metric."""

from collections import Counter
from functools import partial
from itertools import accumulate
from typing import Annotated, Any, Literal

import msgspec

from exporter.simulator.conversations import HOUR_MS, Kind
from exporter.simulator.server import (
    Answer,
    Call,
    Instant,
    Refusal,
    Rows,
    Service,
    manifest_target,
    milliseconds,
    stamp,
)
from exporter.simulator.traffic import Window

BOTPRESS_KEY = "bp_pat_canary_6d02"
WORKSPACE = "wkspace_canary_1"
BOTPRESS_MODES = frozenset(
    {
        "split_records",  # two records of odd lengths instead of one
        "gap",  # two records, the second of which begins an hour late
        "overlap",  # two records, the second of which begins an hour early
        "ends_now",  # the record of an unfinished day ends now
    }
)


class AnalyticsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """A range; the vendor states that a record's end is inclusive."""

    start: Instant = msgspec.field(name="startDate")
    end: Instant = msgspec.field(name="endDate")


async def _analytics(call: Call) -> Answer:
    if call.headers.get("x-workspace-id") != WORKSPACE:
        raise Refusal(400, "x-workspace-id is missing or unknown")
    query = call.read_params(AnalyticsQuery)
    start_ms, end_ms = milliseconds(query.start), milliseconds(query.end)
    end_ms = -(-end_ms // 1000) * 1000  # 23:59:59.999 is an inclusive end
    rows: Rows = [_record(call, part) for part in _parts((start_ms, end_ms), call)]
    return Answer({"records": rows}, rows, "userMessages")


def _parts(window: Window, call: Call) -> list[Window]:
    start_ms, end_ms = window
    middle_ms = start_ms + 7 * HOUR_MS + 1000
    for mode, late_ms in (("split_records", 0), ("gap", HOUR_MS), ("overlap", -HOUR_MS)):
        if mode in call.faults:
            return [(start_ms, middle_ms), (middle_ms + late_ms, end_ms)]
    return [(start_ms, min(end_ms, call.now_ms)) if "ends_now" in call.faults else window]


def _record(call: Call, window: Window) -> dict[str, Any]:
    def happened(kind: Kind) -> int:
        return call.traffic.truth(kind, window, call.now_ms)

    tokens: Counter[str] = Counter()
    for one in call.records(Kind.TOKENS, window):
        tokens[one.get("token_type")] += one.amount
    returning = {one.get("user") for one in call.records(Kind.RETURNING_USER, window)}
    events = Counter(one.get("goal") for one in call.records(Kind.GOAL, window))
    return {
        "startDateTimeUtc": stamp(window[0]),
        "endDateTimeUtc": stamp(window[1] - 1),
        "returningUsers": len(returning),
        "newUsers": happened(Kind.NEW_USER),
        "sessions": happened(Kind.CONVERSATION_STARTED),
        "messages": happened(Kind.MESSAGE_RECEIVED),
        "userMessages": happened(Kind.MESSAGE_RECEIVED),
        "botMessages": happened(Kind.MESSAGE_SENT),
        "events": events.total(),
        "eventTypes": {},
        "customEvents": dict(events),
        "llm": {
            "calls": happened(Kind.LLM_CALL),
            "errors": 0,
            "inputTokens": tokens["input"],
            "outputTokens": tokens["output"],
            "cost": {"sum": happened(Kind.LLM_COST) / 1_000_000},
        },
    }


botpress = partial(
    Service,
    routes={("GET", "/v1/admin/bots/bot-1/analytics"): _analytics},
    modes=BOTPRESS_MODES,
    secrets=[BOTPRESS_KEY],
    authorization=f"Bearer {BOTPRESS_KEY}",
    target=manifest_target(
        "botpress", BOTPRESS_KEY, variables={"bot": "bot-1", "workspace": WORKSPACE}
    ),
)
"""Builds the simulator of one bot at Botpress."""

CHATWOOT_KEY = "cw-canary-98ce20"
METRICS = {
    "conversations_count": Kind.CONVERSATION_STARTED,
    "incoming_messages_count": Kind.MESSAGE_RECEIVED,
    "outgoing_messages_count": Kind.MESSAGE_SENT,
    "resolutions_count": Kind.FEEDBACK,
    "bot_resolutions_count": Kind.GOAL,
    "bot_handoffs_count": Kind.HANDOVER,  # of distinct conversations
}
CHATWOOT_MODES = frozenset(
    {
        "string_values",  # numbers as strings, as in the published schema
        "missing_bucket",  # the first bucket is left out
        "keyed_by_time",  # {"1772524800": 12, …} instead of a list
        "running_totals",  # a bucket's value is the sum of everything from ``since`` on
    }
)


class ChatwootReport(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of a report by hour; any other ``group_by`` would silently become ``day``."""

    metric: str
    type: Literal["account"]
    since: int
    until: int
    group_by: Literal["hour"]
    timezone_offset: Annotated[float, msgspec.Meta(ge=0, le=0)] = 0


async def _report(call: Call) -> Answer:
    query = call.read_params(ChatwootReport)
    if query.metric not in METRICS:
        raise Refusal(422, "invalid metric")
    rows: Rows = [
        {"value": value, "timestamp": at_ms // 1000}
        for at_ms, value in _values(query, call).items()
    ]
    if "running_totals" in call.faults:
        for row, total in zip(rows, accumulate(row["value"] for row in rows), strict=True):
            row["value"] = total
    if "string_values" in call.faults:
        for row in rows:
            row["value"] = str(row["value"])
    del rows[: "missing_bucket" in call.faults]
    if "keyed_by_time" in call.faults:
        return Answer({str(row["timestamp"]): row["value"] for row in rows}, rows)
    return Answer(rows, rows)


def _values(query: ChatwootReport, call: Call) -> dict[int, int]:
    """Return the count of each bucket, including idle ones; the first is cut at ``since``."""
    kind, start_ms, end_ms = METRICS[query.metric], query.since * 1000, query.until * 1000
    first_ms = start_ms // HOUR_MS * HOUR_MS
    seen: dict[int, set[Any]] = {at_ms: set() for at_ms in range(first_ms, end_ms, HOUR_MS)}
    for one in call.records(kind, (start_ms, end_ms)):
        counted = one.get("conversation") if kind is Kind.HANDOVER else one.id
        seen[one.at_ms // HOUR_MS * HOUR_MS].add(counted)
    return {at_ms: len(ids) for at_ms, ids in seen.items()}


chatwoot = partial(
    Service,
    routes={("GET", "/api/v2/accounts/7/reports"): _report},
    modes=CHATWOOT_MODES,
    secrets=[CHATWOOT_KEY],
    authorization=CHATWOOT_KEY,
    key_header="api_access_token",
    target=manifest_target("chatwoot", CHATWOOT_KEY, variables={"account": "7"}),
)
"""Builds the simulator of one account at Chatwoot."""
