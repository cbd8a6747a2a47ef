"""A fake of Inkeep's analytics API: its query language over the truth, and its refusals."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from exporter.clock import Clock
from exporter.simulator.faults import Faults
from exporter.simulator.inkeep_filter import JSON_FIELDS, bounds, without_bounds
from exporter.simulator.inkeep_query import Query, Weighted, parse, run
from exporter.simulator.inkeep_tables import DENSE, FIELDS, INSTANTS, VIEWS, Extent
from exporter.simulator.server import Answer, Call, Handler, Refusal, Route, Rows, Seen, Service
from exporter.simulator.traffic import Traffic

KEY = "ik-canary-7d1f0a5566"
WRITE_ONLY_KEY = "ik-canary-webwidget-31"
DAY_MS = 86_400_000
LARGEST_BODY = 2 * 1024 * 1024
PAGE_ROWS = 10_000
VALUES = 100

MODES = frozenset(
    {
        "page_cap",  # rows=100: an answer holds no more, and says so in total alone
        "numbers_as_strings",
        "iso_buckets",  # 2026-03-01T09:00:00.000Z where it is 2026-03-01 09:00:00 otherwise
        "swapped_types",  # eventType holds the name, type the entity
        "no_count_distinct",  # 422, or status=OTHER
        "too_large_is_400",  # where it is 413 otherwise
        "shifted_buckets",  # hours=N: buckets are told in another zone, without saying so
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
    """Return the requests that would have changed a customer's data: there must be none."""
    return [
        f"{seen.method} {seen.path}"
        for seen in requests
        if seen.method != "GET" and seen.path.startswith(WRITTEN)
    ]


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the fake of one project; its modes are ``MODES``."""
    fake = _Fake(clock, traffic)
    routes = [
        route
        for view in VIEWS
        for route in (
            Route("POST", f"/query/{view}", _guarded(partial(fake.query, view))),
            Route("POST", f"/query/{view}/export", _guarded(partial(fake.export, view))),
        )
    ]
    routes += [
        Route("POST", "/query/property-keys", _guarded(fake.property_keys)),
        Route("POST", "/query/property-values", _guarded(fake.property_values)),
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
            "active_users": {"windows": ["1d"]},  # a week of made-up users is slow to make up
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


class _Fake:
    """The routes, over one truth."""

    def __init__(self, clock: Clock, traffic: Traffic) -> None:
        self._clock = clock
        self._traffic = traffic

    async def query(self, view: str, call: Call) -> Answer:
        """Answer one of the four queries."""
        found = await self._result(view, call, call.body)
        most = call.faults.get("page_cap", {}).get("rows", PAGE_ROWS)
        rows: Rows = [_spelt(row, call.faults) for row in found[:most]]
        numbers = {"total": len(found), "pageSize": most, "count": len(rows)}
        data = {"result": rows, **_spelt(numbers, call.faults)}
        return Answer({"status": "ok", "data": data}, rows)

    async def export(self, view: str, call: Call) -> Answer:
        """Answer with the whole result as CSV."""
        rows = [_spelt(row, {}) for row in await self._result(view, call, call.body)]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
        return Answer(text.getvalue(), headers={"content-type": "text/csv"})

    async def property_keys(self, call: Call) -> Answer:
        """Answer with the keys of a JSON column."""
        found = await self._properties(call, call.body.get("field"))
        return Answer({"results": sorted({key for each in found for key in each})})

    async def property_values(self, call: Call) -> Answer:
        """Answer with the values of one key of a JSON column."""
        found = await self._properties(call, call.body.get("field"))
        key = call.body.get("key")
        values = {str(each[key]) for each in found if key in each}
        return Answer({"results": sorted(values)[: call.body.get("limit", VALUES)]})

    async def _properties(self, call: Call, field: Any) -> list[Mapping[str, Any]]:
        if field not in JSON_FIELDS:
            raise Refusal(422, "field must be properties or userProperties")
        body = {"select": [{"type": "field", "field": field}]}
        views = [view.removesuffix("_view") for view in call.body.get("views", ["events_view"])]
        rows = [row for view in views for row in await self._result(view, call, body)]
        return [row[field] for row in rows if row[field]]

    async def _result(self, view: str, call: Call, body: Any) -> list[dict[str, Any]]:
        query = parse(body, FIELDS[view], INSTANTS[view])
        _refuse_distinct(query, call)
        limits = bounds(query.where, INSTANTS[view])
        rest = replace(query, where=without_bounds(query.where, INSTANTS[view]))
        return run(rest, await self._table(view, rest, limits, call.now_ms))

    async def _table(
        self, view: str, query: Query, limits: tuple[int | None, int | None], now_ms: int
    ) -> list[Weighted]:
        """Return the rows of the range asked for; without a start, those of the last day."""
        low_ms, high_ms = limits
        end_ms = now_ms + 1 if high_ms is None else min(high_ms, now_ms + 1)
        start_ms = end_ms - DAY_MS if low_ms is None else low_ms
        dense = not query.lists_rows and query.columns <= DENSE[view]
        table: list[Weighted] = []
        for day_ms in range(start_ms, end_ms, DAY_MS):
            window = (day_ms, min(day_ms + DAY_MS, end_ms))
            table += VIEWS[view](self._traffic, Extent(window, now_ms, query.columns, dense))
            await self._clock.sleep(0)  # others share the loop, and a month is long
        return table


def _refuse_distinct(query: Query, call: Call) -> None:
    asked = any(column.function == "countDistinct" for column in query.aggregations)
    if asked and "no_count_distinct" in call.faults:
        raise Refusal(call.faults["no_count_distinct"].get("status", 422))


def _spelt(row: Mapping[str, Any], modes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``row`` as it goes on the wire."""
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
