"""A simulator of Voiceflow's v2 usage API, ``POST /v2/query/usage``."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from exporter.clock import Clock
from exporter.simulator.conversations import FUNCTIONS, TOOLS, Kind
from exporter.simulator.server import Answer, Call, Refusal, Rows, Service
from exporter.simulator.times import HOUR_MS, Instant, milliseconds, stamp
from exporter.simulator.traffic import Traffic, Window

MAIN, STAGING, DEVELOPMENT = (f"64b1f0aa11bb22cc33dd44{end}" for end in ("ef", "f0", "f1"))
ENVIRONMENTS = {"main": MAIN, "staging": STAGING, "development": DEVELOPMENT}
"""The truth's environments, which are aliases here, and their IDs. Any other one is main."""

_VALUES: Mapping[str, Mapping[str, str]] = {
    "interaction_type": {
        "": "dialog-management",
        "live": "dialog-management",
        "test": "canvas-prototype",
    },
    "token_type": {"input": "llm-input", "output": "llm-output"},
}
"""What the vendor calls a value of an attribute."""


@dataclass(frozen=True, slots=True)
class UsageScope:
    """What a query asks for: ``shown`` are environment IDs."""

    window: Window
    now_ms: int
    shown: frozenset[str]

    @property
    def hours(self) -> Window:
        """Return the range of the whole hours that start in the window."""
        start_ms, end_ms = (-(-at_ms // HOUR_MS) * HOUR_MS for at_ms in self.window)
        return start_ms, end_ms


@dataclass(frozen=True, slots=True)
class Row:
    """One item: ``fields`` are those beside ``period`` and ``projectID``."""

    period_ms: int
    fields: Mapping[str, Any]

    @property
    def id(self) -> int:
        """Return a stable number that has nothing to do with time."""
        key = repr((self.period_ms, [v for k, v in self.fields.items() if not k.endswith("ount")]))
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest())


@dataclass(frozen=True, slots=True)
class UsageList:
    """A query that answers with ``items``: which field of an item holds which attribute.

    ``names`` gives each value of the only attribute a ``name``; ``calls`` can succeed or fail.
    """

    kind: Kind
    fields: Mapping[str, str]
    names: Mapping[str, str] | None = None
    calls: bool = False


LISTS: Mapping[str, UsageList] = {
    "interactions": UsageList(Kind.INTERACTION, {"interaction_type": "type"}),
    "unique_users": UsageList(Kind.INTERACTION, {}),
    "credit_usage": UsageList(
        Kind.TOKENS,
        {"diagram": "diagramID", "node": "nodeID", "model": "model", "token_type": "type"},
    ),
    "function_usage": UsageList(
        Kind.FUNCTION_CALL, {"function": "functionID"}, FUNCTIONS, calls=True
    ),
    "api_calls": UsageList(Kind.API_CALL, {"tool": "apiToolID"}, TOOLS, calls=True),
    "kb_documents": UsageList(Kind.KB_HIT, {"document": "documentID"}),
    "integrations": UsageList(
        Kind.INTEGRATION_CALL, {"integration": "integrationToolName"}, calls=True
    ),
}

_Key = tuple[int, str, tuple[str, ...]]
"""An hour, an environment's ID, values of attributes."""


def rows_of(name: str, traffic: Traffic, scope: UsageScope) -> list[Row]:
    """Return all rows of a list."""
    listed = LISTS[name]
    by = tuple(listed.fields)
    if name == "unique_users":
        users = _sums(traffic, scope, listed.kind, ("user",))
        sums = Counter((hour, environment, by) for hour, environment, _ in users)
    else:
        sums = _sums(traffic, scope, listed.kind, by)
    failed = _sums(traffic, scope, listed.kind, by, ok="false") if listed.calls else Counter()
    rows = []
    for key, count in sums.items():
        hour, environment, values = key
        fields: dict[str, Any] = {"environmentID": environment, "count": count}
        fields |= zip(listed.fields.values(), values, strict=True)
        if listed.names is not None:
            fields["name"] = listed.names.get(values[0], values[0])
        if listed.calls:
            fields["successCount"] = count - failed[key]
        rows.append(Row(hour, fields))
    return rows


def _sums(
    traffic: Traffic, scope: UsageScope, kind: Kind, by: tuple[str, ...], **only: str
) -> Counter[_Key]:
    sums: Counter[_Key] = Counter()
    found = traffic.hourly(kind, scope.hours, scope.now_ms, by=("environment", *by), **only)
    for (hour, *texts), count in found.items():
        name, *values = map(str, texts)
        environment = ENVIRONMENTS.get(name, MAIN)
        if environment in scope.shown:
            pairs = zip(by, values, strict=True)
            shown = tuple(
                _VALUES.get(attribute, {}).get(value, value) for attribute, value in pairs
            )
            sums[hour, environment, shown] += count
    return sums


def intents(traffic: Traffic, scope: UsageScope) -> Rows:
    """Return every matched intent of the window, most used first."""
    counts: Counter[str] = Counter()
    by = ("environment", "intent")
    found = traffic.hourly(Kind.NLP_MATCH, scope.window, scope.now_ms, by=by)
    for (_, *texts), count in found.items():
        environment, intent = map(str, texts)
        if ENVIRONMENTS.get(environment, MAIN) in scope.shown:
            counts[intent] += count
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"name": name, "count": count} for name, count in ranked]


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
        routes={("POST", "/v2/query/usage"): usage},
        modes=MODES,
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
