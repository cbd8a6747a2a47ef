"""A simulator of Inkeep's analytics API: the exporter's queries over events, conversations and feedback.

Rows that are equal in the columns a query needs are one row with a weight.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

from exporter.clock import Clock
from exporter.simulator.conversations import Kind, Occurrence
from exporter.simulator.inkeep_query import GroupQuery, WeightedRow, run
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service
from exporter.simulator.times import DAY_MS, HOUR_MS
from exporter.simulator.traffic import HourlySums, Traffic, Window

ESCALATIONS = ("get_help_option", "contact_us", "support_form", "intelligent_support_form")
INSTANTS: Mapping[str, str] = {
    "events": "createdAt",
    "conversations": "firstMessageTime",
    "feedback": "createdAt",
}
"""The column that says when a row happened, by view."""

_COMMON = ("id", "integrationId", "properties", "userProperties", "type")
FIELDS: Mapping[str, Sequence[str]] = {
    "events": (*_COMMON, "createdAt", "eventType"),
    "conversations": (*_COMMON, "firstMessageTime", "userMessageCount"),
    "feedback": (*_COMMON, "createdAt"),
}
"""The columns of each view."""
LONGEST_MS = DAY_MS
"""Messages of a conversation are counted for this long after its hour."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a query needs of a view: its range, as of when, and the columns that matter."""

    window: Window
    now_ms: int
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class EventShape:
    """How the widget logs an occurrence: its entity, its event names, and when it does so."""

    entity: str
    names: tuple[str, ...]
    properties: Callable[[Occurrence], Mapping[str, Any]] = lambda _: {}
    when: Callable[[Occurrence], bool] = lambda _: True


def _is_negative(one: Occurrence) -> bool:
    return one.get("rating") == "negative"


def _escalation_type(one: Occurrence) -> Mapping[str, Any]:
    if one.get("escalation") == "none":
        return {}
    usual = ESCALATIONS[(one.at_ms // HOUR_MS + len(one.get("channel"))) % len(ESCALATIONS)]
    return {"escalationType": one.get("escalation") or usual}


ESCALATED = ("user_escalation_indicated",)
SHAPES: Mapping[Kind, tuple[EventShape, ...]] = {
    Kind.MESSAGE_RECEIVED: (EventShape("conversation", ("user_message_submitted",)),),
    # The widget reports one answer under two names.
    Kind.MESSAGE_SENT: (
        EventShape("conversation", ("assistant_message_received", "assistant_answer_displayed")),
    ),
    Kind.SEARCH: (
        EventShape("search", ("search_query_submitted", "search_query_response_received")),
    ),
    Kind.HANDOVER: (EventShape("conversation", ESCALATED, _escalation_type),),
    # The widget also reports a thumbs-down as an escalation.
    Kind.FEEDBACK: (
        EventShape(
            "message",
            ("assistant_positive_feedback_submitted",),
            when=lambda one: not _is_negative(one),
        ),
        EventShape("message", ("assistant_negative_feedback_submitted",), when=_is_negative),
        EventShape(
            "conversation", ESCALATED, lambda _: {"escalationType": "downvote"}, _is_negative
        ),
    ),
}
"""The events of the widget. Any other name can be scripted: ``add(…, event=NAME)``."""


def rows_of(view: str, traffic: Traffic, extent: Extent) -> Iterator[WeightedRow]:
    """Yield the rows of a view."""
    match view:
        case "events":
            yield from _events(traffic, extent)
        case "conversations":
            yield from _conversations(traffic, extent)
        case _:
            for one in _occurrences(traffic, Kind.FEEDBACK, extent, "rating"):
                kind = "negative" if _is_negative(one) else "positive"
                yield _row(one, "createdAt", type=kind), one.amount


def _events(traffic: Traffic, extent: Extent) -> Iterator[WeightedRow]:
    labels = ("event", "rating", "escalation")
    for kind, usual in SHAPES.items():
        for one in _occurrences(traffic, kind, extent, *labels):
            name = one.get("event")
            shapes = (EventShape("conversation", (name,)),) if name else usual
            for shape in shapes:
                for event in shape.names if shape.when(one) else ():
                    row = _row(one, "createdAt", eventType=shape.entity, type=event)
                    yield row | {"properties": dict(shape.properties(one))}, one.amount


def _conversations(traffic: Traffic, extent: Extent) -> Iterator[WeightedRow]:
    """Yield conversations; ``userMessageCount`` grows while people write."""
    counts: Counter[str] = Counter()
    labels: tuple[str, ...] = ()
    if "userMessageCount" in extent.columns:
        labels = ("conversation",)
        window = (extent.window[0], min(extent.window[1] + LONGEST_MS, extent.now_ms + 1))
        received = traffic.hourly(Kind.MESSAGE_RECEIVED, window, extent.now_ms, by=labels)
        for (_, *names), count in received.items():
            counts[names[0]] += count
    for one in _occurrences(traffic, Kind.CONVERSATION_STARTED, extent, *labels):
        messages = counts[one.get("conversation")] // one.amount
        row = _row(one, "firstMessageTime", type="openai", userMessageCount=messages)
        yield row, one.amount


def _occurrences(
    traffic: Traffic, kind: Kind, extent: Extent, *labels: str
) -> Iterator[Occurrence]:
    user = ("user",) if "userProperties" in extent.columns else ()
    by = ("channel", *labels, *user)
    sums = traffic.hourly(kind, extent.window, extent.now_ms, by=by)
    if extent.columns.isdisjoint(INSTANTS.values()):
        totals: HourlySums = Counter()
        for (_, *values), count in sums.items():
            totals[extent.window[0], *values] += count
        sums = totals
    for number, ((hour_ms, *values), count) in enumerate(sums.items()):
        at_ms = max(hour_ms, extent.window[0])
        context = dict(zip(by, values, strict=True))
        yield Occurrence(f"{kind}-{at_ms}", number, at_ms, kind, at_ms, context, {}, count)


def _row(one: Occurrence, instant: str, **more: Any) -> dict[str, Any]:
    channel, user = one.get("channel"), one.get("user")
    return {
        "id": one.id,
        "integrationId": f"int_{channel}" if channel else None,
        instant: one.at_ms,
        "properties": {},
        "userProperties": {"id": user, "identificationType": "COOKIED"} if user else {},
        **more,
    }


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
        routes={("POST", f"/query/{view}"): partial(answer, view) for view in INSTANTS},
        modes=MODES,
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
