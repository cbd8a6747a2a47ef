"""Voiceflow's usage rows as samples: pure, no clock, no network.

Source: https://docs.voiceflow.com/reference/querypubliccontroller_queryusagev2
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from exporter.errors import SchemaError
from exporter.model import families
from exporter.model.numbers import Number, count
from exporter.model.samples import HOUR_MS, Family, GaugeRow, Reading, Series, Window, floor_to
from exporter.providers.base.labels import Labels
from exporter.providers.voiceflow.families import CREDIT_USAGE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds and fraction are optional, an offset other than Z is not in the vendor's pattern.
_PERIOD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z")


class Row(msgspec.Struct):
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


class Intent(msgspec.Struct):
    """One entry of ``top_intents``."""

    name: str
    count: Number | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """How the rows of one query name become samples.

    ``labels`` reads the label values after ``project, bot_environment``; ``errors`` is the family
    of ``count - successCount``, ``distinct`` says that values of different rows never add up.
    """

    family: Family
    labels: tuple[Callable[[Row], str | None], ...]
    errors: Family | None = None
    distinct: bool = False
    names: Family | None = None


MEASURES: Mapping[str, Measure] = {
    "interactions": Measure(families.INTERACTIONS, (lambda row: row.type,)),
    "unique_users": Measure(families.ACTIVE_USERS, (lambda _: "", lambda _: "hour"), distinct=True),
    "credit_usage": Measure(CREDIT_USAGE, (lambda row: row.model, lambda row: row.type)),
    "function_usage": Measure(
        families.FUNCTION_CALLS,
        (lambda row: row.function,),
        errors=families.FUNCTION_CALL_ERRORS,
        names=families.FUNCTION_INFO,
    ),
    "api_calls": Measure(
        families.OUTBOUND_API_REQUESTS,
        (lambda _: "", lambda row: row.api_tool),
        errors=families.OUTBOUND_API_REQUEST_ERRORS,
    ),
    "kb_documents": Measure(families.KNOWLEDGE_BASE_HITS, (lambda row: row.document,)),
    "integrations": Measure(
        families.INTEGRATION_CALLS,
        (lambda row: row.integration,),
        errors=families.INTEGRATION_CALL_ERRORS,
    ),
}
"""Every query that returns rows, by its name."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for: one project, and the environment whose name rows carry, if one is fixed."""

    project: str
    environment: str | None = None


Names = dict[tuple[str, str], str]
"""The newest name of each function, by environment and function id."""


@lru_cache(maxsize=4096)
def parse_period(text: str) -> int:
    """Return the instant of ``2026-02-03T09:00:00.000Z`` in UTC milliseconds."""
    try:
        if _PERIOD.fullmatch(text):
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except ValueError:
        pass
    raise SchemaError("items[].period: expected a UTC time such as 2026-02-03T09:00:00.000Z")


def rows_to_reading(
    measure: Measure,
    rows: Sequence[Row],
    window: Window,
    scope: Scope,
    labels: Labels,
    *,
    memo: Mapping[str, Any],
) -> Reading:
    """Return the complete ``rows`` of ``window`` as a reading.

    Rows outside the window are left out: whether the vendor's bounds are inclusive is unknown.
    Rows of one hour and one label set are parts and are summed. A period inside an hour is drift;
    it counts into its hour, except a distinct count, which cannot be added to another. ``memo``
    holds the names known so far, so that a function that rests keeps its name.
    """
    sums: defaultdict[tuple[Series, int], int] = defaultdict(int)
    drift: Counter[str] = Counter()
    for index, row in enumerate(rows):
        path = f"items[{index}]"
        _check_project(row, scope, path, drift)
        at_ms = _instant(row, path)
        hour_ms = floor_to(at_ms, HOUR_MS)
        if not window.holds(hour_ms):
            continue
        if at_ms != hour_ms:
            drift["unexpected_type"] += 1
            if measure.distinct:
                continue
        for series, value in _values(measure, row, scope, labels, path=path, drift=drift):
            sums[series, hour_ms] += value
    reading = _reading(measure, sums, window)
    if measure.names:
        reading = _with_names(reading, measure.names, _names(rows, scope, memo), scope, labels)
    return replace(reading, drift=+drift, dropped=labels.dropped)


def intents_to_reading(
    intents: Sequence[Intent], window: Window, shown: str, scope: Scope, labels: Labels
) -> Reading:
    """Return the top list of ``window``, which the label ``window`` calls ``shown``."""
    family = families.TOP_INTENT_MATCHES
    sums: defaultdict[Series, int] = defaultdict(int)
    for index, intent in enumerate(intents):
        series = labels.series(family, scope.project, scope.environment or "", intent.name, shown)
        sums[series] += count(intent.count, f"intents[{index}].count")
    return Reading(
        window,
        lists=[GaugeRow(series, window, value) for series, value in sums.items()],
        lists_of=frozenset({family.name}),
        dropped=labels.dropped,
    )


def _instant(row: Row, path: str = "items[]") -> int:
    if row.period is None:
        raise SchemaError(f"{path}.period: missing", "missing")
    return parse_period(row.period)


def _check_project(row: Row, scope: Scope, path: str, drift: Counter[str]) -> None:
    if row.project is None:
        # One project was asked for, so the row can only be its.
        drift["missing"] += 1
    elif row.project != scope.project:
        raise SchemaError(f"{path}.projectID: not the project that was asked for", "unknown_enum")


def _environment(row: Row, scope: Scope) -> str:
    return scope.environment or row.environment or ""


def _values(
    measure: Measure, row: Row, scope: Scope, labels: Labels, *, path: str, drift: Counter[str]
) -> Iterable[tuple[Series, int]]:
    raw = [read(row) for read in measure.labels]
    drift["missing"] += raw.count(None) + (row.environment is None)
    values = (scope.project, _environment(row, scope), *(value or "" for value in raw))
    uses = count(row.count, f"{path}.count")
    yield labels.series(measure.family, *values), uses
    if measure.errors:
        yield labels.series(measure.errors, *values), _errors(row, uses, path)


def _errors(row: Row, uses: int, path: str) -> int:
    successes = count(row.success_count, f"{path}.successCount")
    if successes > uses:
        raise SchemaError(f"{path}.successCount: more than count", "negative")
    return uses - successes


def _reading(measure: Measure, sums: Mapping[tuple[Series, int], int], window: Window) -> Reading:
    if not measure.distinct:
        return Reading(window, [(series, at_ms, value) for (series, at_ms), value in sums.items()])
    buckets = [
        GaugeRow(series, Window(at_ms, at_ms + HOUR_MS), value)
        for (series, at_ms), value in sums.items()
    ]
    return Reading(window, buckets=buckets)


def _names(rows: Sequence[Row], scope: Scope, memo: Mapping[str, Any]) -> Names:
    """Return the names that ``memo`` and ``rows`` give to functions; the newest period's wins."""
    names = {(environment, function): name for environment, function, name in memo.get("names", ())}
    for row in sorted(rows, key=_instant):
        if row.function and row.name:
            names[_environment(row, scope), row.function] = row.name
    return names


def _with_names(
    reading: Reading, family: Family, names: Names, scope: Scope, labels: Labels
) -> Reading:
    rows = [
        GaugeRow(labels.series(family, scope.project, *identity, name), reading.window, 1)
        for identity, name in names.items()
    ]
    return replace(
        reading,
        lists=rows,
        lists_of=frozenset({family.name}),
        memo={"names": [[*identity, name] for identity, name in names.items()]},
    )
