"""A simulator of Voiceflow's v2 usage API, ``POST /v2/query/usage``."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from exporter.clock import Clock
from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Route, Rows, Service
from exporter.simulator.times import Instant, milliseconds, stamp
from exporter.simulator.traffic import Traffic
from exporter.simulator.voiceflow_rows import ENVIRONMENTS, LISTS, Row, UsageScope, intents, rows_of

KEY = "VF.DM.0123456789abcdef01234567.AbCdEfGh12345678"
PROJECT = "64b1f0aa11bb22cc33dd44ee"

MODES = frozenset(
    {
        "end_without_cursor",  # the last page lacks the cursor, and no empty page follows
        "end_with_cursor",  # even the empty page has a cursor
        "zero_cursor",  # the last page's cursor is 0, and no empty page follows
        "repeated_cursor",  # every page is the first one, with its cursor
        "inclusive_end",  # a row whose period is endTime is given, too
        "period_without_fraction",
        "period_without_seconds",
    }
)


class UsageFilter(msgspec.Struct, forbid_unknown_fields=True):
    """What rows are asked for, and which page of them."""

    start: Instant = msgspec.field(name="startTime")
    end: Instant = msgspec.field(name="endTime")
    project: str = msgspec.field(name="projectID")
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)]
    cursor: int | None = None
    environment: str | None = msgspec.field(name="projectEnvironmentIDOrAlias", default=None)


class UsageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """One query."""

    name: str
    filter: UsageFilter


class UsageBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    data: UsageQuery


def error_body(status: int, reason: str) -> Any:
    """Return an error in the form of the vendor's exception library."""
    return {"message": reason, "statusCode": status, "statusText": HTTPStatus(status).phrase}


def build(clock: Clock, traffic: Traffic) -> Service:
    """Return the simulator of one project; its modes are ``MODES``."""

    async def usage(call: Call) -> Answer:
        query = call.read_body(UsageBody).data
        if query.filter.project != PROJECT:
            raise Refusal(401, "no permission for a requested resource")
        scope = _scope(call, query.filter)
        if query.name == "top_intents":
            top = intents(traffic, scope)[: query.filter.limit]
            return Answer({"result": {"intents": top}}, top)
        if query.name not in LISTS:
            raise Refusal(400, "data.name must be a known query")
        return _page(rows_of(query.name, traffic, scope), query.filter, call.faults)

    return Service(
        clock=clock,
        traffic=traffic,
        routes=[Route("POST", "/v2/query/usage", usage)],
        faults=Faults(MODES),
        secrets=[KEY],
        authorization=KEY,
        error=error_body,
        target=lambda url: {
            "provider": "voiceflow",
            "api_key": KEY,
            "base_url": url,
            "projects": [{"id": PROJECT, "alias": "shop"}],
            "queries": [*LISTS, "top_intents"],
        },
    )


def _scope(call: Call, query: UsageFilter) -> UsageScope:
    shown = frozenset(ENVIRONMENTS.values())
    if query.environment is not None:
        shown &= {ENVIRONMENTS.get(query.environment, query.environment)}
    if not shown:
        raise Refusal(404, "environment not found")
    end_ms = milliseconds(query.end) + ("inclusive_end" in call.faults)
    return UsageScope((milliseconds(query.start), end_ms), call.now_ms, shown)


def _page(found: Sequence[Row], query: UsageFilter, modes: Mapping[str, Any]) -> Answer:
    """Return one page.

    Rows are ordered by their row id, and a cursor is the last id of a page. The last page that
    has rows has a cursor like any other; the page after it is empty and has none.
    """
    ordered = sorted(found, key=lambda row: row.id)
    cursor = None if "repeated_cursor" in modes else query.cursor
    begin = sum(1 for row in ordered if cursor is not None and row.id <= cursor)
    page = ordered[begin : begin + query.limit]
    items: Rows = [
        {"period": _period(row.period_ms, modes), "projectID": PROJECT, **row.fields}
        for row in page
    ]
    result: dict[str, Any] = {"items": items}
    last = begin + query.limit >= len(ordered)
    if not page:
        if "end_with_cursor" in modes:
            result["cursor"] = cursor or 0
    elif last and "zero_cursor" in modes:
        result["cursor"] = 0
    elif not last or "end_without_cursor" not in modes:
        result["cursor"] = page[-1].id
    return Answer({"result": result}, items)


def _period(at_ms: int, modes: Mapping[str, Any]) -> str:
    if "period_without_seconds" in modes:
        return stamp(at_ms, 0).removesuffix(":00Z") + "Z"
    return stamp(at_ms, 0 if "period_without_fraction" in modes else 3)
