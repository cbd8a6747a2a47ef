"""A simulator of Inkeep's analytics API: grouped counts of events, conversations and feedback.

It knows only the part of the query language that grouped counts need; other queries are a 422.
Rows that are equal in the columns that a query needs are one row with a weight.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec

from exporter.clock import SystemClock
from exporter.simulator.conversations import DAY_MS, HOUR_MS, Kind, Occurrence
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service, milliseconds
from exporter.simulator.traffic import HourlySums, Window

KEY = "ik-canary-7d1f0a5566"
WRITE_ONLY_KEY = "ik-canary-webwidget-31"
PAGE_ROWS = 10_000
MODES = frozenset(
    {
        "page_cap",  # rows=100: an answer has no more rows; only its total shows that
        "numbers_as_strings",
        "iso_buckets",  # 2026-03-01T09:00:00.000Z instead of 2026-03-01 09:00:00
        "swapped_types",  # eventType holds the name, type the entity
        "no_count_distinct",  # 422, or status=OTHER
    }
)

ESCALATIONS = ("get_help_option", "contact_us", "support_form", "intelligent_support_form")
ESCALATED = "user_escalation_indicated"
INSTANTS: Mapping[str, str] = {
    "events": "createdAt",
    "conversations": "firstMessageTime",
    "feedback": "createdAt",
}
"""The column with a row's instant, by view."""

_COMMON = ("id", "integrationId", "properties", "userProperties", "type")
FIELDS: Mapping[str, Sequence[str]] = {
    "events": (*_COMMON, "createdAt", "eventType", "conversationId"),
    "conversations": (*_COMMON, "firstMessageTime", "userMessageCount"),
    "feedback": (*_COMMON, "createdAt"),
}
"""The columns of each view."""
LONGEST_MS = DAY_MS
"""Messages of a conversation are counted for this long after its hour."""

WeightedRow = tuple[Mapping[str, Any], int]
"""A row, and the number of equal rows it stands for."""


