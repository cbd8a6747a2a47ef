"""Which calls a Chatlayer target makes: event lists and aggregates of bots, versions and a team.

Source: https://developers.sinch.com/docs/chatlayer-analytics/api-reference/chatlayer-analytics
"""

import base64
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from exporter.errors import Unauthorized
from exporter.http_client.client import ApiClient
from exporter.logs import hide
from exporter.model import families
from exporter.model.query import Cost, LabelRule, PollRequest, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from exporter.providers.base.declared import Cursor, DeclaredQuery
from exporter.providers.base.plugin import (
    CustomQuery,
    LabelSettings,
    Provider,
    Query,
    key_of,
    spec_for,
)
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import spans
from exporter.providers.chatlayer import series
from exporter.providers.chatlayer.families import (
    CAMPAIGN_CONVERSATIONS,
    EVENT_VOLUME,
    MESSAGES,
    USERS,
)
from exporter.providers.chatlayer.mapping import EventRules, EventScope
from exporter.providers.chatlayer.options import BotOptions, ChatlayerOptions
from exporter.providers.chatlayer.pages import PAGE_SIZE, EventList, bounds
from exporter.providers.chatlayer.series import DefinitionPage, NamedSeries, SeriesResponse
from exporter.providers.chatlayer.stream import EventStream, HourRecount, StreamSource

SPAN_MS = 7 * DAY_MS
EVENTS_INTERVAL_MS = 60_000
DRAIN_DEADLINE_MS = 600_000
DAILY_SETTLE_MS = 2 * HOUR_MS
DAILY_LOOKBACK_MS = 3 * DAY_MS
MAX_DEFINITION_PAGES = 100
BUCKETS: Mapping[int, str] = {HOUR_MS: "1h", DAY_MS: "1d"}

Collect = Callable[[Sequence[NamedSeries], Rows], None]


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """Reads one SeriesData endpoint in buckets of the query's granularity."""

    spec: QuerySpec
    path: str
    params: Mapping[str, str]
    collect: Collect

    async def read(self, client: ApiClient, request: PollRequest, /) -> AsyncIterator[Reading]:
        """Yield one reading per week of ``request.window``, grown to whole buckets."""
        step_ms = self.spec.granularity_ms
        parts = list(spans(request.window, step_ms, SPAN_MS))
        for part in parts:
            # A bucket must be smaller than the range, so a request covers at least two.
            asked = Window(min(part.start_ms, part.end_ms - 2 * step_ms), part.end_ms)
            params = {**self.params, "bucket": BUCKETS[step_ms], **bounds(asked)}
            response = await client.get(self.path, params, SeriesResponse)
            rows = Rows(part, self.spec, request.memo)
            found = series.read_series(response.data, asked, step_ms, part, rows.drift)
            self.collect(found, rows)
            yield rows.reading(more=part != parts[-1])


def sign(options: ChatlayerOptions) -> Mapping[str, str]:
    """Return the header of Basic authentication: token id and secret."""
    token = key_of(options.token)
    identifier, colon, secret = token.partition(":")
    if not (identifier and colon and secret):
        raise Unauthorized("the token must be written as tokenId:tokenSecret")
    hide(secret)
    return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}


