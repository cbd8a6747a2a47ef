"""A simulator of Inkeep's analytics API: the exporter's queries over the truth, and refusals."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from exporter.clock import Clock
from exporter.simulator.faults import Faults
from exporter.simulator.inkeep_query import GroupQuery, WeightedRow, parse, run
from exporter.simulator.inkeep_rows import FIELDS, INSTANTS, Extent, rows_of
from exporter.simulator.server import Answer, Call, Handler, Refusal, Route, Rows, Seen, Service
from exporter.simulator.traffic import Traffic

KEY = "ik-canary-7d1f0a5566"
WRITE_ONLY_KEY = "ik-canary-webwidget-31"
DAY_MS = 86_400_000
LARGEST_BODY = 2 * 1024 * 1024
PAGE_ROWS = 10_000

MODES = frozenset(
    {
        "page_cap",  # rows=100: an answer holds no more; only its total says so
        "numbers_as_strings",
        "iso_buckets",  # 2026-03-01T09:00:00.000Z instead of 2026-03-01 09:00:00
        "swapped_types",  # eventType holds the name, type the entity
        "no_count_distinct",  # 422, or status=OTHER
        "too_large_is_400",  # instead of 413
        "shifted_buckets",  # hours=N: buckets are in another zone, without an offset
    }
)
WRITTEN = ("/events", "/feedback", "/conversations")
"""Where rows are written (POST) and, with an id after it, removed (DELETE)."""


def problem(status: int, reason: str) -> dict[str, Any]:
    """Return an error body as the vendor documents it."""
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    return {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": reason,
        "code": code,
        "error": {"code": code, "message": reason},
    }


def writes(requests: Iterable[Seen]) -> list[str]:
    """Return the requests that would have changed a customer's data."""
    return [
        f"{seen.method} {seen.path}"
        for seen in requests
        if seen.method != "GET" and seen.path.startswith(WRITTEN)
    ]


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one project; its modes are ``MODES``."""
    queries = _Queries(clock, traffic)
    routes = [
        Route("POST", f"/query/{view}", _guarded(partial(queries.answer, view)))
        for view in INSTANTS
    ]
    routes += [
        *(Route("POST", path, _written) for path in WRITTEN),
        *(Route("DELETE", path + "/{id}", _written) for path in WRITTEN),
    ]
    return Service(
        clock=clock,
        traffic=traffic,
        routes=routes,
        faults=Faults(MODES),
        secrets=[KEY, WRITE_ONLY_KEY],
        error=problem,
        target=lambda url: {
            "provider": "inkeep",
            "api_key": KEY,
            "base_url": url,
            "project": "docs",
            "active_users": {"windows": ["1d"]},  # generating a week of users is slow
        },
    )


def _guarded(handler: Handler) -> Handler:
    """Return ``handler`` behind the key, the size limit and JSON; its refusals are problems."""

    async def answer(call: Call) -> Answer:
        try:
            _check_call(call)
            return await handler(call)
        except Refusal as refusal:
            body = problem(refusal.status, refusal.reason)
            body |= {"instance": call.path, "requestId": f"req_{call.number}"}
            headers = {"content-type": "application/problem+json"}
            return Answer(body, status=refusal.status, headers=headers)

    return answer


def _check_call(call: Call) -> None:
    scheme, _, key = call.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or key not in {KEY, WRITE_ONLY_KEY}:
        raise Refusal(401, "API key not recognised")
    if key == WRITE_ONLY_KEY:
        raise Refusal(403, "this integration may only write")
    if len(call.content) > LARGEST_BODY:
        raise Refusal(400 if "too_large_is_400" in call.faults else 413)
    if call.body is None:
        raise Refusal(400, "the body is not JSON")


async def _written(_call: Call) -> Answer:
    return Answer({"id": "written"}, status=201)


class _Queries:
    """Answers the queries from one truth."""

    def __init__(self, clock: Clock, traffic: Traffic) -> None:
        self._clock = clock
        self._traffic = traffic

    async def answer(self, view: str, call: Call) -> Answer:
        """Answer one query."""
        query = parse(call.body, FIELDS[view], INSTANTS[view])
        _refuse_distinct(query, call)
        found = run(query, await self._table(view, query, call.now_ms))
        most = call.faults.get("page_cap", {}).get("rows", PAGE_ROWS)
        rows: Rows = [_written_row(row, call.faults) for row in found[:most]]
        numbers = {"total": len(found), "pageSize": most, "count": len(rows)}
        data = {"result": rows, **_written_row(numbers, call.faults)}
        return Answer({"status": "ok", "data": data}, rows)

    async def _table(self, view: str, query: GroupQuery, now_ms: int) -> list[WeightedRow]:
        """Return the rows of the range; without a start, those of the last day."""
        end_ms = min(now_ms + 1, query.end_ms or now_ms + 1)
        start_ms = end_ms - DAY_MS if query.start_ms is None else query.start_ms
        table: list[WeightedRow] = []
        for day_ms in range(start_ms, end_ms, DAY_MS):
            window = (day_ms, min(day_ms + DAY_MS, end_ms))
            table += rows_of(view, self._traffic, Extent(window, now_ms, query.columns))
            await self._clock.sleep(0)  # a month takes long; other tasks share the loop
        return table


def _refuse_distinct(query: GroupQuery, call: Call) -> None:
    distinct = any(column.function == "countDistinct" for column in query.aggregations)
    if distinct and "no_count_distinct" in call.faults:
        raise Refusal(call.faults["no_count_distinct"].get("status", 422))


def _written_row(row: Mapping[str, Any], modes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``row`` as the modes write it."""
    found = {key: _value(value, modes) for key, value in row.items()}
    if "swapped_types" in modes and found.keys() >= {"eventType", "type"}:
        found["eventType"], found["type"] = found["type"], found["eventType"]
    return found


def _value(value: Any, modes: Mapping[str, Mapping[str, Any]]) -> Any:
    match value:
        case datetime():
            value += timedelta(hours=modes.get("shifted_buckets", {}).get("hours", 0))
            iso = "iso_buckets" in modes
            return value.strftime("%Y-%m-%dT%H:%M:%S.000Z" if iso else "%Y-%m-%d %H:%M:%S")
        case int() | float() if "numbers_as_strings" in modes:
            return str(value)
        case _:
            return value
