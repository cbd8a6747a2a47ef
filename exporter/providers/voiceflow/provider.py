"""Which calls a Voiceflow target makes, in what order: one query name, project and environment each.

Source: https://docs.voiceflow.com/reference/querypubliccontroller_queryusagev2
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from exporter.config.model import Named
from exporter.errors import Truncated
from exporter.http_client.client import ApiClient
from exporter.model import families
from exporter.model.query import Cost, LabelRule, PollRequest, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from exporter.providers.base.labels import Labels
from exporter.providers.base.plugin import (
    CustomQuery,
    LabelSettings,
    Provider,
    Query,
    key_of,
    spec_for,
)
from exporter.providers.base.times import spans, trailing
from exporter.providers.voiceflow.families import CREDIT_USAGE
from exporter.providers.voiceflow.mapping import (
    MEASURES,
    Intent,
    Measure,
    Row,
    Scope,
    intents_to_reading,
    rows_to_reading,
)
from exporter.providers.voiceflow.options import VoiceflowOptions

PATH = "/v2/query/usage"
PAGE_ROWS = 500
MAX_PAGES = 2_000
SPAN_MS = 7 * DAY_MS
TOP_INTENTS = 30
_ENVIRONMENT_ID = re.compile(r"[0-9a-f]{24}")


class Rows(msgspec.Struct):
    """A page of rows; the cursor is opaque and goes back as it came, bit for bit."""

    items: list[Row]
    cursor: msgspec.Raw = msgspec.Raw()


class RowsAnswer(msgspec.Struct):
    """The answer to every query that returns rows."""

    result: Rows


class Intents(msgspec.Struct):
    """The entries of ``top_intents``."""

    intents: list[Intent]


class IntentsAnswer(msgspec.Struct):
    """The answer to ``top_intents``."""

    result: Intents


@dataclass(frozen=True, slots=True)
class Usage:
    """Reads one query of rows; ``scope`` has its project and environment, ``spec`` its label_rules."""

    name: str
    filter: Mapping[str, Any]
    measure: Measure
    scope: Scope
    label_rules: Mapping[str, LabelRule]
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading per week of ``ask.window``, grown to whole hours."""
        parts = list(spans(ask.window, HOUR_MS, SPAN_MS))
        memo = ask.memo
        for part in parts:
            rows = await _rows(api, self.name, {**self.filter, **_bounds(part)})
            labels = Labels(self.label_rules, self.limit)
            reading = rows_to_reading(self.measure, rows, part, self.scope, labels, memo=memo)
            memo = reading.memo or memo
            yield replace(reading, more=part != parts[-1])


