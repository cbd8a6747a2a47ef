"""The truth as rows of Voiceflow's v2 usage queries."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.simulator.conversations import FUNCTIONS, TOOLS, Kind
from exporter.simulator.server import Rows
from exporter.simulator.times import HOUR_MS
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
