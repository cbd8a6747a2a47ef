"""What an Inkeep target asks: four hourly counts, and the distinct users of trailing windows.

Source: https://docs.inkeep.com/analytics-api
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from exporter.errors import Refused, Truncated
from exporter.http_client.client import ApiCall, ApiClient
from exporter.model import families
from exporter.model.query import Cost, LabelRule, PollRequest, QuerySpec
from exporter.model.samples import DAY_MS, Readings, Window
from exporter.providers.base.declared import DeclaredQuery, Halving
from exporter.providers.base.labels import only
from exporter.providers.base.options import COUNTERS, RATINGS, MappedFamily
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, bearer, spec_for
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import trailing
from exporter.providers.inkeep import mapping, requests
from exporter.providers.inkeep.families import CONVERSATION_USER_MESSAGES, ESCALATIONS
from exporter.providers.inkeep.mapping import GroupsAnswer, HourGroup, ReadGroup, UserGroup
from exporter.providers.inkeep.options import ActiveUsers, InkeepOptions

SPAN_MS = 7 * DAY_MS  # the vendor names no longest range
UNPROCESSABLE = (400, 422)

BUILT_IN: Mapping[str, MappedFamily] = {
    name: MappedFamily(family=family.name)
    for name, family in {
        "user_message_submitted": families.MESSAGES_RECEIVED,
        "assistant_message_received": families.MESSAGES_SENT,
        "search_query_submitted": families.SEARCHES,
        # Widgets before cxkit; no widget sends both generations.
        "chat_message_submitted": families.MESSAGES_RECEIVED,
        "chat_message_bot_response_received": families.MESSAGES_SENT,
    }.items()
}
"""What the widget's own events mean. Answers *displayed* are the same answers again."""

ESCALATION_KINDS = frozenset(
    {"", "get_help_option", "contact_us", "support_form", "intelligent_support_form", "downvote"}
)
"""The escalation types of the vendor's widget; a property may hold anything else."""


@dataclass(frozen=True, slots=True)
class HourlyCount:
    """An hourly count: its request, what a group counts, and the fields behind its families."""

    request: requests.HourlyRequest
    read: ReadGroup
    feeds: tuple[Feed, ...]
    label_rules: Mapping[str, LabelRule] = field(default_factory=dict)


HOURLY: Mapping[str, HourlyCount] = {
    "conversations": HourlyCount(
        requests.CONVERSATIONS,
        mapping.conversations,
        (
            Feed(families.CONVERSATIONS_STARTED, "count_id by firstMessageTime"),
            Feed(CONVERSATION_USER_MESSAGES, "sum_userMessageCount"),
        ),
    ),
    "feedback": HourlyCount(
        requests.FEEDBACK,
        mapping.feedback,
        (Feed(families.FEEDBACK, "count_id by type"),),
        {"rating": LabelRule(allow=frozenset({"", *RATINGS}))},
    ),
    "escalations": HourlyCount(
        requests.ESCALATIONS,
        mapping.escalations,
        (
            Feed(ESCALATIONS, "count_id by properties.escalationType"),
            Feed(families.HANDOVERS, "count_id, escalations of kind downvote left out"),
        ),
        {"kind": LabelRule(allow=ESCALATION_KINDS)},
    ),
}


