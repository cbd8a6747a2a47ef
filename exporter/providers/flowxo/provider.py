"""What a Flow XO target asks: its hours, and the top lists that its settings name.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from exporter.model.query import Cost, LabelRule
from exporter.model.samples import DAY_MS, Family, Window
from exporter.providers.base.declared import DeclaredQuery, ItemT
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, bearer, spec_for
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import iso
from exporter.providers.flowxo import mapping
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.mapping import COUNTERS, LEVELS, Insights, TopFlow, TopMessage
from exporter.providers.flowxo.options import FlowXOOptions, TopFlows
from exporter.providers.flowxo.texts import normalize

SPAN_MS = 7 * DAY_MS  # the vendor names no longest range; hours over a long one may be heavy
HOURLY: Mapping[str, Any] = {"offset": 0, "unit": "hour"}


def queries(options: FlowXOOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target; what users wrote is asked for only if it may be shown."""
    yield _hours(options, settings)
    if top := options.top_flows:
        yield _top_list(
            options,
            settings,
            "top_flows",
            top,
            family=TOP_FLOW_TRIGGERS,
            answer=list[TopFlow],
            collect=partial(mapping.collect_flows, limit=top.limit),
        )
    mode, raw_allowed = settings.privacy.top_messages, settings.privacy.allow_raw_text
    messages = options.top_messages
    if messages and (mode == "allowlist" or (mode == "raw" and raw_allowed)):
        raw, listed = mode == "raw", {normalize(text): text for text in messages.allow}
        yield _top_list(
            options,
            settings,
            "top_messages",
            messages,
            family=TOP_MESSAGE_USES,
            answer=list[TopMessage],
            collect=partial(mapping.collect_messages, limit=messages.limit, raw=raw),
            label_rules={} if raw else {"message": LabelRule(listed, frozenset(messages.allow))},
            mode=mode,
        )


def _hours(options: FlowXOOptions, settings: LabelSettings) -> Query:
    known = (options.project,)
    counters = [Feed(family, f"metrics[].{name}", known) for name, family in COUNTERS.items()]
    levels = [Feed(family, f"metrics[].{name}") for name, (family, _) in LEVELS.items()]
    feeds, meaning = counters + levels, {**HOURLY, "measures": [*COUNTERS, *LEVELS]}
    spec = spec_for(options, settings, "hourly", "GET /insights", feeds, meaning=meaning)
    return DeclaredQuery(
        spec=replace(spec, span_ms=SPAN_MS, cost=Cost(rows=1)),
        parameters=lambda window: {**HOURLY, **_bounds(window)},
        answer=Insights,
        items=lambda answer: [answer],
        collect=partial(mapping.collect_hours, project=options.project),
    )


def _top_list(
    options: FlowXOOptions,
    settings: LabelSettings,
    name: str,
    top: TopFlows,
    *,
    family: Family,
    answer: type[list[ItemT]],
    collect: Callable[[Sequence[ItemT], Rows], None],
    label_rules: Mapping[str, LabelRule] | None = None,
    **meaning: Any,
) -> Query:
    spec = spec_for(
        options,
        settings,
        name,
        f"GET /insights/{name}",
        [Feed(family, "[].count")],
        meaning={"window_ms": top.window, "limit": top.limit, **meaning},
        label_rules=label_rules,
        cost=Cost(rows=top.limit, listed=True),
    )
    return DeclaredQuery(
        spec=replace(spec, interval_ms=options.slow_interval, lookback_ms=top.window),
        parameters=lambda window: {**_bounds(window), "limit": top.limit},
        answer=answer,
        items=lambda entries: entries,
        collect=collect,
        trailing_ms=top.window,
    )


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