def queries(options: ChatlayerOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target."""
    return _TargetQueries(options, settings).queries()


@dataclass(frozen=True, slots=True)
class _TargetQueries:
    """The queries of one target."""

    options: ChatlayerOptions
    settings: LabelSettings

    def queries(self) -> Iterator[Query]:
        for name in self.options.collectors:
            match name:
                case "team_events":
                    yield self._team_events()
                case "team_conversations":
                    yield self._team_conversations()
                case "definitions":
                    yield from map(self._definitions, self.options.bots)
                case _:
                    yield from (
                        self._of_bot(name, bot, version)
                        for bot in self.options.bots
                        for version in bot.versions
                    )

    def _of_bot(self, name: str, bot: BotOptions, version: str) -> Query:
        shown = f"{name}/{bot.shown}/{version.lower()}"
        if name == "events":
            path = f"/v1/bots/{_segment(bot.id)}/events/stream"
            return self._stream(shown, path, {"version": version}, EventScope(bot.id, version))
        params = {"version": version, **GROUPED.get(name, {})}
        path = f"/v1/bots/{_segment(bot.id)}/{name}"
        spec = replace(self._spec(shown, path, params), span_ms=SPAN_MS, fields=FIELDS[name])
        if name == "messages":
            kinds = self.options.received_kinds
            meaning = {**spec.meaning, "received_kinds": None if kinds is None else sorted(kinds)}
            spec = replace(spec, meaning=meaning)
        base = (bot.id, version.lower())
        collect: Mapping[str, Collect] = {
            "conversations": partial(series.collect_conversations, base=base),
            "messages": partial(
                series.collect_messages, base=base, received=self.options.received_kinds
            ),
            "users": partial(series.collect_users, base=base),
            "knowledge_base": partial(series.collect_knowledge_base, base=base),
        }
        return AggregateQuery(spec, path, params, collect[name])

    def _team_events(self) -> Query:
        covered = frozenset(
            (bot.id, version)
            for bot in self.options.bots
            for version in bot.versions
            if "events" in self.options.collectors
        )
        return self._stream("team_events", f"{self._team}/events", {}, EventScope(covered=covered))

    def _team_conversations(self) -> Query:
        path, params = f"{self._team}/conversations", {"group_by": CAMPAIGN_KEYS}
        spec = replace(
            self._spec("team_conversations", path, params),
            granularity_ms=DAY_MS,
            span_ms=SPAN_MS,
            fields={CAMPAIGN_CONVERSATIONS.name: SERIES_FIELD},
            settle_ms=max(self.options.settle, DAILY_SETTLE_MS),
            lookback_ms=max(self.options.lookback, DAILY_LOOKBACK_MS),
        )
        return AggregateQuery(spec, path, params, series.collect_campaigns)

    def _definitions(self, bot: BotOptions) -> Query:
        path = f"/v1/bots/{_segment(bot.id)}/events/definitions"
        spec = self._spec(f"definitions/{bot.shown}", path, {})
        spec = replace(
            spec,
            interval_ms=self.options.slow_interval,
            fields={EVENT_VOLUME.name: "event_definitions[].volume_30_day"},
            cost=Cost(page_rows=PAGE_SIZE),
        )
        return DeclaredQuery(
            spec,
            answer=DefinitionPage,
            parameters=lambda _: {"page_size": str(PAGE_SIZE)},
            items=lambda page: page.event_definitions or [],
            collect=partial(series.collect_definitions, bot=bot.id),
            pages=Cursor(
                next=lambda page: page.next_page_token,
                send=["page_token"],
                page_rows=PAGE_SIZE,
                most_pages=MAX_DEFINITION_PAGES,
                empty_pages=True,
            ),
            trailing_ms=30 * DAY_MS,
        )

    def _stream(self, name: str, path: str, params: Mapping[str, str], scope: EventScope) -> Query:
        own = self.options
        stream = own.stream
        # Only bot lists have a POST form.
        filters = tuple(each.model_dump() for each in stream.filters) if scope.bot else ()
        fixed = {"filters": list(filters), "mode": stream.mode, "covered": sorted(scope.covered)}
        spec = self._spec(name, path, {**params, **fixed}, method="POST" if filters else "GET")
        by_ids = stream.mode == "ids"
        again_ms = stream.overlap if by_ids else max(stream.overlap, own.settle)
        spec = replace(
            spec,
            interval_ms=own.interval if "interval" in own.model_fields_set else EVENTS_INTERVAL_MS,
            deadline_ms=DRAIN_DEADLINE_MS,
            lookback_ms=again_ms,
            stream=by_ids,
            fields=_event_fields(own),
            cost=Cost(1 if by_ids else again_ms // HOUR_MS + 1, page_rows=PAGE_SIZE),
            ids_kept_ms=max(stream.overlap, stream.sweep) + stream.sweep_interval + HOUR_MS,
        )
        active = None if own.events.active is None else frozenset(own.events.active)
        rules = EventRules(
            own.events.event_map, active, spec.label_rules, self.settings.limits.label_value_bytes
        )
        history_ms = own.lookback if own.start == "history" else None
        source = StreamSource(
            EventList(path, params, filters),
            scope,
            rules,
            stream,
            own.requests_per_second,
            history_ms,
        )
        return CustomQuery(spec, EventStream(source).read if by_ids else HourRecount(source).read)

    def _spec(
        self, name: str, path: str, params: Mapping[str, Any], method: str = "GET"
    ) -> QuerySpec:
        meaning = {"params": dict(params)}
        spec = spec_for(self.options, self.settings, name, f"{method} {path}", meaning=meaning)
        aliases = {bot.id: bot.alias for bot in self.options.bots if bot.alias}
        label_rules = {"project": LabelRule(aliases)}
        if self.options.events.allow is not None:
            label_rules["event"] = LabelRule({}, frozenset(self.options.events.allow))
        return replace(spec, label_rules=label_rules)

    @property
    def _team(self) -> str:
        return f"/v1/teams/{_segment(self.options.team_id or '')}"


GROUPED: Mapping[str, Mapping[str, str]] = {"conversations": {"group_by": "channel_type"}}
CAMPAIGN_KEYS = "bot_id,campaign_id,campaign_source"


SERIES_FIELD = "data.series[].values"
FIELDS: Mapping[str, Mapping[str, str]] = {
    "conversations": {families.CONVERSATIONS_STARTED.name: SERIES_FIELD},
    "messages": {
        MESSAGES.name: SERIES_FIELD,
        families.MESSAGES_RECEIVED.name: f"{SERIES_FIELD}, kinds of received messages summed",
    },
    "users": {USERS.name: SERIES_FIELD, families.ACTIVE_USERS.name: SERIES_FIELD},
    "knowledge_base": {families.KNOWLEDGE_BASE_HITS.name: SERIES_FIELD},
}


def _event_fields(options: ChatlayerOptions) -> Mapping[str, str]:
    fields = {families.EVENTS.name: "events[], each id once, by event"}
    for mapped in options.events.event_map.values():
        fields[mapped.family] = "events[], each id once, of the events that the event map names"
    return fields


def _segment(identifier: str) -> str:
    return quote(identifier, safe="")


PROVIDER = Provider(
    name="chatlayer",
    options=ChatlayerOptions,
    families=(MESSAGES, USERS, CAMPAIGN_CONVERSATIONS, EVENT_VOLUME),
    feeds=frozenset(
        {family.name for family in families.NORMALISED.values() if family.kind == "counter"}
        | {families.ACTIVE_USERS.name, families.ACTIVE_CONVERSATIONS.name}
    ),
    sign=sign,
    queries=queries,
)
