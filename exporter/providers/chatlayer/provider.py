"""A Chatlayer target and its queries: event lists and aggregates of bots, versions and a team.

Source: https://developers.sinch.com/docs/chatlayer-analytics/api-reference/chatlayer-analytics
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from exporter.config.model import Named, Secret, Strict, TargetOptions
from exporter.config.values import invalid
from exporter.errors import Unauthorized
from exporter.logs import hide
from exporter.model import families
from exporter.model.query import Cost, LabelRule, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Window
from exporter.providers.base.declared import Cursor, DeclaredQuery
from exporter.providers.base.options import COUNTERS, EventTarget, NotRepeated, as_named
from exporter.providers.base.plugin import (
    CustomQuery,
    Feed,
    LabelSettings,
    Provider,
    Query,
    key_of,
    spec_for,
)
from exporter.providers.base.rows import Rows
from exporter.providers.chatlayer import mapping
from exporter.providers.chatlayer.mapping import EventRules, snake_case
from exporter.providers.chatlayer.stream import (
    PAGE_SIZE,
    EventList,
    StreamOptions,
    StreamSource,
    bounds,
)

REGIONS: Mapping[str, str] = {
    "eu": "https://analytics.api.chatlayer.ai",
    "us": "https://analytics.api.prod.us-east4.gcp.chatlayer.ai",
    "apac": "https://analytics.api.prod.asia-south1.gcp.chatlayer.ai",
    "sa": "https://analytics.api.prod.sa-east1.gcp.chatlayer.ai",
}
"""The address of each region; a token of one is unknown in the others."""

Collector: TypeAlias = Literal[
    "events",
    "conversations",
    "messages",
    "users",
    "knowledge_base",
    "definitions",
    "team_events",
    "team_conversations",
]
FED: Mapping[str, str] = {
    "chatbot_events_total": "events",
    "chatbot_messages_received_total": "messages",
    "chatbot_conversations_started_total": "conversations",
    "chatbot_knowledge_base_hits_total": "knowledge_base",
}
"""The collector that feeds a family, which ``event_map`` may name only if it is not active."""

SPAN_MS = 7 * DAY_MS
EVENTS_INTERVAL_MS = 60_000
DRAIN_DEADLINE_MS = 600_000
DAILY_SETTLE_MS = 2 * HOUR_MS
DAILY_LOOKBACK_MS = 3 * DAY_MS
MAX_DEFINITION_PAGES = 100
BUCKETS: Mapping[int, str] = {HOUR_MS: "1h", DAY_MS: "1d"}
SERIES_FIELD = "data.series[].values"
MAPPED_FIELD = "events[], each id once, of the events that the event map names"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Version: TypeAlias = Annotated[Literal["DRAFT", "LIVE"], BeforeValidator(_upper)]


class BotOptions(Named):
    """One bot; DRAFT and LIVE are separate data sets."""

    versions: NotRepeated[Version] = Field(
        default=("LIVE",), strict=False, description="each is read separately"
    )


class EventOptions(BaseModel):
    """Which event names have a series of their own, and what else they count as.

    ``allow`` None admits every name up to the family's cap. ``active`` are the names that make a
    user or conversation active (None: all of them).
    """

    model_config = Strict

    allow: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description='names with a series of their own; the others become `event="other"`. Every '
        "name by default",
    )
    event_map: Mapping[str, EventTarget] = Field(
        default_factory=dict,
        description="`{event name: family}` or `{event name: {family: NAME, labels: {…}}}`",
    )
    active: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description="names that make a user or conversation active; every name by default",
    )


class ChatlayerOptions(TargetOptions):
    """One access token, which belongs to one team of one region."""

    region: Literal["eu", "us", "apac", "sa"] = Field(
        default="eu", description="the region of the team's data"
    )
    base_url: str = Field(
        default=REGIONS["eu"],
        title="address",
        description="where requests go; the region's address by default",
    )
    token: Secret = Field(description="`tokenId:tokenSecret` of one team")
    bots: NotRepeated[
        Annotated[BotOptions, BeforeValidator(as_named), Field(title="identifier")]
    ] = Field(strict=False, description="the bots to read")
    team_id: str | None = Field(
        default=None,
        min_length=1,
        description="needed by the collectors `team_events` and `team_conversations`",
    )
    collectors: NotRepeated[Collector] = Field(
        default=("events", "conversations", "messages", "users"),
        strict=False,
        description="what to read; each needs calls of its own",
    )
    events: EventOptions = Field(
        default=EventOptions(),
        description="which event names have a series of their own, and what else they count as",
    )
    stream: StreamOptions = Field(default=StreamOptions(), description="how event lists are read")
    received_kinds: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description="the message kinds that add up to messages received; by default all but a "
        "total",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_address(cls, data: Any) -> Any:
        if isinstance(data, dict) and "base_url" not in data:
            address = REGIONS.get(str(data.get("region", "eu")), REGIONS["eu"])
            return {**data, "base_url": address}
        return data

    @field_validator("collectors")
    @classmethod
    def _check_team(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if any(name.startswith("team_") for name in value) and not info.data.get("team_id"):
            raise invalid("team", "team collectors need team_id", "add the team's id")
        return value

    @field_validator("events")
    @classmethod
    def _check_fed_once(cls, value: EventOptions, info: ValidationInfo) -> EventOptions:
        active = {*info.data.get("collectors", ()), "events"}
        twice = {each.family for each in value.event_map.values() if FED.get(each.family) in active}
        if twice:
            fed = (f"the collector {FED[family]} already feeds {family}" for family in twice)
            hint = "map the event to another family, or remove the collector"
            raise invalid("twice", ", ".join(sorted(fed)), hint)
        return value


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A SeriesData endpoint: what its series count as, the families they feed, its grouping."""

    collect: Callable[..., None]
    feeds: tuple[Feed, ...]
    params: Mapping[str, str] = field(default_factory=dict)


