"""An Inkeep target and its queries: four hourly counts, and distinct counts of trailing windows.

Source: https://docs.inkeep.com/analytics-api
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from exporter import __version__
from exporter.config.model import Secret, Strict, TargetOptions
from exporter.config.values import invalid
from exporter.errors import Refused, Truncated
from exporter.http_client.client import ApiCall, ApiClient
from exporter.model import families
from exporter.model.query import Cost, LabelRule, PollRequest, QuerySpec
from exporter.model.samples import DAY_MS, Family, Readings, Window
from exporter.providers.base.declared import DeclaredQuery
from exporter.providers.base.options import (
    COUNTERS,
    RATINGS,
    Days,
    EventTarget,
    MappedFamily,
    NotRepeated,
)
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, bearer, spec_for
from exporter.providers.base.rows import Rows, only
from exporter.providers.base.times import iso, trailing
from exporter.providers.inkeep import mapping

QueryName: TypeAlias = Literal["events", "conversations", "feedback", "escalations", "active_users"]
QUERIES: tuple[QueryName, ...] = get_args(QueryName)
_FIELDS = ("userProperties", "properties")

FED_BY: Mapping[str, str] = {
    families.EVENTS.name: "events",
    families.CONVERSATIONS_STARTED.name: "conversations",
    families.FEEDBACK.name: "feedback",
    families.HANDOVERS.name: "escalations",
}
"""The query that counts a family, whatever the event map says."""

MAX_NOTES = 80
CONVERSATIONS_PATH = "/query/conversations"
EVENTS_PATH = "/query/events"
ESCALATION = "user_escalation_indicated"
_NAMES = ("eventType", "type")
"""Both are requested, since it is not documented which one holds an event's name."""
SPAN_MS = 7 * DAY_MS  # the vendor documents no maximum
UNPROCESSABLE = (400, 422)
ESCALATION_KINDS = frozenset(
    {"", "get_help_option", "contact_us", "support_form", "intelligent_support_form", "downvote"}
)
"""The escalation types of the vendor's widget; the property may hold anything else."""


def _check_not_fed(value: MappedFamily, info: ValidationInfo) -> MappedFamily:
    source = FED_BY.get(value.family)
    if source and source in (info.data or {}).get("queries", ()):
        raise invalid(
            "fed", f"the query {source} already feeds this family", "it would count twice"
        )
    return value


InkeepEventTarget: TypeAlias = Annotated[EventTarget, AfterValidator(_check_not_fed)]


class ActiveUsers(BaseModel):
    """The property whose distinct values are users, and the trailing windows in milliseconds."""

    model_config = Strict

    property: tuple[str, ...] = Field(
        default=("userProperties", "id"),
        strict=False,
        description="a field, `userProperties` or `properties`, and the key in it",
    )
    windows: NotRepeated[Days] = Field(
        default=(DAY_MS, 7 * DAY_MS, 28 * DAY_MS),
        strict=False,
        description="trailing windows of whole days, also of active conversations",
    )

    @field_validator("property")
    @classmethod
    def _is_a_path(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) < len(("field", "key")) or value[0] not in _FIELDS or "" in value:
            raise invalid("property", "expected a field and a key", "as in [userProperties, id]")
        return value


class InkeepOptions(TargetOptions):
    """One key of an API integration, which sees one project."""

    base_url: str = "https://api.analytics.inkeep.com"
    requests_per_second: float = Field(default=2, ge=0)
    api_key: Secret = Field(
        description="the key of an integration of type API; other keys can only write"
    )
    project: str = Field(min_length=1, description="the label `project`; a key sees one project")
    queries: NotRepeated[QueryName] = Field(
        default=QUERIES, strict=False, description="what to read; all five by default"
    )
    active_users: ActiveUsers = Field(
        default=ActiveUsers(), description="the property whose values are users, and the windows"
    )
    event_map: dict[str, InkeepEventTarget] = Field(
        default_factory=dict,
        description="adds to the built-in map: `{event name: family}` or "
        "`{event name: {family: NAME, labels: {…}}}`",
    )

    @field_validator("event_map")
    @classmethod
    def _is_used(
        cls, value: dict[str, InkeepEventTarget], info: ValidationInfo
    ) -> dict[str, InkeepEventTarget]:
        if value and "events" not in info.data.get("queries", ("events",)):
            raise invalid("unused", "no query reads events", "add events to queries")
        return value


