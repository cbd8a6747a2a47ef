"""The truth as rows of Voiceflow's v2 usage queries."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from exporter.simulator.conversations import FUNCTIONS, TOOLS, Kind
from exporter.simulator.traffic import Traffic

HOUR_MS = 3_600_000
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z")
_INTERACTION_TYPES = {
    "": "dialog-management",
    "live": "dialog-management",
    "test": "canvas-prototype",
}


@dataclass(frozen=True, slots=True)
class SimulatedScope:
    """What a query asks for: ``shown`` are environment IDs, ``ids`` translates the truth's."""

    start_ms: int
    end_ms: int
    now_ms: int
    ids: Mapping[str, str]
    shown: frozenset[str]

    def environment(self, name: str) -> str:
        """Return the ID of an environment; of none or an unknown one that of main."""
        return self.ids.get(name, self.ids["main"])

    @property
    def hours(self) -> tuple[int, int]:
        """Return the range of the whole hours that start in the asked range."""
        return _hour_from(self.start_ms), _hour_from(self.end_ms)


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


def _hour_from(at_ms: int) -> int:
    return -(-at_ms // HOUR_MS) * HOUR_MS


def parse_instant(value: Any) -> int | None:
    """Return UTC milliseconds of a timestamp in the form the vendor's schema accepts."""
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        return None
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    except ValueError:
        return None


def spell(period_ms: int, modes: Mapping[str, Any]) -> str:
    """Return the start of an hour, with milliseconds unless a mode says otherwise."""
    at = datetime.fromtimestamp(period_ms / 1000, UTC)
    if "period_without_seconds" in modes:
        return at.strftime("%Y-%m-%dT%H:%MZ")
    if "period_without_fraction" in modes:
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


Sums = Mapping[tuple[int, str, tuple[str, ...]], int]
List = Callable[[Traffic, SimulatedScope], list[Row]]


def _sums(
    kind: Kind, by: tuple[str, ...], traffic: Traffic, scope: SimulatedScope, **only: str
) -> Sums:
    """Return sums by ``(hour, environment ID, values)``."""
    found: defaultdict[tuple[int, str, tuple[str, ...]], int] = defaultdict(int)
    groups = traffic.grouped(
        kind,
        scope.hours,
        scope.now_ms,
        by=("environment", *by),
        bucket_ms=HOUR_MS,
        **only,
    )
    for (hour, *values), count in groups.items():
        if (environment := scope.environment(values[0])) in scope.shown:
            found[hour, environment, tuple(values[1:])] += count
    return found


def _interactions(traffic: Traffic, scope: SimulatedScope) -> list[Row]:
    counts: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    sums = _sums(Kind.INTERACTION, ("interaction_type",), traffic, scope)
    for (hour, environment, (name,)), count in sums.items():
        counts[hour, environment, _INTERACTION_TYPES.get(name, name)] += count
    return [
        Row(hour, {"environmentID": environment, "count": count, "type": name})
        for (hour, environment, name), count in counts.items()
    ]


def _unique_users(traffic: Traffic, scope: SimulatedScope) -> list[Row]:
    users: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for hour, environment, (user,) in _sums(Kind.INTERACTION, ("user",), traffic, scope):
        users[hour, environment].add(user)
    return [
        Row(hour, {"environmentID": environment, "count": len(seen)})
        for (hour, environment), seen in users.items()
    ]


def _credit_usage(traffic: Traffic, scope: SimulatedScope) -> list[Row]:
    sums = _sums(Kind.TOKENS, ("diagram", "node", "model", "token_type"), traffic, scope)
    return [
        Row(
            hour,
            {
                "environmentID": environment,
                "count": count,
                "diagramID": diagram,
                "nodeID": node,
                "model": model,
                "type": f"llm-{token_type}",
            },
        )
        for (hour, environment, (diagram, node, model, token_type)), count in sums.items()
    ]


def _kb_documents(traffic: Traffic, scope: SimulatedScope) -> list[Row]:
    sums = _sums(Kind.KB_HIT, ("document",), traffic, scope)
    return [
        Row(hour, {"environmentID": environment, "count": count, "documentID": document})
        for (hour, environment, (document,)), count in sums.items()
    ]


def _calls(
    traffic: Traffic,
    scope: SimulatedScope,
    *,
    kind: Kind,
    attribute: str,
    key: str,
    names: Mapping[str, str] | None = None,
) -> list[Row]:
    every = _sums(kind, (attribute,), traffic, scope)
    failed = _sums(kind, (attribute,), traffic, scope, ok="false")
    rows = []
    for (hour, environment, (tool,)), count in every.items():
        fields: dict[str, Any] = {"environmentID": environment, "count": count, key: tool}
        if names is not None:
            fields["name"] = names.get(tool, tool)
        fields["successCount"] = count - failed.get((hour, environment, (tool,)), 0)
        rows.append(Row(hour, fields))
    return rows


LISTS: Mapping[str, List] = {
    "interactions": _interactions,
    "unique_users": _unique_users,
    "credit_usage": _credit_usage,
    "function_usage": partial(
        _calls,
        kind=Kind.FUNCTION_CALL,
        attribute="function",
        key="functionID",
        names=FUNCTIONS,
    ),
    "api_calls": partial(
        _calls, kind=Kind.API_CALL, attribute="tool", key="apiToolID", names=TOOLS
    ),
    "kb_documents": _kb_documents,
    "integrations": partial(
        _calls, kind=Kind.INTEGRATION_CALL, attribute="integration", key="integrationToolName"
    ),
}
"""The queries that answer with ``items``."""


def intents(traffic: Traffic, scope: SimulatedScope) -> list[dict[str, Any]]:
    """Return every matched intent of the asked range, most used first."""
    counts: defaultdict[str, int] = defaultdict(int)
    for one in traffic.records(Kind.NLP_MATCH, (scope.start_ms, scope.end_ms), scope.now_ms):
        if scope.environment(one.get("environment")) in scope.shown:
            counts[one.get("intent")] += 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"name": name, "count": count} for name, count in ranked]
