"""A fake of Flow XO's insights API: ``GET /api/insights`` and its two top lists."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from exporter.clock import Clock
from exporter.simulator.conversations import FLOWS, Kind
from exporter.simulator.faults import Faults
from exporter.simulator.flowxo_units import UNITS, UnitBucket, buckets, label, parse_instant, stamp
from exporter.simulator.server import Answer, Call, Refusal, Route, Rows, Service
from exporter.simulator.traffic import Traffic, Window

KEY = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJzdWIiOiI2NWMwYWExMWJiMjJjYzMzZGQ0NGVlMDAiLCJpYXQiOjE3NzAwMDAwMDB9"
    ".c2ltdWxhdG9yLXNpZ25hdHVyZS1vZi1mdWxsLWxlbmd0aC0wMDAw"
)
DAY_MS = 86_400_000
DEFAULT_LIMIT = 5

ADDED: Mapping[str, Kind] = {
    "new_users": Kind.NEW_USER,
    "triggers": Kind.FLOW_TRIGGER,
    "received_messages": Kind.MESSAGE_RECEIVED,
    "sent_messages": Kind.MESSAGE_SENT,
}
"""The fields that add up over time, with what they count."""

MODES = frozenset(
    {
        "sparse",  # no metrics for a unit without activity
        "empty_stats",  # stats: []
        "extra_bucket",  # one more unit, which starts at end
        "end_date_inclusive",  # a bare date as end includes that date
        "whole_first_bucket",  # a start inside a unit does not cut that unit
        "local_timestamp",  # _timestamp is local time with a false Z
        "spaced_ids",  # 2026-02-01 05:00 instead of 2026-02-01T05 for hours
        "missing_levels",  # units without active_users and total_users
        "null_levels",  # units in which those are null
    }
)


def build(clock: Clock, traffic: Traffic, *, key: str = KEY) -> Service:
    """Return the fake of one account; its modes are ``MODES``."""

    async def insights(call: Call) -> Answer:
        _authorise(call, key)
        return _insights(call, traffic)

    async def top_messages(call: Call) -> Answer:
        _authorise(call, key)
        texts = (one.get("text") for one in traffic.records(*_asked(call, Kind.MESSAGE_RECEIVED)))
        return _top(call, Counter(texts))

    async def top_flows(call: Call) -> Answer:
        _authorise(call, key)
        flows = (one.get("flow") for one in traffic.records(*_asked(call, Kind.FLOW_TRIGGER)))
        answer = _top(call, Counter(flows))
        for row in answer.rows:
            row["_id"] = {"id": row["_id"], "name": FLOWS.get(row["_id"], row["_id"])}
        return answer

    return Service(
        clock=clock,
        traffic=traffic,
        routes=[
            Route("GET", "/api/insights", insights),
            Route("GET", "/api/insights/top_messages", top_messages),
            Route("GET", "/api/insights/top_flows", top_flows),
        ],
        faults=Faults(MODES),
        secrets=[key],
        target=lambda url: {
            "provider": "flowxo",
            "api_key": key,
            "base_url": f"{url}/api",
            "project": "promo",
            "top_flows": {"limit": 10, "window": "24h"},
        },
    )


def _authorise(call: Call, key: str) -> None:
    if call.headers.get("authorization") != f"Bearer {key}":
        raise Refusal(401)


def _insights(call: Call, traffic: Traffic) -> Answer:
    unit = call.params.get("unit", "day")
    if unit not in UNITS:
        raise Refusal(400, "unit must be hour, day or month")
    offset_ms = _integer(call, "offset", 0) * 60_000
    window = _window(call, offset_ms)
    found = buckets(
        unit,
        window,
        offset_ms,
        whole_first="whole_first_bucket" in call.faults,
        extra="extra_bucket" in call.faults,
    )
    pairs = [(bucket, _numbers(traffic, bucket.window, call.now_ms)) for bucket in found]
    if "sparse" in call.faults:
        pairs = [(bucket, row) for bucket, row in pairs if any(row[name] for name in ADDED)]
    metrics: Rows = [_identity(bucket, call.faults) | row for bucket, row in pairs]
    stats = _stats(traffic, window, call)
    for row in metrics:
        _withhold_levels(row, call.faults)
    return Answer({"stats": stats, "metrics": metrics}, metrics)


def _identity(bucket: UnitBucket, modes: Mapping[str, Any]) -> dict[str, Any]:
    shown_ms = bucket.start_ms + (bucket.offset_ms if "local_timestamp" in modes else 0)
    name = label(bucket, spaced="spaced_ids" in modes)
    return {"_id": name, "_timestamp": stamp(shown_ms)}


def _numbers(traffic: Traffic, window: Window, now_ms: int) -> dict[str, Any]:
    end_ms = min(window[1], now_ms + 1)
    levels = {
        "active_users": traffic.active_users(end_ms, now_ms),
        "total_users": traffic.known_users(end_ms, now_ms),
    }
    return levels | {name: traffic.truth(kind, window, now_ms) for name, kind in ADDED.items()}


def _stats(traffic: Traffic, window: Window, call: Call) -> Rows:
    if "empty_stats" in call.faults:
        return []
    return [{"_id": None} | _numbers(traffic, window, call.now_ms)]


def _withhold_levels(row: dict[str, Any], modes: Mapping[str, Any]) -> None:
    for name in ("active_users", "total_users"):
        if "null_levels" in modes:
            row[name] = None
        if "missing_levels" in modes:
            del row[name]


def _asked(call: Call, kind: Kind) -> tuple[Kind, Window, int]:
    return kind, _window(call, 0), call.now_ms


def _top(call: Call, counts: Counter[str]) -> Answer:
    limit = _integer(call, "limit", DEFAULT_LIMIT)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: max(limit, 0)]
    rows: Rows = [{"_id": name, "count": count} for name, count in ranked]
    return Answer(rows, rows)


def _window(call: Call, offset_ms: int) -> Window:
    end_ms = _instant(call, "end", offset_ms, call.now_ms + 1)
    if "end_date_inclusive" in call.faults and "T" not in call.params.get("end", "T"):
        end_ms += DAY_MS
    return _instant(call, "start", offset_ms, end_ms - 30 * DAY_MS), end_ms


def _instant(call: Call, name: str, offset_ms: int, default: int) -> int:
    if name not in call.params:
        return default
    if (parsed := parse_instant(call.params[name], offset_ms)) is None:
        raise Refusal(400, f"{name} must be an ISO-8601 date")
    return parsed


def _integer(call: Call, name: str, default: int) -> int:
    try:
        return int(call.params.get(name, default))
    except ValueError:
        raise Refusal(400, f"{name} must be an integer") from None
