"""A simulator of Botpress Cloud's bot analytics: records for the range that was asked for."""

from collections import Counter
from typing import Any

import msgspec

from exporter.clock import Clock
from exporter.simulator.conversations import Kind
from exporter.simulator.manifests.frame import target_of
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service
from exporter.simulator.times import HOUR_MS, Instant, milliseconds, stamp
from exporter.simulator.traffic import Traffic, Window

KEY = "bp_pat_canary_6d02"
WORKSPACE = "wkspace_canary_1"
MODES = frozenset(
    {
        "split_records",  # two records of odd lengths instead of one
        "gap",  # of two records, the second begins an hour late
        "overlap",  # of two records, the second begins an hour early
        "ends_now",  # the record of a day that is not over ends now
    }
)


class AnalyticsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """A range; the vendor states that a record's end is inclusive."""

    start: Instant = msgspec.field(name="startDate")
    end: Instant = msgspec.field(name="endDate")


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one bot; its modes are ``MODES``."""

    async def analytics(call: Call) -> Answer:
        if call.headers.get("x-workspace-id") != WORKSPACE:
            raise Refusal(400, "x-workspace-id is missing or unknown")
        query = call.read_params(AnalyticsQuery)
        start_ms, end_ms = milliseconds(query.start), milliseconds(query.end)
        end_ms = -(-end_ms // 1000) * 1000  # 23:59:59.999 is an inclusive end
        rows: Rows = [
            _record(traffic, part, call.now_ms) for part in _parts((start_ms, end_ms), call)
        ]
        return Answer({"records": rows}, rows, "userMessages")

    return Service(
        clock=clock,
        traffic=traffic,
        routes={("GET", "/v1/admin/bots/bot-1/analytics"): analytics},
        modes=MODES,
        secrets=[KEY],
        authorization=f"Bearer {KEY}",
        target=target_of("botpress", KEY, variables={"bot": "bot-1", "workspace": WORKSPACE}),
    )


def _parts(window: Window, call: Call) -> list[Window]:
    start_ms, end_ms = window
    middle_ms = start_ms + 7 * HOUR_MS + 1000
    for mode, late_ms in (("split_records", 0), ("gap", HOUR_MS), ("overlap", -HOUR_MS)):
        if mode in call.faults:
            return [(start_ms, middle_ms), (middle_ms + late_ms, end_ms)]
    return [(start_ms, min(end_ms, call.now_ms)) if "ends_now" in call.faults else window]


def _record(traffic: Traffic, window: Window, now_ms: int) -> dict[str, Any]:
    def happened(kind: Kind) -> int:
        return traffic.truth(kind, window, now_ms)

    tokens: Counter[str] = Counter()
    for one in traffic.records(Kind.TOKENS, window, now_ms):
        tokens[one.get("token_type")] += one.amount
    returning = {one.get("user") for one in traffic.records(Kind.RETURNING_USER, window, now_ms)}
    events = Counter(one.get("goal") for one in traffic.records(Kind.GOAL, window, now_ms))
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
