"""A simulator of Chatwoot's reports: one metric a call, as a bare list of buckets."""

from itertools import accumulate
from typing import Any, Literal

import msgspec

from exporter.clock import Clock
from exporter.simulator.conversations import Kind
from exporter.simulator.manifests.frame import target_of
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service
from exporter.simulator.times import DAY_MS, HOUR_MS
from exporter.simulator.traffic import Traffic

KEY = "cw-canary-98ce20"
METRICS = {
    "conversations_count": Kind.CONVERSATION_STARTED,
    "incoming_messages_count": Kind.MESSAGE_RECEIVED,
    "outgoing_messages_count": Kind.MESSAGE_SENT,
    "resolutions_count": Kind.FEEDBACK,
    "bot_resolutions_count": Kind.GOAL,
    "bot_handoffs_count": Kind.HANDOVER,  # of distinct conversations
}
MODES = frozenset(
    {
        "string_values",  # numbers as strings, as the published schema has them
        "missing_bucket",  # the first bucket is left out
        "keyed_by_time",  # {"1772524800": 12, …} instead of a list
        "running_totals",  # a bucket's value is the sum of all since ``since``
    }
)


class ChatwootReport(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of a report; ``group_by`` that is not known silently becomes ``day``."""

    metric: str
    type: Literal["account"]
    since: int
    until: int
    group_by: str = "day"
    timezone_offset: float = 0


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one account; its modes are ``MODES``."""

    async def answer(call: Call) -> Answer:
        query = call.read_params(ChatwootReport)
        if query.metric not in METRICS:
            raise Refusal(422, "invalid metric")
        rows: Rows = [
            {"value": value, "timestamp": at_ms // 1000}
            for at_ms, value in _values(traffic, query, call.now_ms).items()
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

    return Service(
        clock=clock,
        traffic=traffic,
        routes={("GET", "/api/v2/accounts/7/reports"): answer},
        modes=MODES,
        secrets=[KEY],
        authorization=KEY,
        key_header="api_access_token",
        target=target_of("chatwoot", KEY, variables={"account": "7"}),
    )


def _values(traffic: Traffic, query: ChatwootReport, now_ms: int) -> dict[int, int]:
    """Return the count of each bucket, idle ones too; the first is cut at ``since``."""
    kind, start_ms, end_ms = METRICS[query.metric], query.since * 1000, query.until * 1000
    step_ms = HOUR_MS if query.group_by == "hour" else DAY_MS
    ahead_ms = round(query.timezone_offset * HOUR_MS)
    first_ms = (start_ms + ahead_ms) // step_ms * step_ms - ahead_ms
    seen: dict[int, set[Any]] = {at_ms: set() for at_ms in range(first_ms, end_ms, step_ms)}
    for one in traffic.records(kind, (start_ms, end_ms), now_ms):
        counted = one.get("conversation") if kind is Kind.HANDOVER else one.id
        seen[(one.at_ms - first_ms) // step_ms * step_ms + first_ms].add(counted)
    return {at_ms: len(ids) for at_ms, ids in seen.items()}