Clause: TypeAlias = Mapping[str, Any]
_IDS: Clause = {"type": "aggregation", "aggregation": "count", "field": "id"}
_INTEGRATION: Clause = {"field": "integrationId"}


@dataclass(frozen=True, slots=True)
class DistinctCount:
    """A distinct count: its view, the instant that places a row in a window, and the field ``of``.

    ``of`` is a field, or a path to a property in it.
    """

    family: Family
    path: str
    instant: str
    of: Sequence[str]
    where: Sequence[Clause] = ()

    def body(self, window: Window, *, by_integration: bool) -> Mapping[str, Any]:
        """Return the request for the number of distinct values in ``window``."""
        field, *path = self.of
        counted = {"type": "aggregation", "aggregation": "countDistinct", "field": field}
        grouping = {"groupBy": [_INTEGRATION]} if by_integration else {}
        return {
            "select": [counted | ({"path": path} if path else {})],
            **grouping,
            "where": {"and": [*_range(self.instant, window), *self.where]},
            "notes": notes(self.family.name.removeprefix("chatbot_").replace("_", " ")),
        }


def notes(purpose: str) -> str:
    """Return who sends a request, and why, in the 80 characters that the vendor allows."""
    return f"chatbot-exporter/{__version__}: {purpose}"[:MAX_NOTES]


def _range(field: str, window: Window) -> list[Clause]:
    edges = (("gte", window.start_ms), ("lt", window.end_ms))
    return [_condition(field, operator, iso(instant_ms)) for operator, instant_ms in edges]


def _condition(field: str, operator: str, value: str) -> Clause:
    return {"condition": {"field": field, "operator": operator, "value": value}}


ACTIVE_CONVERSATIONS = DistinctCount(
    families.ACTIVE_CONVERSATIONS,
    EVENTS_PATH,
    "createdAt",
    ("conversationId",),
    # Searches have none, and it is not documented whether the API counts null as a value.
    where=({"condition": {"field": "conversationId", "operator": "isNotNull"}},),
)

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
"""What the widget's own events mean. Events of answers *displayed* would count them again."""


@dataclass(frozen=True, slots=True)
class HourlyCount:
    """An hourly count: its view, which instant and groups it counts by, and what a group counts.

    None of them requests rows, texts or whole properties. ``feeds`` are the families that ``read``
    feeds, with the fields behind them.
    """

    path: str
    instant: str
    group_by: Sequence[Clause]
    read: mapping.ReadGroup
    feeds: Sequence[Feed]
    select: Sequence[Clause] = (_IDS,)
    where: Sequence[Clause] = ()
    label_rules: Mapping[str, LabelRule] = field(default_factory=dict)

    def body(self, window: Window) -> Mapping[str, Any]:
        """Return the request for ``window``."""
        return {
            "select": [{"type": "time", "timeUnit": "hour", "field": self.instant}, *self.select],
            "groupBy": list(self.group_by),
            "where": {"and": [*_range(self.instant, window), *self.where]},
            "orderBy": [{"field": f"{self.instant}_hour", "direction": "asc"}],
            "notes": notes(self.path.removeprefix("/query/")),
        }


