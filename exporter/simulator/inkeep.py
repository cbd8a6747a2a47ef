"""A simulator of Inkeep's analytics API: the exporter's queries over the truth, and refusals."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

from exporter.clock import Clock
from exporter.simulator.faults import Faults
from exporter.simulator.inkeep_query import GroupQuery, WeightedRow, run
from exporter.simulator.inkeep_rows import FIELDS, INSTANTS, Extent, rows_of
from exporter.simulator.server import Answer, Call, Refusal, Route, Rows, Service
from exporter.simulator.times import DAY_MS
from exporter.simulator.traffic import Traffic

KEY = "ik-canary-7d1f0a5566"
WRITE_ONLY_KEY = "ik-canary-webwidget-31"
PAGE_ROWS = 10_000

MODES = frozenset(
    {
        "page_cap",  # rows=100: an answer holds no more; only its total says so
        "numbers_as_strings",
        "iso_buckets",  # 2026-03-01T09:00:00.000Z instead of 2026-03-01 09:00:00
        "swapped_types",  # eventType holds the name, type the entity
        "no_count_distinct",  # 422, or status=OTHER
    }
)


def problem(status: int, reason: str) -> dict[str, Any]:
    """Return an error body as the vendor documents it."""
    title = HTTPStatus(status).phrase
    code = title.lower().replace(" ", "_")
    return {
        "title": title,
        "status": status,
        "detail": reason,
        "code": code,
        "error": {"code": code, "message": reason},
        "instance": "/query",
        "requestId": "req_1",
    }


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one project; its modes are ``MODES``."""

    async def answer(view: str, call: Call) -> Answer:
        _check_key(call)
        if not isinstance(call.body, dict):
            raise Refusal(400, "the body is not a JSON object")
        query = call.read_body(GroupQuery, status=422)
        query.check(FIELDS[view], INSTANTS[view])
        functions = {each.function for each in query.aggregations}
        if "no_count_distinct" in call.faults and "countDistinct" in functions:
            raise Refusal(call.option("no_count_distinct", "status", 422))
        found = run(query, await rows_of_range(view, query, call.now_ms))
        most = call.option("page_cap", "rows", PAGE_ROWS)
        rows: Rows = [_formatted(row, call.faults) for row in found[:most]]
        numbers = {"total": len(found), "pageSize": most, "count": len(rows)}
        data = {"result": rows, **_formatted(numbers, call.faults)}
        return Answer({"status": "ok", "data": data}, rows)

    async def rows_of_range(view: str, query: GroupQuery, now_ms: int) -> list[WeightedRow]:
        start_ms, end_ms = query.range(now_ms)
        table: list[WeightedRow] = []
        for day_ms in range(start_ms, end_ms, DAY_MS):
            window = (day_ms, min(day_ms + DAY_MS, end_ms))
            table += rows_of(view, traffic, Extent(window, now_ms, query.fields))
            await clock.sleep(0)  # a month takes long; other tasks share the loop
        return table

    return Service(
        clock=clock,
        traffic=traffic,
        routes=[Route("POST", f"/query/{view}", partial(answer, view)) for view in INSTANTS],
        faults=Faults(MODES),
        secrets=[KEY, WRITE_ONLY_KEY],
        error=problem,
        error_type="application/problem+json",
        target=lambda url: {
            "provider": "inkeep",
            "api_key": KEY,
            "base_url": url,
            "project": "docs",
            "active_users": {"windows": ["1d"]},  # generating a week of users is slow
        },
    )


def _check_key(call: Call) -> None:
    key = call.headers.get("authorization", "").removeprefix("Bearer ")
    if key == WRITE_ONLY_KEY:
        raise Refusal(403, "this integration may only write")
    if key != KEY:
        raise Refusal(401, "API key not recognised")


def _formatted(row: Mapping[str, Any], modes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``row`` as the modes write it."""
    found = {key: _value(value, modes) for key, value in row.items()}
    if "swapped_types" in modes and found.keys() >= {"eventType", "type"}:
        found["eventType"], found["type"] = found["type"], found["eventType"]
    return found


def _value(value: Any, modes: Mapping[str, Mapping[str, Any]]) -> Any:
    match value:
        case datetime():
            iso = "iso_buckets" in modes
            return value.strftime("%Y-%m-%dT%H:%M:%S.000Z" if iso else "%Y-%m-%d %H:%M:%S")
        case int() | float() if "numbers_as_strings" in modes:
            return str(value)
        case _:
            return value
