"""Which calls an Inkeep target makes: four hourly counts and the distinct users of each window.

Source: https://docs.inkeep.com/analytics-api
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import msgspec

from exporter.errors import Refused, Truncated
from exporter.http_client.client import ApiClient
from exporter.model import families
from exporter.model.query import Cost, LabelRule, PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Window, ceil_to
from exporter.providers.base.labels import Labels
from exporter.providers.base.plugin import (
    CustomQuery,
    LabelSettings,
    Provider,
    Query,
    bearer,
    spec_for,
)
from exporter.providers.base.times import spans, trailing
from exporter.providers.inkeep import mapping, requests
from exporter.providers.inkeep.event_map import BUILT_IN, COUNTERS, RATINGS, Mapped
from exporter.providers.inkeep.families import CONVERSATION_USER_MESSAGES, ESCALATIONS
from exporter.providers.inkeep.mapping import Figure, Measure, Row, rows_to_reading, whole
from exporter.providers.inkeep.options import ActiveUsers, InkeepOptions

SPAN_MS = 7 * DAY_MS  # the vendor names no longest range
UNPROCESSABLE = (400, 422)

PROVIDERS = (
    "get_help_option",
    "contact_us",
    "support_form",
    "intelligent_support_form",
    "downvote",
)
"""The escalation types of the vendor's widget; a property may hold anything else."""

NAMING: Mapping[str, Mapping[str, LabelRule]] = {
    "feedback": {"rating": LabelRule(allow=frozenset({"", *RATINGS}))},
    "escalations": {"kind": LabelRule(allow=frozenset({"", *PROVIDERS}))},
}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "conversations": {
        families.CONVERSATIONS_STARTED.name: "count_id by firstMessageTime",
        CONVERSATION_USER_MESSAGES.name: "sum_userMessageCount",
    },
    "feedback": {families.FEEDBACK.name: "count_id by type"},
    "escalations": {
        ESCALATIONS.name: "count_id by properties.escalationType",
        families.HANDOVERS.name: "count_id, escalations of kind downvote left out",
    },
}
"""The fields behind each family of an hourly count."""

AnyRow = TypeVar("AnyRow")


class Result(msgspec.Struct):
    """One answer's rows, and how many there would be."""

    result: list[Row]
    total: Figure


class Answer(msgspec.Struct):
    """The answer to an hourly count."""

    status: Literal["ok"]
    data: Result


class Groups(msgspec.Struct):
    """The rows of a distinct count, whose one figure has a key that depends on the property."""

    result: list[dict[str, Any]]
    total: Figure


class GroupsAnswer(msgspec.Struct):
    """The answer to a distinct count."""

    status: Literal["ok"]
    data: Groups


@dataclass(frozen=True, slots=True)
class Hours:
    """Reads one hourly count; ``label_rules`` bounds the labels whose values anyone may write."""

    request: requests.Hourly
    measure: Measure
    project: str
    label_rules: Mapping[str, LabelRule]
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading per week of ``ask.window``, grown to whole hours."""
        parts = list(spans(ask.window, HOUR_MS, SPAN_MS))
        for part in parts:
            rows = await _rows(api, self.request, part)
            labels = Labels(self.label_rules, self.limit)
            reading = rows_to_reading(rows, part, self.project, self.measure, labels)
            yield replace(reading, more=part != parts[-1])


@dataclass(frozen=True, slots=True)
class Users:
    """Reads the distinct users of each window, per integration and in all."""

    options: ActiveUsers
    project: str
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading; an empty list and drift where the server will not count them."""
        labels = Labels({}, self.limit)
        rows: list[GaugeRow] = []
        drift: Mapping[str, int] = {}
        try:
            for length_ms in self.options.windows:
                rows += await self._window(api, trailing(ask.now_ms, length_ms, HOUR_MS), labels)
        except Refused as refusal:
            if refusal.status not in UNPROCESSABLE:
                raise
            rows, drift = [], {"unexpected_type": 1}
        yield Reading(
            trailing(ask.now_ms, max(self.options.windows), HOUR_MS),
            lists=rows,
            lists_of=frozenset({families.ACTIVE_USERS.name}),
            drift=drift,
            dropped=labels.dropped,
        )

    async def _window(self, api: ApiClient, window: Window, labels: Labels) -> list[GaugeRow]:
        shown = mapping.Shown(self.project, window, f"trailing_{window.length_ms // DAY_MS}d")
        groups = await self._ask(api, window, by_integration=True)
        if not _complete(groups.result, groups.total):
            raise Truncated(f"POST {requests.USERS_PATH}: integrations are missing")
        everyone = await self._ask(api, window, by_integration=False)
        return [
            *mapping.users(groups.result, shown, labels),
            *mapping.all_users(everyone.result, shown, labels),
        ]

    async def _ask(self, api: ApiClient, window: Window, *, by_integration: bool) -> Groups:
        body = requests.users_body(self.options.property, window, by_integration=by_integration)
        return (await api.post(requests.USERS_PATH, body, GroupsAnswer)).data