AGGREGATES: Mapping[str, Aggregate] = {
    "conversations": Aggregate(
        mapping.collect_conversations,
        (Feed(families.CONVERSATIONS_STARTED, SERIES_FIELD),),
        {"group_by": "channel_type"},
    ),
    "messages": Aggregate(
        mapping.collect_messages,
        (
            Feed(mapping.MESSAGES, SERIES_FIELD),
            Feed(families.MESSAGES_RECEIVED, f"{SERIES_FIELD}, kinds of received messages summed"),
        ),
    ),
    "users": Aggregate(
        mapping.collect_users,
        (Feed(mapping.USERS, SERIES_FIELD), Feed(families.ACTIVE_USERS, SERIES_FIELD)),
    ),
    "knowledge_base": Aggregate(
        mapping.collect_knowledge_base, (Feed(families.KNOWLEDGE_BASE_HITS, SERIES_FIELD),)
    ),
}
"""The aggregates of a bot and version, by collector."""

CAMPAIGNS = Aggregate(
    mapping.collect_campaigns,
    (Feed(mapping.CAMPAIGN_CONVERSATIONS, SERIES_FIELD),),
    {"group_by": "bot_id,campaign_id,campaign_source"},
)


def sign(options: ChatlayerOptions) -> Mapping[str, str]:
    """Return the header of Basic authentication: token id and secret."""
    token = key_of(options.token)
    identifier, colon, secret = token.partition(":")
    if not (identifier and colon and secret):
        raise Unauthorized("the token must be written as tokenId:tokenSecret")
    hide(secret)
    return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}


