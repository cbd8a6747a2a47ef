"""A simulator of Voiceflow's v2 usage API, ``POST /v2/query/usage``."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from exporter.simulator.conversations import FUNCTIONS, HOUR_MS, TOOLS, Kind
from exporter.simulator.server import (
    Answer,
    Call,
    Instant,
    Refusal,
    Rows,
    Service,
    milliseconds,
    stamp,
)
from exporter.simulator.traffic import Window

KEY = "VF.DM.0123456789abcdef01234567.AbCdEfGh12345678"
PROJECT = "64b1f0aa11bb22cc33dd44ee"

MAIN, STAGING, DEVELOPMENT = (f"64b1f0aa11bb22cc33dd44{end}" for end in ("ef", "f0", "f1"))
ENVIRONMENTS = {"main": MAIN, "staging": STAGING, "development": DEVELOPMENT}
"""The environments of the traffic, which are aliases here, and their ids. Any other is main."""

_VALUES: Mapping[str, Mapping[str, str]] = {
    "interaction_type": {
        "": "dialog-management",
        "live": "dialog-management",
        "test": "canvas-prototype",
    },
    "token_type": {"input": "llm-input", "output": "llm-output"},
}
"""The vendor's names for values of attributes."""


@dataclass(frozen=True, slots=True)
class UsageList:
    """A query that is answered with ``items``; ``fields`` has an item's field by attribute.

    ``names`` has a ``name`` for each value of the only attribute; ``calls`` can succeed or fail.
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

MODES = frozenset(
    {
        "end_without_cursor",  # the last page lacks the cursor, and no empty page follows
        "end_with_cursor",  # even the empty page has a cursor
        "zero_cursor",  # the last page's cursor is 0, and no empty page follows
        "repeated_cursor",  # every page is the first one, with its cursor
        "inclusive_end",  # a row whose period is endTime is included
        "period_without_fraction",
        "period_without_seconds",
    }
)


class UsageFilter(msgspec.Struct, forbid_unknown_fields=True):
    """Which rows are requested, and which page of them."""

    start: Instant = msgspec.field(name="startTime")
    end: Instant = msgspec.field(name="endTime")
    project: str = msgspec.field(name="projectID")
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)]
    cursor: int | None = None
    environment: str | None = msgspec.field(name="projectEnvironmentIDOrAlias", default=None)

    @property
    def shown(self) -> frozenset[str]:
        """Return the ids of the requested environments."""
        every = frozenset(ENVIRONMENTS.values())
        if self.environment is None:
            return every
        return every & {ENVIRONMENTS.get(self.environment, self.environment)}


class UsageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """One query."""

    name: str
    filter: UsageFilter


class UsageBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    data: UsageQuery


_Key = tuple[int, str, tuple[str, ...]]
"""An hour, an environment's id, values of attributes."""


async def usage(call: Call) -> Answer:
    """Answer one query."""
    query = call.read_body(UsageBody).data
    asked = query.filter
    if asked.project != PROJECT:
        raise Refusal(401, "no permission for a requested resource")
    if not asked.shown:
        raise Refusal(404, "environment not found")
    end_ms = milliseconds(asked.end) + ("inclusive_end" in call.faults)
    window = milliseconds(asked.start), end_ms
    if query.name == "top_intents":
        top = _intents(call, window, asked.shown)[: asked.limit]
        return Answer({"result": {"intents": top}}, top)
    if query.name not in LISTS:
        raise Refusal(400, "data.name must be a known query")
    return _page(_items(query.name, call, window, asked.shown), asked, call.faults)


def _items(name: str, call: Call, window: Window, shown: frozenset[str]) -> Rows:
    """Return all items of a list, for the whole hours that start in the window."""
    listed, by = LISTS[name], tuple(LISTS[name].fields)
    start_ms, end_ms = (-(-at_ms // HOUR_MS) * HOUR_MS for at_ms in window)
    sums = partial(_sums, call, (start_ms, end_ms), shown, listed.kind)
    counts = sums(*by)
    if name == "unique_users":
        counts = Counter((hour, environment, by) for hour, environment, _ in sums("user"))
    failed = sums(*by, ok="false") if listed.calls else Counter()
    items = []
    for key, count in counts.items():
        hour, environment, values = key
        item: dict[str, Any] = {
            "period": _period(hour, call.faults),
            "projectID": PROJECT,
            "environmentID": environment,
            "count": count,
        }
        item |= zip(listed.fields.values(), values, strict=True)
        if listed.names is not None:
            item["name"] = listed.names.get(values[0], values[0])
        if listed.calls:
            item["successCount"] = count - failed[key]
        items.append(item)
    return items


def _intents(call: Call, window: Window, shown: frozenset[str]) -> Rows:
    """Return every matched intent in the window, most used first."""
    counts: Counter[str] = Counter()
    for (_, _, (intent,)), count in _sums(call, window, shown, Kind.NLP_MATCH, "intent").items():
        counts[intent] += count
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"name": name, "count": count} for name, count in ranked]


def _sums(
    call: Call, window: Window, shown: frozenset[str], kind: Kind, *by: str, **only: str
) -> Counter[_Key]:
    sums: Counter[_Key] = Counter()
    for (hour, *texts), count in call.hourly(kind, window, "environment", *by, **only).items():
        name, *values = map(str, texts)
        environment = ENVIRONMENTS.get(name, MAIN)
        if environment in shown:
            pairs = zip(by, values, strict=True)
            called = (_VALUES.get(attribute, {}).get(value, value) for attribute, value in pairs)
            sums[hour, environment, tuple(called)] += count
    return sums


def _page(items: Rows, query: UsageFilter, modes: Mapping[str, Any]) -> Answer:
    """Return one page.

    Items are ordered by their number, and a cursor is the last number on a page. The last page with
    items has a cursor like any other; the page after it is empty and has none.
    """
    ordered = sorted(items, key=_number)
    cursor = None if "repeated_cursor" in modes else query.cursor
    begin = sum(1 for item in ordered if cursor is not None and _number(item) <= cursor)
    page = ordered[begin : begin + query.limit]
    result: dict[str, Any] = {"items": page}
    last = begin + query.limit >= len(ordered)
    if not page:
        if "end_with_cursor" in modes:
            result["cursor"] = cursor or 0
    elif last and "zero_cursor" in modes:
        result["cursor"] = 0
    elif not last or "end_without_cursor" not in modes:
        result["cursor"] = _number(page[-1])
    return Answer({"result": result}, page)


def _number(item: Mapping[str, Any]) -> int:
    """Return a stable number that is unrelated to time."""
    key = repr([value for name, value in item.items() if not name.endswith("ount")])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest())


def _period(at_ms: int, modes: Mapping[str, Any]) -> str:
    if "period_without_seconds" in modes:
        return stamp(at_ms, 0).removesuffix(":00Z") + "Z"
    return stamp(at_ms, 0 if "period_without_fraction" in modes else 3)


build = partial(
    Service,
    routes={("POST", "/v2/query/usage"): usage},
    modes=MODES,
    secrets=[KEY],
    authorization=KEY,
    error=lambda status, reason: {
        "message": reason,
        "statusCode": status,
        "statusText": HTTPStatus(status).phrase,
    },
    target=lambda url: {
        "provider": "voiceflow",
        "api_key": KEY,
        "base_url": url,
        "projects": [{"id": PROJECT, "alias": "shop"}],
        "queries": [*LISTS, "top_intents"],
    },
)
"""Builds the simulator of one project."""