async def _rows(api: ApiClient, request: requests.Hourly, window: Window) -> list[Row]:
    """Return every row of ``window``, asked in halves of halves where an answer is cut short.

    Nothing selects a page, so what is missing can be had by asking for less only. Raises
    ``Truncated`` when one hour has more rows than the server gives.
    """
    rows: list[Row] = []
    start_ms, span_ms = window.start_ms, window.length_ms
    while start_ms < window.end_ms:
        part = Window(start_ms, min(start_ms + span_ms, window.end_ms))
        answer = (await api.post(request.path, request.body(part), Answer)).data
        if _complete(answer.result, answer.total):
            rows += answer.result
            start_ms = part.end_ms
        elif part.length_ms <= HOUR_MS:
            raise Truncated(f"POST {request.path}: one hour has more rows than an answer holds")
        else:
            span_ms = ceil_to(part.length_ms // 2, HOUR_MS)
    return rows


def _complete(rows: Sequence[AnyRow], total: Figure) -> bool:
    return whole(total, "total") <= len(rows)


def queries(own: InkeepOptions, rules: LabelSettings) -> tuple[Query, ...]:
    """Return the queries of a target."""
    return tuple(_query(own, rules, name) for name in own.queries)


def _query(options: InkeepOptions, rules: LabelSettings, name: str) -> Query:
    match name:
        case "events":
            return _events(options, rules)
        case "conversations":
            return _hourly(options, rules, name, requests.CONVERSATIONS, mapping.conversations)
        case "feedback":
            return _hourly(options, rules, name, requests.FEEDBACK, mapping.feedback)
        case "escalations":
            return _hourly(options, rules, name, requests.ESCALATIONS, mapping.escalations)
        case _:
            return _users(options, rules, name)


def _hourly(
    options: InkeepOptions,
    rules: LabelSettings,
    name: str,
    request: requests.Hourly,
    measure: Measure,
) -> Query:
    asked = {
        "name": name,
        "instant": request.instant,
        "select": request.select,
        "group_by": request.group_by,
        "where": request.where,
    }
    label_rules = NAMING.get(name, {})
    spec = spec_for(options, rules, name, f"POST {request.path}", meaning=asked)
    cost = Cost(note="what is answered in part is asked again in halves")
    fields = FIELDS.get(name, {})
    spec = replace(spec, span_ms=SPAN_MS, label_rules=label_rules, fields=fields, cost=cost)
    bytes_ = rules.limits.label_value_bytes
    return CustomQuery(spec, Hours(request, measure, options.project, label_rules, bytes_).read)


def _events(options: InkeepOptions, rules: LabelSettings) -> Query:
    event_map = {**BUILT_IN, **options.event_map}
    mapped = {name: one.model_dump() for name, one in event_map.items()}
    query = _hourly(options, rules, "events", requests.EVENTS, mapping.events(event_map))
    meaning = {**query.spec.meaning, "event_map": mapped}
    known = _known(options, rules, event_map)
    fields = {families.EVENTS.name: "count_id by eventType"}
    for one in event_map.values():
        fields[one.family] = "count_id of the events that the event map names"
    spec = replace(query.spec, meaning=meaning, known=known, fields=fields)
    return CustomQuery(spec, query.read)


def _known(
    options: InkeepOptions, rules: LabelSettings, event_map: Mapping[str, Mapped]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the series that the map promises; what has no integration has an empty channel."""
    labels = Labels({}, rules.limits.label_value_bytes)
    series = [
        labels.series(COUNTERS[mapped.family], options.project, "", *mapped.values(""))
        for mapped in event_map.values()
    ]
    return tuple(dict.fromkeys(series))


def _users(options: InkeepOptions, rules: LabelSettings, name: str) -> Query:
    wanted = options.active_users
    meaning = {
        "name": name,
        "property": wanted.property,
        "windows_ms": wanted.windows,
    }
    spec = spec_for(options, rules, name, f"POST {requests.USERS_PATH}", meaning=meaning)
    spec = replace(
        spec,
        interval_ms=options.slow_interval,
        lookback_ms=max(wanted.windows),
        fields={families.ACTIVE_USERS.name: f"countDistinct of {'.'.join(wanted.property)}"},
        cost=Cost(calls=2 * len(wanted.windows)),
    )
    return CustomQuery(spec, Users(wanted, options.project, rules.limits.label_value_bytes).read)


PROVIDER = Provider(
    name="inkeep",
    options=InkeepOptions,
    families=(ESCALATIONS, CONVERSATION_USER_MESSAGES),
    feeds=frozenset(
        {
            families.ACTIVE_USERS.name,
            families.CONVERSATIONS_STARTED.name,
            families.EVENTS.name,
            families.FEEDBACK.name,
            families.HANDOVERS.name,
            families.MESSAGES_RECEIVED.name,
            families.MESSAGES_SENT.name,
            families.SEARCHES.name,
        }
    ),
    sign=lambda options: bearer(options.api_key),
    queries=queries,
)