@dataclass(frozen=True, slots=True)
class ChatlayerQueries:
    """What one target reads: queries of its bots and versions, and of its team."""

    options: ChatlayerOptions
    settings: LabelSettings

    def all(self) -> Iterator[Query]:
        """Yield the queries of each collector."""
        options = self.options
        versions = [(bot, version) for bot in options.bots for version in bot.versions]
        team = f"/v1/teams/{quote(options.team_id or '', safe='')}"
        for name in options.collectors:
            match name:
                case "team_events":
                    pairs = [(bot.id, version) for bot, version in versions]
                    covered = frozenset(pairs if "events" in options.collectors else ())
                    events = EventList(f"{team}/events", {})
                    yield self._events(name, events, EventRules(covered=covered))
                case "team_conversations":
                    yield self._team_conversations(f"{team}/conversations")
                case "definitions":
                    yield from map(self._definitions, options.bots)
                case "events":
                    yield from (self._bot_events(*each) for each in versions)
                case _:
                    yield from (self._aggregate(name, *each) for each in versions)

    def _aggregate(self, name: str, bot: BotOptions, version: str) -> Query:
        aggregate = AGGREGATES[name]
        params = {"version": version, **aggregate.params}
        meaning: dict[str, Any] = {"params": params}
        collect = partial(aggregate.collect, base=(bot.id, version.lower()))
        if name == "messages":
            received = self.options.received_kinds
            meaning["received_kinds"] = None if received is None else sorted(received)
            collect = partial(collect, received=received)
        shown, path = f"{name}/{bot.shown}/{version.lower()}", f"{_path(bot)}/{name}"
        spec = self._spec(shown, f"GET {path}", aggregate.feeds, meaning)
        return _series_query(spec, params, collect)

    def _team_conversations(self, path: str) -> Query:
        meaning = {"params": CAMPAIGNS.params}
        daily = replace(
            self._spec("team_conversations", f"GET {path}", CAMPAIGNS.feeds, meaning),
            granularity_ms=DAY_MS,
            settle_ms=max(self.options.settle, DAILY_SETTLE_MS),
            lookback_ms=max(self.options.lookback, DAILY_LOOKBACK_MS),
        )
        return _series_query(daily, CAMPAIGNS.params, CAMPAIGNS.collect)

    def _definitions(self, bot: BotOptions) -> Query:
        spec = self._spec(
            f"definitions/{bot.shown}",
            f"GET {_path(bot)}/events/definitions",
            (Feed(mapping.EVENT_VOLUME, "event_definitions[].volume_30_day"),),
            {"params": {}},
        )
        cost = Cost(page_rows=PAGE_SIZE)
        return DeclaredQuery(
            replace(spec, interval_ms=self.options.slow_interval, cost=cost),
            answer=mapping.DefinitionPage,
            respell=snake_case,
            parameters=lambda _: {"page_size": str(PAGE_SIZE)},
            items=lambda page: page.event_definitions or [],
            collect=partial(mapping.collect_definitions, bot=bot.id),
            pages=Cursor(
                next=lambda page: page.next_page_token,
                send=["page_token"],
                page_rows=PAGE_SIZE,
                most_pages=MAX_DEFINITION_PAGES,
                empty_pages=True,
            ),
            trailing_ms=30 * DAY_MS,
        )

    def _bot_events(self, bot: BotOptions, version: str) -> Query:
        filters = tuple(each.model_dump() for each in self.options.stream.filters)
        source = EventList(f"{_path(bot)}/events/stream", {"version": version}, filters)
        rules = EventRules(bot.id, version)
        return self._events(f"events/{bot.shown}/{version.lower()}", source, rules)

    def _events(self, name: str, source: EventList, rules: EventRules) -> Query:
        options, stream, events = self.options, self.options.stream, self.options.events
        by_ids = stream.mode == "ids"
        history_ms = options.lookback if options.start == "history" else None
        again_ms = stream.overlap if by_ids else max(stream.overlap, options.settle)
        given = "interval" in options.model_fields_set
        fixed: dict[str, Any] = {"filters": source.filters, "mode": stream.mode}
        fixed["covered"] = sorted(rules.covered)
        if events.event_map and not by_ids:  # earlier events of hours read again are no growth
            fixed["event_map"] = {of: each.model_dump() for of, each in events.event_map.items()}
        spec = self._spec(
            name,
            f"{'POST' if source.filters else 'GET'} {source.path}",
            (
                Feed(families.EVENTS, "events[], each id once, by event"),
                *(_mapped_feed(each, rules) for each in events.event_map.values()),
            ),
            {"params": {**source.params, **fixed}},
        )
        spec = replace(
            spec,
            cost=Cost(1 if by_ids else again_ms // HOUR_MS + 1, page_rows=PAGE_SIZE),
            interval_ms=options.interval if given else EVENTS_INTERVAL_MS,
            deadline_ms=DRAIN_DEADLINE_MS,
            lookback_ms=again_ms,
            # By ids, the first poll reads the past; without history nothing of it counts.
            initial_lookback_ms=None if by_ids else history_ms,
            slice_ms=HOUR_MS,  # each hour is a reading of its own
            reach_ms=None if by_ids else stream.max_age,
            stream=by_ids,
            ids_kept_ms=max(stream.overlap, stream.sweep) + stream.sweep_interval + HOUR_MS,
        )
        rules = replace(
            rules,
            event_map=events.event_map,
            active=None if events.active is None else frozenset(events.active),
            label_rules=spec.label_rules,
            limit=spec.label_value_bytes,
        )
        read = StreamSource(source, rules, stream, options.requests_per_second, history_ms)
        return CustomQuery(spec, read.read_events if by_ids else read.recount_hours)

    def _spec(
        self, name: str, endpoint: str, feeds: Sequence[Feed], meaning: Mapping[str, Any]
    ) -> QuerySpec:
        options = self.options
        label_rules = {
            "project": LabelRule({bot.id: bot.alias for bot in options.bots if bot.alias})
        }
        if options.events.allow is not None:
            label_rules["event"] = LabelRule({}, frozenset(options.events.allow))
        return spec_for(
            options,
            self.settings,
            name,
            endpoint,
            feeds,
            meaning=meaning,
            label_rules=label_rules,
        )


def _mapped_feed(mapped: EventTarget, rules: EventRules) -> Feed:
    """Return the feed of a mapped event; for one bot, it shows 0 from the start without channel."""
    known = (rules.bot, rules.version.lower(), *mapped.values("")) if rules.bot else None
    return Feed(COUNTERS[mapped.family], MAPPED_FIELD, known)


def _series_query(
    spec: QuerySpec, params: Mapping[str, str], collect: Callable[..., None]
) -> Query:
    """Return the query of a SeriesData endpoint, in buckets of the query's granularity."""
    step_ms = spec.granularity_ms

    def asked(window: Window) -> Window:
        # A bucket must be smaller than the range, so a request covers at least two.
        return Window(min(window.start_ms, window.end_ms - 2 * step_ms), window.end_ms)

    def collect_all(answers: Sequence[mapping.SeriesResponse], rows: Rows) -> None:
        (answer,) = answers
        window = rows.window
        collect(mapping.read_series(answer.data, asked(window), step_ms, window, rows.drift), rows)

    return DeclaredQuery(
        replace(spec, span_ms=SPAN_MS, slice_ms=DAY_MS if step_ms < DAY_MS else None),
        answer=mapping.SeriesResponse,
        respell=snake_case,
        parameters=lambda window: {**params, "bucket": BUCKETS[step_ms], **bounds(asked(window))},
        items=lambda answer: [answer],
        collect=collect_all,
    )


def _path(bot: BotOptions) -> str:
    return f"/v1/bots/{quote(bot.id, safe='')}"


PROVIDER = Provider(
    name="chatlayer",
    options=ChatlayerOptions,
    families=(
        mapping.MESSAGES,
        mapping.USERS,
        mapping.CAMPAIGN_CONVERSATIONS,
        mapping.EVENT_VOLUME,
    ),
    feeds=frozenset({*COUNTERS, families.ACTIVE_USERS.name, families.ACTIVE_CONVERSATIONS.name}),
    sign=sign,
    queries=lambda options, settings: ChatlayerQueries(options, settings).all(),
)
