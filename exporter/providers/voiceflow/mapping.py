"""Voiceflow's answers as rows: pure functions.

Source: https://docs.voiceflow.com/reference/querypubliccontroller_queryusagev2
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.families import counter
from exporter.model.numbers import Number, count
from exporter.model.samples import Family
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import parse_instant, trailing_label

CREDIT_USAGE = counter(
    "chatbot_voiceflow_credit_usage_total",
    60,
    "Voiceflow credit_usage count, in the unit the API returns.",
    "model",
    "usage_type",
    meaning="Unit unclear (credits or tokens): never converted; nodes and diagrams are summed away",
)


ResultT = TypeVar("ResultT")


class UsageRow(msgspec.Struct):
    """One usage row; which fields it has depends on the query."""

    period: str | None = None
    project: str | None = msgspec.field(default=None, name="projectID")
    environment: str | None = msgspec.field(default=None, name="environmentID")
    count: Number | None = None
    success_count: Number | None = msgspec.field(default=None, name="successCount")
    type: str | None = None
    model: str | None = None
    name: str | None = None
    function: str | None = msgspec.field(default=None, name="functionID")
    api_tool: str | None = msgspec.field(default=None, name="apiToolID")
    document: str | None = msgspec.field(default=None, name="documentID")
    integration: str | None = msgspec.field(default=None, name="integrationToolName")


class UsagePage(msgspec.Struct):
    """A page of rows; the cursor is opaque and is sent back unchanged, byte for byte."""

    items: list[UsageRow]
    cursor: msgspec.Raw = msgspec.Raw()


class TopIntent(msgspec.Struct):
    """One entry of ``top_intents``."""

    name: str
    count: Number | None = None


class TopIntents(msgspec.Struct):
    """The entries of ``top_intents``."""

    intents: list[TopIntent]


class VoiceflowAnswer(msgspec.Struct, Generic[ResultT]):
    """The answer to any query: a ``UsagePage`` or ``TopIntents``."""

    result: ResultT


@dataclass(frozen=True, slots=True)
class Usage:
    """How the rows of one query name become samples.

    ``labels`` reads the label values after ``project, bot_environment``; ``errors`` is the family
    of ``count - successCount``, ``names`` shows the newest name of each function. ``distinct``:
    the numbers are distinct counts.
    """

    family: Family
    labels: tuple[Callable[[UsageRow], str | None], ...]
    errors: Family | None = None
    names: Family | None = None
    distinct: bool = False


USAGES: Mapping[str, Usage] = {
    "interactions": Usage(families.INTERACTIONS, (lambda row: row.type,)),
    "unique_users": Usage(families.ACTIVE_USERS, (lambda _: "", lambda _: "hour"), distinct=True),
    "credit_usage": Usage(CREDIT_USAGE, (lambda row: row.model, lambda row: row.type)),
    "function_usage": Usage(
        families.FUNCTION_CALLS,
        (lambda row: row.function,),
        errors=families.FUNCTION_CALL_ERRORS,
        names=families.FUNCTION_INFO,
    ),
    "api_calls": Usage(
        families.OUTBOUND_API_REQUESTS,
        (lambda _: "", lambda row: row.api_tool),
        errors=families.OUTBOUND_API_REQUEST_ERRORS,
    ),
    "kb_documents": Usage(families.KNOWLEDGE_BASE_HITS, (lambda row: row.document,)),
    "integrations": Usage(
        families.INTEGRATION_CALLS,
        (lambda row: row.integration,),
        errors=families.INTEGRATION_CALL_ERRORS,
    ),
}
"""Every query that returns rows, by its name."""


@dataclass(frozen=True, slots=True)
class ProjectScope:
    """What was requested: a project, and the environment name of all rows, if it is fixed."""

    project: str
    environment: str | None = None

    def environment_of(self, row: UsageRow) -> str:
        """Return the label ``bot_environment`` of ``row``."""
        return self.environment or row.environment or ""


def parse_period(text: str | None, path: str = "items[]") -> int:
    """Return the instant of ``2026-02-03T09:00:00.000Z`` in UTC milliseconds."""
    if text is None:
        raise SchemaError(f"{path}.period: missing", "missing")
    if text.endswith("Z"):
        with suppress(ValueError):
            return parse_instant(text)
    raise SchemaError(f"{path}.period: expected a UTC time such as 2026-02-03T09:00:00.000Z")


def collect_usage(
    items: Sequence[UsageRow], rows: Rows, *, usage: Usage, scope: ProjectScope
) -> None:
    """Add the rows of one query name.

    Rows outside the window are left out, since the vendor's bounds may be inclusive. A period
    within an hour counts towards its hour, except for distinct counts, which do not add up.
    """
    for index, row in enumerate(items):
        path = f"items[{index}]"
        _check_project(row, scope, path, rows)
        at_ms = parse_period(row.period, path)
        hour_ms = rows.bucket(at_ms)
        if hour_ms is None or (usage.distinct and hour_ms != at_ms):
            continue
        raw = [read(row) for read in usage.labels]
        rows.drift["missing"] += [*raw, row.environment].count(None)
        labels = (scope.project, scope.environment_of(row), *(value or "" for value in raw))
        uses = count(row.count, f"{path}.count")
        if usage.distinct:
            rows.bucket_value(usage.family, labels, hour_ms, uses)
        else:
            rows.count(usage.family, labels, hour_ms, uses)
        if usage.errors:
            rows.count(usage.errors, labels, hour_ms, _errors(row, uses, path))
    if usage.names:
        _collect_names(items, rows, usage.names, scope)


def collect_intents(
    intents: Sequence[TopIntent], rows: Rows, *, scope: ProjectScope, limit: int
) -> None:
    """Add the window's ``limit`` most matched intents; the answer may have more."""
    window = trailing_label(rows.window)
    uses = [(each.name, count(each.count, f"intents[{i}].count")) for i, each in enumerate(intents)]
    for name, matches in sorted(uses, key=lambda pair: -pair[1])[:limit]:
        labels = (scope.project, scope.environment or "", name, window)
        rows.window_value(families.TOP_INTENT_MATCHES, labels, matches)


def _check_project(row: UsageRow, scope: ProjectScope, path: str, rows: Rows) -> None:
    if row.project is None:
        # Only one project was requested, so the row belongs to it.
        rows.drift["missing"] += 1
    elif row.project != scope.project:
        raise SchemaError(f"{path}.projectID: not the requested project", "unknown_enum")


def _errors(row: UsageRow, uses: int, path: str) -> int:
    successes = count(row.success_count, f"{path}.successCount")
    if successes > uses:
        raise SchemaError(f"{path}.successCount: more than count", "negative")
    return uses - successes


def _collect_names(
    items: Sequence[UsageRow], rows: Rows, family: Family, scope: ProjectScope
) -> None:
    """Add the newest name of each function, including those without calls in the window."""
    names = {(of, function): name for of, function, name in rows.memo.get("names", ())}
    for row in sorted(items, key=lambda row: parse_period(row.period)):
        if row.function and row.name:
            names[scope.environment_of(row), row.function] = row.name
    rows.list_of(family.name)
    for (of, function), name in names.items():
        rows.window_value(family, (scope.project, of, function, name), 1)
    rows.remember(names=[[of, function, name] for (of, function), name in names.items()])
