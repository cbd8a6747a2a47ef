"""A fake of Voiceflow's v2 usage API, ``POST /v2/query/usage``."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from exporter.clock import Clock
from exporter.simulator.faults import Faults
from exporter.simulator.server import Answer, Call, Refusal, Route, Rows, Service
from exporter.simulator.traffic import Traffic
from exporter.simulator.voiceflow_pages import PAGE_MODES, page
from exporter.simulator.voiceflow_rows import LISTS, SimulatedScope, intents, parse_instant, spell

KEY = "VF.DM.0123456789abcdef01234567.AbCdEfGh12345678"
PROJECT = "64b1f0aa11bb22cc33dd44ee"
MAIN, STAGING, DEVELOPMENT = (f"64b1f0aa11bb22cc33dd44{end}" for end in ("ef", "f0", "f1"))
ENVIRONMENTS = {"main": MAIN, "staging": STAGING, "development": DEVELOPMENT}
"""The truth's environments (where an occurrence has none: main) and the IDs they have here."""

ALIASES = ENVIRONMENTS
LEGACY_ALIASES = {"production": MAIN, "staging": STAGING, "development": DEVELOPMENT}

DAY_MS = 86_400_000
MAX_LIMIT = 500
DEFAULT_LIMIT = 100

MODES = PAGE_MODES | {
    "inclusive_end",  # a row whose period is endTime is given, too
    "period_without_fraction",
    "period_without_seconds",
    "legacy_aliases",  # production, staging, development; no main
    "unknown_alias_empty",  # 200 without rows where it is 404 otherwise
}


def error_body(status: int, reason: str) -> Any:
    """Return an error in the form of the vendor's exception library."""
    return {"message": reason, "statusCode": status, "statusText": HTTPStatus(status).phrase}


def conflict_body(status: int, reason: str) -> Any:
    """Return an error as another API of the vendor was seen to spell it."""
    return {"code": status, "status": HTTPStatus(status).phrase, "data": reason}


def build(clock: Clock, traffic: Traffic, *, key: str = KEY, project: str = PROJECT) -> Service:
    """Return the fake of one project; its modes are ``MODES``."""

    async def usage(call: Call) -> Answer:
        if call.headers.get("authorization") != key:
            raise Refusal(401)
        name, wanted = _query(call.body)
        if _text(wanted, "projectID") != project:
            raise Refusal(401, "no permission for a requested resource")
        return _answer(call, traffic, name, wanted, project)

    return Service(
        clock=clock,
        traffic=traffic,
        routes=[Route("POST", "/v2/query/usage", usage)],
        faults=Faults(frozenset(MODES)),
        secrets=[key],
        error=error_body,
        target=lambda url: {
            "provider": "voiceflow",
            "api_key": key,
            "base_url": url,
            "projects": [{"id": project, "alias": "shop"}],
            "queries": [*LISTS, "top_intents"],
        },
    )


def _query(body: Any) -> tuple[str, Mapping[str, Any]]:
    match body:
        case {"data": {"name": str(name), "filter": dict(wanted)}}:
            if name in LISTS or name == "top_intents":
                return name, wanted
            raise Refusal(400, "data.name must be a known query")
        case _:
            raise Refusal(400, "data.name and data.filter are required")


def _answer(
    call: Call, traffic: Traffic, name: str, wanted: Mapping[str, Any], project: str
) -> Answer:
    scope = _scope(call, wanted)
    limit = _integer(wanted, "limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        raise Refusal(400, "limit must be from 1 to 500")
    if name == "top_intents":
        top: Rows = [dict(row) for row in intents(traffic, scope)[:limit]]
        return Answer({"result": {"intents": top}}, top)
    rows = LISTS[name](traffic, scope)
    cursor = _integer(wanted, "cursor", None)
    found, following = page(rows, cursor, limit, call.faults)
    items: Rows = [
        {"period": spell(row.period_ms, call.faults), "projectID": project, **row.fields}
        for row in found
    ]
    result: dict[str, Any] = {"items": items}
    if following is not None:
        result["cursor"] = following
    return Answer({"result": result}, items)


def _scope(call: Call, wanted: Mapping[str, Any]) -> SimulatedScope:
    end_ms = _instant(wanted, "endTime", call.now_ms)
    return SimulatedScope(
        start_ms=_instant(wanted, "startTime", end_ms - 30 * DAY_MS),
        end_ms=end_ms + 1 if "inclusive_end" in call.faults else end_ms,
        now_ms=call.now_ms,
        ids=ENVIRONMENTS,
        shown=_environments(call, wanted.get("projectEnvironmentIDOrAlias")),
    )


def _environments(call: Call, wanted: Any) -> frozenset[str]:
    everything = frozenset(ENVIRONMENTS.values())
    if wanted is None:
        return everything
    aliases = LEGACY_ALIASES if "legacy_aliases" in call.faults else ALIASES
    names = wanted if isinstance(wanted, list) else [wanted]
    shown = {aliases.get(name, name) for name in names if isinstance(name, str)} & everything
    if len(shown) < len(names) and "unknown_alias_empty" not in call.faults:
        raise Refusal(404, "environment not found")
    return frozenset(shown)


def _text(wanted: Mapping[str, Any], key: str) -> str:
    value = wanted.get(key)
    if not isinstance(value, str) or not value:
        raise Refusal(400, f"{key} must be a text")
    return value


def _integer(wanted: Mapping[str, Any], key: str, default: Any) -> Any:
    value = wanted.get(key, default)
    if value is not default and type(value) is not int:
        raise Refusal(400, f"{key} must be an integer")
    return value


def _instant(wanted: Mapping[str, Any], key: str, default: int) -> int:
    if key not in wanted:
        return default
    if (parsed := parse_instant(wanted[key])) is None:
        raise Refusal(400, f"{key} must be an ISO-8601 timestamp in UTC")
    return parsed