HOURLY: Mapping[str, HourlyCount] = {
    "conversations": HourlyCount(
        CONVERSATIONS_PATH,
        "firstMessageTime",
        (_INTEGRATION,),
        mapping.conversations,
        (
            Feed(families.CONVERSATIONS_STARTED, "count_id by firstMessageTime"),
            Feed(mapping.CONVERSATION_USER_MESSAGES, "sum_userMessageCount"),
        ),
        select=(_IDS, {"type": "aggregation", "aggregation": "sum", "field": "userMessageCount"}),
    ),
    "feedback": HourlyCount(
        "/query/feedback",
        "createdAt",
        ({"field": "type"}, _INTEGRATION),
        mapping.feedback,
        (Feed(families.FEEDBACK, "count_id by type"),),
        label_rules={"rating": LabelRule(allow=frozenset({"", *RATINGS}))},
    ),
    "escalations": HourlyCount(
        EVENTS_PATH,
        "createdAt",
        ({"field": "properties", "path": ["escalationType"]}, _INTEGRATION),
        mapping.escalations,
        (
            Feed(mapping.ESCALATIONS, "count_id by properties.escalationType"),
            Feed(families.HANDOVERS, "count_id, without escalations of kind downvote"),
        ),
        where=({"or": [_condition(name, "eq", ESCALATION) for name in reversed(_NAMES)]},),
        label_rules={"kind": LabelRule(allow=ESCALATION_KINDS)},
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
    group_by = (*({"field": name} for name in _NAMES), _INTEGRATION)
    count = HourlyCount(EVENTS_PATH, "createdAt", group_by, mapping.events(event_map), feeds)
    dumped = {name: mapped.model_dump() for name, mapped in event_map.items()}
    return _hourly(options, settings, "events", count, event_map=dumped)


def _hourly(
    options: InkeepOptions, settings: LabelSettings, name: str, count: HourlyCount, **meaning: Any
) -> Query:
    limit = settings.limits.label_value_bytes
    meaning |= {"name": name, "instant": count.instant, "group_by": count.group_by}
    meaning |= {"select": count.select, "where": count.where}
    spec = spec_for(
        options,
        settings,
        name,
        f"POST {count.path}",
        count.feeds,
        meaning=meaning,
        label_rules={"project": only(options.project, limit), **count.label_rules},
    )
    cost = Cost(note="a window answered in part is requested again in halves")
    return DeclaredQuery(
        spec=replace(spec, span_ms=SPAN_MS, cost=cost),
        parameters=count.body,
        answer=mapping.GroupsAnswer[mapping.HourGroup],
        items=lambda answer: answer.data.result,
        collect=partial(mapping.collect_hours, project=options.project, read=count.read),
        complete=lambda answer: answer.data.complete,
    )


@dataclass(frozen=True, slots=True)
class DistinctQuery:
    """Reads distinct counts of each window, per integration and in total."""

    spec: QuerySpec
    counts: Sequence[DistinctCount]
    windows_ms: Sequence[int]
    project: str

    async def read(self, client: ApiClient, request: PollRequest, /) -> Readings:
        """Yield one reading; a count that the server does not offer is an empty list and drift."""
        windows = [trailing(request.now_ms, length_ms) for length_ms in self.windows_ms]
        rows = Rows(max(windows, key=lambda each: each.length_ms), self.spec, request.memo)
        for wanted in self.counts:
            rows.list_of(wanted.family.name)
            try:
                found = [await self._groups(client, wanted, window) for window in windows]
            except Refused as error:
                if error.status not in UNPROCESSABLE:
                    raise
                rows.drift["unexpected_type"] += 1
                continue
            collect = partial(mapping.collect_distinct, family=wanted.family, project=self.project)
            for window, (groups, overall) in zip(windows, found, strict=True):
                collect(groups, overall, rows, window=window)
        yield rows.reading()

    async def _groups(
        self, client: ApiClient, wanted: DistinctCount, window: Window
    ) -> list[list[mapping.DistinctGroup]]:
        """Return the groups per integration, and in total."""
        found = []
        for by_integration in (True, False):
            body = wanted.body(window, by_integration=by_integration)
            call = ApiCall("POST", wanted.path, json=body)
            data = (await client.fetch(call, mapping.GroupsAnswer[mapping.DistinctGroup])).data
            if by_integration and not data.complete:
                raise Truncated(f"{call.endpoint}: integrations are missing")
            found.append(data.result)
        return found


def _active_users(options: InkeepOptions, settings: LabelSettings) -> Query:
    wanted = options.active_users
    users = DistinctCount(
        families.ACTIVE_USERS, CONVERSATIONS_PATH, "firstMessageTime", wanted.property
    )
    counts = (users, ACTIVE_CONVERSATIONS)
    spec = spec_for(
        options,
        settings,
        "active_users",
        f"POST {CONVERSATIONS_PATH}",
        [Feed(one.family, f"countDistinct of {'.'.join(one.of)} in {one.path}") for one in counts],
        meaning={"name": "active_users", "property": wanted.property, "windows_ms": wanted.windows},
    )
    spec = replace(
        spec,
        interval_ms=options.slow_interval,
        lookback_ms=max(wanted.windows),
        cost=Cost(calls=2 * len(counts) * len(wanted.windows)),
    )
    return DistinctQuery(spec, counts, wanted.windows, options.project)


PROVIDER = Provider(
    name="inkeep",
    options=InkeepOptions,
    families=(mapping.ESCALATIONS, mapping.CONVERSATION_USER_MESSAGES),
    # By the event map, and the distinct counts.
    feeds=frozenset({*COUNTERS, families.ACTIVE_USERS.name, families.ACTIVE_CONVERSATIONS.name}),
    sign=lambda options: bearer(options.api_key),
    queries=queries,
)
