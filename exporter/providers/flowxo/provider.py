"""What a Flow XO target asks: its hours, and the top lists that its settings name.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from exporter.model.query import Cost, LabelRule, QuerySpec
from exporter.model.samples import DAY_MS, Window
from exporter.providers.base.declared import DeclaredQuery
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, bearer, spec_for
from exporter.providers.base.times import iso
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.mapping import (
    COUNTERS,
    LEVELS,
    Insights,
    TopFlow,
    TopMessage,
    collect_flows,
    collect_hours,
    collect_messages,
)
from exporter.providers.flowxo.options import FlowXOOptions, TopFlows, TopMessages
from exporter.providers.flowxo.texts import fold

SPAN_MS = 7 * DAY_MS  # the vendor names no longest range; hours over a long one may be heavy
HOURLY: Mapping[str, Any] = {"offset": 0, "unit": "hour"}


def queries(options: FlowXOOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target; what users wrote is asked for only if it may be shown."""
    yield _hours(options, settings)
    if options.top_flows:
        yield _top_flows(options, settings, options.top_flows)
    privacy = settings.privacy
    raw = privacy.top_messages == "raw" and privacy.allow_raw_text
    if options.top_messages and (raw or privacy.top_messages == "allowlist"):
        yield _top_messages(options, settings, options.top_messages)


def _hours(options: FlowXOOptions, settings: LabelSettings) -> Query:
    feeds = [
        *(
            Feed(family, f"metrics[].{field}", (options.project,))
            for field, family in COUNTERS.items()
        ),
        *(Feed(family, f"metrics[].{field}") for field, (family, _) in LEVELS.items()),
    ]
    return DeclaredQuery(
        spec=spec_for(
            options,
            settings,
            "hourly",
            "GET /insights",
            feeds,
            meaning={**HOURLY, "measures": [*COUNTERS, *LEVELS]},
            span_ms=SPAN_MS,
            cost=Cost(rows=1),
        ),
        parameters=lambda window: {**HOURLY, **_bounds(window)},
        answer=Insights,
        items=lambda answer: [answer],
        collect=partial(collect_hours, project=options.project),
    )


def _top_flows(options: FlowXOOptions, settings: LabelSettings, top: TopFlows) -> Query:
    feed = Feed(TOP_FLOW_TRIGGERS, "[].count")
    return DeclaredQuery(
        spec=_list_spec(options, settings, "top_flows", feed, top),
        parameters=lambda window: {**_bounds(window), "limit": top.limit},
        answer=list[TopFlow],
        items=lambda flows: flows,
        collect=partial(collect_flows, limit=top.limit),
        trailing_ms=top.window,
    )


def _top_messages(options: FlowXOOptions, settings: LabelSettings, top: TopMessages) -> Query:
    mode = settings.privacy.top_messages
    feed = Feed(TOP_MESSAGE_USES, "[].count")
    spec = _list_spec(options, settings, "top_messages", feed, top, mode=mode)
    if mode == "allowlist":
        listed = LabelRule({fold(text): text for text in top.allow}, frozenset(top.allow))
        spec = replace(spec, label_rules={"message": listed})
    return DeclaredQuery(
        spec=spec,
        parameters=lambda window: {**_bounds(window), "limit": top.limit},
        answer=list[TopMessage],
        items=lambda messages: messages,
        collect=partial(collect_messages, limit=top.limit, raw=mode == "raw"),
        trailing_ms=top.window,
    )


def _list_spec(
    options: FlowXOOptions,
    settings: LabelSettings,
    name: str,
    feed: Feed,
    top: TopFlows,
    **meaning: Any,
) -> QuerySpec:
    meaning |= {"window_ms": top.window, "limit": top.limit}
    cost = Cost(rows=top.limit, listed=True)
    endpoint = f"GET /insights/{name}"
    spec = spec_for(options, settings, name, endpoint, [feed], meaning=meaning, cost=cost)
    return replace(spec, interval_ms=options.slow_interval, lookback_ms=top.window)


def _bounds(window: Window) -> Mapping[str, str]:
    return {"start": iso(window.start_ms), "end": iso(window.end_ms)}


PROVIDER = Provider(
    name="flowxo",
    options=FlowXOOptions,
    families=(TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES),
    feeds=frozenset(
        family.name for family in (*COUNTERS.values(), *(family for family, _ in LEVELS.values()))
    ),
    sign=lambda options: bearer(options.api_key),
    queries=queries,
)
