"""What a Flow XO target asks: its hours, and the top lists that its settings name.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from exporter.model.query import Cost, LabelRule
from exporter.model.samples import DAY_MS, Family, MetricType, Window
from exporter.providers.base.declared import DeclaredQuery
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, bearer, spec_for
from exporter.providers.base.times import iso
from exporter.providers.flowxo import mapping
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.mapping import FIELDS, Insights, TopFlow, TopMessage
from exporter.providers.flowxo.options import FlowXOOptions, TopFlows
from exporter.providers.flowxo.texts import normalize

SPAN_MS = 7 * DAY_MS  # the vendor names no longest range; hours over a long one may be heavy
HOURLY: Mapping[str, Any] = {"offset": 0, "unit": "hour"}


def queries(options: FlowXOOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target; what users wrote is asked for only if it may be shown."""
    yield _hours(options, settings)
    top_list = partial(_top_list, options, settings)
    if top := options.top_flows:
        yield top_list(top, TOP_FLOW_TRIGGERS, answer=list[TopFlow], collect=mapping.collect_flows)
    mode, raw_allowed = settings.privacy.top_messages, settings.privacy.allow_raw_text
    messages, raw = options.top_messages, mode == "raw"
    if messages and (mode == "allowlist" or (raw and raw_allowed)):
        listed = {normalize(text): text for text in messages.allow}
        yield top_list(
            messages,
            TOP_MESSAGE_USES,
            answer=list[TopMessage],
            collect=partial(mapping.collect_messages, raw=raw),
            label_rules={} if raw else {"message": LabelRule(listed, frozenset(messages.allow))},
            mode=mode,
        )


def _hours(options: FlowXOOptions, settings: LabelSettings) -> Query:
    known = {MetricType.COUNTER: (options.project,)}  # a counter shows 0 from the start
    feeds = [Feed(each, f"metrics[].{n}", known.get(each.kind)) for n, (each, _) in FIELDS.items()]
    return DeclaredQuery(
        spec=spec_for(
            options,
            settings,
            "hourly",
            "GET /insights",
            feeds,
            meaning={**HOURLY, "measures": [*FIELDS]},
            span_ms=SPAN_MS,
            cost=Cost(rows=1),
        ),
        parameters=lambda window: {**HOURLY, **_bounds(window)},
        answer=Insights,
        items=lambda answer: [answer],
        collect=partial(mapping.collect_hours, project=options.project),
    )


def _top_list(
    options: FlowXOOptions,
    settings: LabelSettings,
    top: TopFlows,
    family: Family,
    *,
    answer: type[list[Any]],
    collect: Callable[..., None],
    label_rules: Mapping[str, LabelRule] | None = None,
    **meaning: Any,
) -> Query:
    name = "top_flows" if family is TOP_FLOW_TRIGGERS else "top_messages"
    return DeclaredQuery(
        spec=spec_for(
            options,
            settings,
            name,
            f"GET /insights/{name}",
            [Feed(family, "[].count")],
            meaning={"window_ms": top.window, "limit": top.limit, **meaning},
            label_rules=label_rules,
            cost=Cost(rows=top.limit, listed=True),
            interval_ms=options.slow_interval,
            lookback_ms=top.window,
        ),
        parameters=lambda window: {**_bounds(window), "limit": top.limit},
        answer=answer,
        items=lambda entries: entries,
        collect=partial(collect, limit=top.limit),
        trailing_ms=top.window,
    )


def _bounds(window: Window) -> Mapping[str, str]:
    return {"start": iso(window.start_ms), "end": iso(window.end_ms)}


PROVIDER = Provider(
    name="flowxo",
    options=FlowXOOptions,
    families=(TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES),
    feeds=frozenset(family.name for family, _ in FIELDS.values()),
    sign=lambda options: bearer(options.api_key),
    queries=queries,
)