class Column(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A field, or a path within it, by which rows are grouped.

    ``selected``: the answer has the column, according to the vendor's own client.
    """

    field: str
    path: list[str] = []
    selected: bool = msgspec.field(name="includeInSelect", default=True)

    @property
    def name(self) -> str:
        """Return the key that the vendor gives the column."""
        return ".".join((self.field, *self.path))

    def value(self, row: Mapping[str, Any]) -> Any:
        """Return the value in ``row``; None if the path does not exist."""
        value: Any = row.get(self.field)
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


class TimeColumn(Column, tag_field="type", tag="time"):
    """The hour of an instant, by which rows are grouped."""

    unit: Literal["hour"] = msgspec.field(name="timeUnit")

    @property
    def name(self) -> str:
        return f"{self.field}_hour"

    def value(self, row: Mapping[str, Any]) -> datetime:
        return datetime.fromtimestamp(row[self.field] // HOUR_MS * HOUR_MS / 1000, UTC)


class Aggregation(Column, tag_field="type", tag="aggregation"):
    """A number computed from the rows of a group."""

    function: Literal["sum", "count", "countDistinct"] = msgspec.field(name="aggregation")

    @property
    def name(self) -> str:
        return f"{self.function}_{super().name}"

    def number(self, rows: Sequence[WeightedRow]) -> int:
        """Return the number for ``rows``; a value that does not exist is left out."""
        values = [(self.value(row), weight) for row, weight in rows]
        present = [(value, weight) for value, weight in values if value is not None]
        match self.function:
            case "count":
                return sum(weight for _, weight in present)
            case "countDistinct":
                return len({repr(value) for value, _ in present})
            case "sum":
                return sum(value * weight for value, weight in present)


class FieldCondition(msgspec.Struct, forbid_unknown_fields=True):
    """A field equals a value, or has one, or an instant is in a range."""

    field: str
    operator: Literal["eq", "isNotNull", "gte", "lt"]
    value: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and self.operator != "isNotNull":
            raise ValueError("no value")

    @property
    def of_range(self) -> bool:
        """Return whether it is an edge of a range."""
        return self.operator in {"gte", "lt"}

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Return whether ``row`` meets a condition that is not of a range."""
        value = row.get(self.field)
        return value == self.value if self.operator == "eq" else value is not None


class Clause(msgspec.Struct, forbid_unknown_fields=True):
    """One condition, or several alternatives."""

    condition: FieldCondition | None = None
    either: list["Clause"] = msgspec.field(name="or", default_factory=list)

    @property
    def alternatives(self) -> list[FieldCondition]:
        """Return the alternative conditions, one of which must hold."""
        alone = [] if self.condition is None else [self.condition]
        return alone + [one for clause in self.either for one in clause.alternatives]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """A column of the result to sort by."""

    field: str
    direction: Literal["asc"]


class GroupQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    select: list[TimeColumn | Aggregation] = []
    group_by: list[Column] = msgspec.field(name="groupBy", default_factory=list)
    where: dict[Literal["and"], list[Clause]] = {}
    order_by: list[Order] = msgspec.field(name="orderBy", default_factory=list)
    notes: Annotated[str, msgspec.Meta(max_length=80)] = ""

    @property
    def keys(self) -> list[Column]:
        """Return what rows are grouped by."""
        return [*(each for each in self.select if isinstance(each, TimeColumn)), *self.group_by]

    @property
    def aggregations(self) -> list[Aggregation]:
        """Return the requested numbers."""
        return [each for each in self.select if isinstance(each, Aggregation)]

    @property
    def conditions(self) -> list[list[FieldCondition]]:
        """Return the alternatives of each clause, without those of the range."""
        return [one for one in self._clauses if not any(each.of_range for each in one)]

    @property
    def edges(self) -> list[FieldCondition]:
        """Return the conditions of the range."""
        return [each for one in self._clauses for each in one if each.of_range]

    @property
    def _clauses(self) -> list[list[FieldCondition]]:
        return [clause.alternatives for clause in self.where.get("and", [])]

    @property
    def fields(self) -> frozenset[str]:
        """Return the columns whose values matter."""
        counted = {each.field for each in self.aggregations if each.function != "count"}
        compared = {each.field for either in self.conditions for each in either}
        return frozenset(counted | compared | {key.field for key in self.keys})

    def range(self, now_ms: int) -> Window:
        """Return the range, which ends now at the latest; without a start it is one day."""
        edges = {edge.operator: milliseconds(str(edge.value)) for edge in self.edges}
        end_ms = min(now_ms + 1, edges.get("lt", now_ms + 1))
        return edges.get("gte", end_ms - DAY_MS), end_ms

    def check(self, fields: Sequence[str], instant: str) -> None:
        """Raise ``Refusal`` unless every name is a column's and every instant is ``instant``."""
        columns = {key.name for key in self.keys} | {each.name for each in self.aggregations}
        hours = {each.field for each in self.keys if isinstance(each, TimeColumn)}
        if (
            not self.fields | {each.field for each in self.aggregations} <= set(fields)
            or not hours | {edge.field for edge in self.edges} <= {instant}
            or not {order.field for order in self.order_by} <= columns
        ):
            raise Refusal(422, "unknown field")


def run(query: GroupQuery, table: Sequence[WeightedRow]) -> list[dict[str, Any]]:
    """Return the result rows; an hour is a ``datetime``."""
    groups: dict[tuple[Any, ...], list[WeightedRow]] = {} if query.keys else {(): []}
    conditions = query.conditions
    for row, weight in table:
        if all(any(each.holds(row) for each in either) for either in conditions):
            key = tuple(column.value(row) for column in query.keys)
            groups.setdefault(key, []).append((row, weight))
    names = [column.name for column in query.keys]
    found = [
        dict(zip(names, values, strict=True))
        | {column.name: column.number(rows) for column in query.aggregations}
        for values, rows in groups.items()
    ]
    for order in reversed(query.order_by):
        found.sort(key=lambda row: row[order.field])
    return found


@dataclass(frozen=True, slots=True)
class Extent:
    """What a query needs of a view: call, range, and the columns that matter."""

    call: Call
    window: Window
    columns: frozenset[str]


LOGGED = (Kind.MESSAGE_RECEIVED, Kind.MESSAGE_SENT, Kind.SEARCH, Kind.HANDOVER, Kind.FEEDBACK)
"""What the widget logs as events; ``add(…, event=NAME)`` scripts any other name."""


def _logged(one: Occurrence) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield entity, name and properties of each event that the widget logs for ``one``."""
    if name := one.get("event"):
        yield "conversation", name, {}
        return
    match one.kind:
        case Kind.MESSAGE_RECEIVED:
            yield "conversation", "user_message_submitted", {}
        case Kind.MESSAGE_SENT:  # one answer, reported under two names
            yield "conversation", "assistant_message_received", {}
            yield "conversation", "assistant_answer_displayed", {}
        case Kind.SEARCH:
            yield "search", "search_query_submitted", {}
            yield "search", "search_query_response_received", {}
        case Kind.HANDOVER:
            usual = ESCALATIONS[(one.at_ms // HOUR_MS + len(one.get("channel"))) % len(ESCALATIONS)]
            kind = one.get("escalation") or usual
            yield "conversation", ESCALATED, {} if kind == "none" else {"escalationType": kind}
        case _:  # feedback; a thumbs-down is also reported as an escalation
            yield "message", f"assistant_{_rating(one)}_feedback_submitted", {}
            if _rating(one) == "negative":
                yield "conversation", ESCALATED, {"escalationType": "downvote"}


def _rating(one: Occurrence) -> str:
    return "negative" if one.get("rating") == "negative" else "positive"


def rows_of(view: str, extent: Extent) -> Iterator[WeightedRow]:
    """Yield the rows of a view."""
    match view:
        case "events":
            yield from _events(extent)
        case "conversations":
            yield from _conversations(extent)
        case _:
            for one in _occurrences(extent, Kind.FEEDBACK, "rating"):
                yield _row(one, "createdAt", type=_rating(one)), one.amount


def _events(extent: Extent) -> Iterator[WeightedRow]:
    labels = ["event", "rating", "escalation"]
    if "conversationId" in extent.columns:
        labels.append("conversation")
    for kind in LOGGED:
        for one in _occurrences(extent, kind, *labels):
            for entity, event, properties in _logged(one):
                row = _row(one, "createdAt", eventType=entity, type=event, properties=properties)
                of = one.get("conversation") if entity == "conversation" else None
                yield {**row, "conversationId": of or None}, one.amount


def _conversations(extent: Extent) -> Iterator[WeightedRow]:
    """Yield conversations; ``userMessageCount`` grows while users write."""
    counts: Counter[str] = Counter()
    labels: tuple[str, ...] = ()
    if "userMessageCount" in extent.columns:
        labels = ("conversation",)
        call = extent.call
        window = (extent.window[0], min(extent.window[1] + LONGEST_MS, call.now_ms + 1))
        received = call.hourly(Kind.MESSAGE_RECEIVED, window, *labels)
        for (_, *names), count in received.items():
            counts[names[0]] += count
    for one in _occurrences(extent, Kind.CONVERSATION_STARTED, *labels):
        messages = counts[one.get("conversation")] // one.amount
        row = _row(one, "firstMessageTime", type="openai", userMessageCount=messages)
        yield row, one.amount


def _occurrences(extent: Extent, kind: Kind, *labels: str) -> Iterator[Occurrence]:
    user = ("user",) if "userProperties" in extent.columns else ()
    by = ("channel", *labels, *user)
    sums = extent.call.hourly(kind, extent.window, *by)
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


async def answer(view: str, call: Call) -> Answer:
    """Answer a query of a view."""
    _check_key(call)
    if not isinstance(call.body, dict):
        raise Refusal(400, "the body is not a JSON object")
    query = call.read_body(GroupQuery, status=422)
    query.check(FIELDS[view], INSTANTS[view])
    functions = {each.function for each in query.aggregations}
    if "no_count_distinct" in call.faults and "countDistinct" in functions:
        raise Refusal(call.option("no_count_distinct", "status", 422))
    start_ms, end_ms = query.range(call.now_ms)
    table: list[WeightedRow] = []
    for day_ms in range(start_ms, end_ms, DAY_MS):
        window = (day_ms, min(day_ms + DAY_MS, end_ms))
        table += rows_of(view, Extent(call, window, query.fields))
        await SystemClock().sleep(0)  # a month takes long, and other tasks share the loop
    found = run(query, table)
    most = call.option("page_cap", "rows", PAGE_ROWS)
    rows: Rows = [_formatted(row, call.faults) for row in found[:most]]
    numbers = {"total": len(found), "pageSize": most, "count": len(rows)}
    data = {"result": rows, **_formatted(numbers, call.faults)}
    return Answer({"status": "ok", "data": data}, rows)


def _check_key(call: Call) -> None:
    key = call.headers.get("authorization", "").removeprefix("Bearer ")
    if key == WRITE_ONLY_KEY:
        raise Refusal(403, "this integration may only write")
    if key != KEY:
        raise Refusal(401, "API key not recognised")


def _formatted(row: Mapping[str, Any], modes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``row`` in the form that the modes select."""
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


build = partial(
    Service,
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
"""Builds the simulator of one project."""
