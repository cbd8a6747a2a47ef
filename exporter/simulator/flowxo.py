"""A simulator of Flow XO's insights API: ``GET /api/insights`` by hour, and its two top lists."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from exporter.simulator.conversations import FLOWS, HOUR_MS, Kind
from exporter.simulator.server import Answer, Call, Instant, Rows, Service, milliseconds, stamp
from exporter.simulator.traffic import Window

KEY = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJzdWIiOiI2NWMwYWExMWJiMjJjYzMzZGQ0NGVlMDAiLCJpYXQiOjE3NzAwMDAwMDB9"
    ".c2ltdWxhdG9yLXNpZ25hdHVyZS1vZi1mdWxsLWxlbmd0aC0wMDAw"
)

ADDED: Mapping[str, Kind] = {
    "new_users": Kind.NEW_USER,
    "triggers": Kind.FLOW_TRIGGER,
    "received_messages": Kind.MESSAGE_RECEIVED,
    "sent_messages": Kind.MESSAGE_SENT,
}
"""The fields that add up over time, and what they count."""
LEVELS = ("active_users", "total_users")

MODES = frozenset(
    {
        "sparse",  # no metrics for an hour without activity
        "empty_stats",  # stats: []
        "extra_bucket",  # one more hour, which starts at end
        "spaced_ids",  # 2026-02-01 05:00 instead of 2026-02-01T05
        "missing_levels",  # hours without active_users and total_users
        "null_levels",  # hours in which they are null
    }
)


class InsightsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """A range by UTC hours, the only unit and offset of the vendor's that is simulated."""

    start: Instant
    end: Instant
    unit: Literal["hour"]
    offset: Annotated[int, msgspec.Meta(ge=0, le=0)]


class TopQuery(msgspec.Struct, forbid_unknown_fields=True):
    """A range, and the number of most used entries to return."""

    start: Instant
    end: Instant
    limit: Annotated[int, msgspec.Meta(ge=1)]


async def insights(call: Call) -> Answer:
    """Return the numbers of each hour, and their sums."""
    query = call.read_params(InsightsQuery)
    window = milliseconds(query.start), milliseconds(query.end)
    metrics: Rows = [
        {"_id": hour_id(hour_ms, spaced="spaced_ids" in call.faults)}
        | {"_timestamp": stamp(hour_ms)}
        | _numbers(call, part)
        for hour_ms, part in hours(window, extra="extra_bucket" in call.faults)
    ]
    if "sparse" in call.faults:
        metrics = [row for row in metrics if any(row[name] for name in ADDED)]
    for row in metrics:
        _withhold_levels(row, call.faults)
    stats = [] if "empty_stats" in call.faults else [{"_id": None} | _numbers(call, window)]
    return Answer({"stats": stats, "metrics": metrics}, metrics)


async def top(kind: Kind, attribute: str, call: Call) -> Answer:
    """Return the most used values of an attribute; a flow has a name besides its id."""
    query = call.read_params(TopQuery)
    window = milliseconds(query.start), milliseconds(query.end)
    counts = Counter(one.get(attribute) for one in call.records(kind, window))
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rows: Rows = [{"_id": name, "count": count} for name, count in ranked[: query.limit]]
    if kind is Kind.FLOW_TRIGGER:
        for row in rows:
            row["_id"] = {"id": row["_id"], "name": FLOWS.get(row["_id"], row["_id"])}
    return Answer(rows, rows)


def hours(window: Window, *, extra: bool = False) -> Iterator[tuple[int, Window]]:
    """Yield the start of each hour that the window touches, and the part of it that is counted.

    With ``extra`` there is one more hour if the window ends on the hour.
    """
    start_ms, end_ms = window
    for hour_ms in range(start_ms // HOUR_MS * HOUR_MS, end_ms + extra, HOUR_MS):
        last_ms = hour_ms + HOUR_MS if hour_ms == end_ms else end_ms
        yield hour_ms, (max(hour_ms, start_ms), min(hour_ms + HOUR_MS, last_ms))


def hour_id(hour_ms: int, *, spaced: bool = False) -> str:
    """Return the ``_id`` of an hour; the vendor documents it for months only."""
    form = "%Y-%m-%d %H:00" if spaced else "%Y-%m-%dT%H"
    return datetime.fromtimestamp(hour_ms / 1000, UTC).strftime(form)


def _numbers(call: Call, window: Window) -> dict[str, Any]:
    end_ms = min(window[1], call.now_ms + 1)
    traffic, now_ms = call.traffic, call.now_ms
    levels = traffic.active_users(end_ms, now_ms), traffic.known_users(end_ms, now_ms)
    added = {name: call.hourly(kind, window).total() for name, kind in ADDED.items()}
    return dict(zip(LEVELS, levels, strict=True)) | added


def _withhold_levels(row: dict[str, Any], modes: Mapping[str, Any]) -> None:
    for name in LEVELS:
        if "null_levels" in modes:
            row[name] = None
        if "missing_levels" in modes:
            del row[name]


build = partial(
    Service,
    routes={
        ("GET", "/api/insights"): insights,
        ("GET", "/api/insights/top_messages"): partial(top, Kind.MESSAGE_RECEIVED, "text"),
        ("GET", "/api/insights/top_flows"): partial(top, Kind.FLOW_TRIGGER, "flow"),
    },
    modes=MODES,
    secrets=[KEY],
    authorization=f"Bearer {KEY}",
    target=lambda url: {
        "provider": "flowxo",
        "api_key": KEY,
        "base_url": f"{url}/api",
        "project": "promo",
        "top_flows": {"limit": 10, "window": "24h"},
    },
)
"""Builds the simulator of one account."""