def queries(options: InkeepOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target."""
    for name in options.queries:
        if name == "events":
            yield _events(options, settings)
        elif name == "active_users":
            yield _active_users(options, settings)
        else:
            yield _hourly(options, settings, name, HOURLY[name])


def _events(options: InkeepOptions, settings: LabelSettings) -> Query:
    event_map = {**BUILT_IN, **options.event_map}
    feeds = [Feed(families.EVENTS, "count_id by eventType")]
    for mapped in event_map.values():
        field_ = "count_id of the events that the event map names"
        known = (options.project, "", *mapped.values(""))  # an empty channel: no integration
        feeds.append(Feed(COUNTERS[mapped.family], field_, known))
    count = HourlyCount(requests.EVENTS, mapping.events(event_map), tuple(feeds))
    dumped = {name: mapped.model_dump() for name, mapped in event_map.items()}
    return _hourly(options, settings, "events", count, event_map=dumped)


def _hourly(
    options: InkeepOptions, settings: LabelSettings, name: str, count: HourlyCount, **meaning: Any
) -> Query:
    request, limit = count.request, settings.limits.label_value_bytes
    asked = {"instant": request.instant, "select": request.select, "where": request.where}
    meaning |= {"name": name, **asked, "group_by": request.group_by}
    return DeclaredQuery(
        spec=spec_for(
            options,
            settings,
            name,
            f"POST {request.path}",
            count.feeds,
            meaning=meaning,
            label_rules={"project": only(options.project, limit), **count.label_rules},
            span_ms=SPAN_MS,
            cost=Cost(note="what is answered in part is asked again in halves"),
        ),
        parameters=request.body,
        answer=GroupsAnswer[HourGroup],
        items=lambda answer: answer.data.result,
        collect=partial(mapping.collect_hours, project=options.project, read=count.read),
        pages=Halving(complete=lambda answer: answer.data.complete),
    )


@dataclass(frozen=True, slots=True)
class ActiveUsersQuery:
    """Reads the distinct users of each window, per integration and in all."""

    spec: QuerySpec
    wanted: ActiveUsers
    project: str

    async def read(self, client: ApiClient, request: PollRequest, /) -> Readings:
        """Yield one reading; an empty list and drift where the server does not count users."""
        longest = trailing(request.now_ms, max(self.wanted.windows))
        rows = Rows(longest, self.spec, request.memo)
        try:
            for length_ms in self.wanted.windows:
                await self._collect(client, trailing(request.now_ms, length_ms), rows)
        except Refused as error:
            if error.status not in UNPROCESSABLE:
                raise
            rows = Rows(longest, self.spec, request.memo)
            rows.drift["unexpected_type"] += 1
        rows.list_of(families.ACTIVE_USERS.name)
        yield rows.reading()

    async def _collect(self, client: ApiClient, window: Window, rows: Rows) -> None:
        groups = await self._request(client, window, by_integration=True)
        if not groups.complete:
            raise Truncated(f"{self.spec.request}: integrations are missing")
        everyone = await self._request(client, window, by_integration=False)
        found = groups.result, everyone.result
        mapping.collect_users(*found, rows, project=self.project, window=window)

    async def _request(
        self, client: ApiClient, window: Window, *, by_integration: bool
    ) -> mapping.FoundGroups[UserGroup]:
        body = requests.users_body(self.wanted.property, window, by_integration=by_integration)
        call = ApiCall("POST", requests.USERS_PATH, json=body)
        return (await client.fetch(call, GroupsAnswer[UserGroup])).data


def _active_users(options: InkeepOptions, settings: LabelSettings) -> Query:
    wanted = options.active_users
    feed = Feed(families.ACTIVE_USERS, f"countDistinct of {'.'.join(wanted.property)}")
    spec = spec_for(
        options,
        settings,
        "active_users",
        f"POST {requests.USERS_PATH}",
        [feed],
        meaning={"name": "active_users", "property": wanted.property, "windows_ms": wanted.windows},
        cost=Cost(calls=2 * len(wanted.windows)),
        interval_ms=options.slow_interval,
        lookback_ms=max(wanted.windows),
    )
    return ActiveUsersQuery(spec, wanted, options.project)


PROVIDER = Provider(
    name="inkeep",
    options=InkeepOptions,
    families=(ESCALATIONS, CONVERSATION_USER_MESSAGES),
    feeds=frozenset(
        family.name
        for family in (
            families.ACTIVE_USERS,
            families.CONVERSATIONS_STARTED,
            families.EVENTS,
            families.FEEDBACK,
            families.HANDOVERS,
            families.MESSAGES_RECEIVED,
            families.MESSAGES_SENT,
            families.SEARCHES,
        )
    ),
    sign=lambda options: bearer(options.api_key),
    queries=queries,
)