@dataclass(frozen=True, slots=True)
class TopIntents:
    """Reads the most matched intents of the last 24 whole hours."""

    filter: Mapping[str, Any]
    scope: Scope
    label_rules: Mapping[str, LabelRule]
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading, of the list as a whole."""
        window = trailing(ask.now_ms, DAY_MS, HOUR_MS)
        filter_ = {**self.filter, **_bounds(window), "limit": TOP_INTENTS}
        answer = await api.post(PATH, _body("top_intents", filter_), IntentsAnswer)
        labels = Labels(self.label_rules, self.limit)
        yield intents_to_reading(answer.result.intents, window, "trailing_1d", self.scope, labels)


async def _rows(api: ApiClient, name: str, filter_: Mapping[str, Any]) -> list[Row]:
    """Return every row that matches; raise ``Truncated`` when the pages do not come to an end."""
    rows: list[Row] = []
    seen: set[bytes] = set()
    cursor: dict[str, Any] = {}
    previous: list[Row] = []
    for _ in range(MAX_PAGES):
        body = _body(name, {**filter_, "limit": PAGE_ROWS, **cursor})
        page = (await api.post(PATH, body, RowsAnswer)).result
        mark = bytes(page.cursor)
        if not page.items:
            return rows
        if page.items != previous:  # a page that came twice counts once
            rows += page.items
        if mark in (b"", b"null"):
            return rows
        if mark in seen:
            raise Truncated(f"POST {PATH}: the cursor of a page with rows came again")
        seen.add(mark)
        cursor, previous = {"cursor": page.cursor}, page.items
    raise Truncated(f"POST {PATH}: more than {MAX_PAGES} pages")


def _body(name: str, filter_: Mapping[str, Any]) -> dict[str, Any]:
    return {"data": {"name": name, "filter": filter_}}


def _bounds(window: Window) -> dict[str, str]:
    return {"startTime": _iso(window.start_ms), "endTime": _iso(window.end_ms)}


def _iso(instant_ms: int) -> str:
    text = datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def queries(own: VoiceflowOptions, rules: LabelSettings) -> tuple[Query, ...]:
    """Return the queries of a target."""
    return tuple(
        _query(own, rules, name, project, environment)
        for name in own.queries
        for project in own.projects
        for environment in own.environments or (None,)
    )


def _query(
    options: VoiceflowOptions,
    rules: LabelSettings,
    name: str,
    project: Named,
    environment: Named | None,
) -> Query:
    filter_ = {"projectID": project.id}
    if environment:
        # A string: whether the vendor takes several values in one filter is unproven.
        filter_["projectEnvironmentIDOrAlias"] = environment.id
    scope = Scope(project.id, _fixed(environment, name))
    spec = _spec(options, rules, name, project, environment)
    bytes_ = rules.limits.label_value_bytes
    if name == "top_intents":
        return CustomQuery(spec, TopIntents(filter_, scope, spec.label_rules, bytes_).read)
    usage = Usage(name, filter_, MEASURES[name], scope, spec.label_rules, bytes_)
    return CustomQuery(spec, usage.read)


def _fixed(environment: Named | None, name: str) -> str | None:
    """Return the environment that every row is known to be of, if its rows cannot say it better.

    The API answers an alias with ids. An alias that the operator renames, and a top list, whose
    entries have no environment, take the name that was asked for.
    """
    if environment is None:
        return None
    renamed = environment.alias and not _ENVIRONMENT_ID.fullmatch(environment.id)
    return environment.id if renamed or name == "top_intents" else None


def _spec(
    options: VoiceflowOptions,
    rules: LabelSettings,
    name: str,
    project: Named,
    environment: Named | None,
) -> QuerySpec:
    meaning = {
        "name": name,
        "project": project.id,
        "environment": environment and environment.id,
    }
    suffix = f"/{environment.shown}" if environment and len(options.environments) > 1 else ""
    spec = spec_for(
        options, rules, f"{name}/{project.shown}{suffix}", f"POST {PATH}", meaning=meaning
    )
    label_rules = _naming(options, project)
    if name == "top_intents":
        return replace(
            spec,
            label_rules=label_rules,
            interval_ms=options.slow_interval,
            lookback_ms=DAY_MS,
            fields={families.TOP_INTENT_MATCHES.name: "result.intents[].count"},
            cost=Cost(rows=TOP_INTENTS, listed=True),
        )
    fields, cost = _fields(MEASURES[name]), Cost(page_rows=PAGE_ROWS)
    return replace(spec, span_ms=SPAN_MS, label_rules=label_rules, fields=fields, cost=cost)


def _fields(measure: Measure) -> Mapping[str, str]:
    found = {measure.family.name: "result.items[].count"}
    if measure.errors:
        found[measure.errors.name] = "result.items[]: count - successCount"
    if measure.names:
        found[measure.names.name] = "result.items[].name"
    return found


def _naming(options: VoiceflowOptions, project: Named) -> Mapping[str, LabelRule]:
    environments = {named.id: named.alias for named in options.environments if named.alias}
    return {
        "project": LabelRule({project.id: project.alias} if project.alias else {}),
        "bot_environment": LabelRule(environments),
    }


PROVIDER = Provider(
    name="voiceflow",
    options=VoiceflowOptions,
    families=(CREDIT_USAGE,),
    feeds=frozenset(
        family.name
        for family in (
            families.INTERACTIONS,
            families.ACTIVE_USERS,
            families.FUNCTION_CALLS,
            families.FUNCTION_CALL_ERRORS,
            families.FUNCTION_INFO,
            families.OUTBOUND_API_REQUESTS,
            families.OUTBOUND_API_REQUEST_ERRORS,
            families.KNOWLEDGE_BASE_HITS,
            families.INTEGRATION_CALLS,
            families.INTEGRATION_CALL_ERRORS,
            families.TOP_INTENT_MATCHES,
        )
    ),
    sign=lambda options: {"authorization": key_of(options.api_key)},  # the bare key, no scheme
    queries=queries,
)
