"""What a Flow XO target asks: its hours, and the top lists that its settings name.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from exporter.model.query import Cost, LabelRule, QuerySpec
from exporter.model.samples import DAY_MS, Family, MetricType, Window
from exporter.providers.base.declared import DeclaredQuery
from exporter.providers.base.labels import only
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, bearer, spec_for
from exporter.providers.base.times import iso
from exporter.providers.flowxo import mapping
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.mapping import FIELDS, FlowName, Insights, TopEntry
from exporter.providers.flowxo.options import FlowXOOptions, TopFlows
from exporter.providers.flowxo.texts import normalize

SPAN_MS = 7 * DAY_MS  # the vendor names no longest range; hours over a long one may be heavy
HOURLY: Mapping[str, Any] = {"offset": 0, "unit": "hour"}
LISTS: Mapping[str, tuple[Family, type[list[Any]], Callable[..., None]]] = {
    "top_flows": (TOP_FLOW_TRIGGERS, list[TopEntry[FlowName]], mapping.collect_flows),
    "top_messages": (TOP_MESSAGE_USES, list[TopEntry[str]], mapping.collect_messages),
}


def queries(options: FlowXOOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target; what users wrote is asked for only if it may be shown."""
    spec = partial(spec_for, options, settings)
    named = {"project": only(options.project, settings.limits.label_value_bytes)}
    yield _hours(partial(spec, label_rules=named), options.project)
    slow = partial(spec, interval_ms=options.slow_interval)
    if options.top_flows:
        yield _top_list(slow, "top_flows", options.top_flows)
    mode, messages = settings.privacy.top_messages, options.top_messages
    raw = mode == "raw"
    if messages and (settings.privacy.allow_raw_text if raw else mode == "allowlist"):
        listed = {normalize(text): text for text in messages.allow}
        rules = {} if raw else {"message": LabelRule(listed, frozenset(messages.allow))}
        yield _top_list(partial(slow, label_rules=rules), "top_messages", messages, mode=mode)


def _hours(spec: Callable[..., QuerySpec], project: str) -> Query:
    known = {MetricType.COUNTER: (project,)}  # a counter shows 0 from the start
    feeds = [Feed(each, f"metrics[].{n}", known.get(each.kind)) for n, (each, _) in FIELDS.items()]
    meaning = {**HOURLY, "measures": [*FIELDS]}
    cost = Cost(rows=1)
    return DeclaredQuery(
        spec=spec("hourly", "GET /insights", feeds, meaning=meaning, span_ms=SPAN_MS, cost=cost),
        parameters=lambda window: {**HOURLY, **_bounds(window)},
        answer=Insights,
        items=lambda answer: [answer],
        collect=partial(mapping.collect_hours, project=project),
    )


def _top_list(spec: Callable[..., QuerySpec], name: str, top: TopFlows, **meaning: str) -> Query:
    family, answer, collect = LISTS[name]
    return DeclaredQuery(
        spec=spec(
            name,
            f"GET /insights/{name}",
            [Feed(family, "[].count")],
            meaning={"window_ms": top.window, "limit": top.limit, **meaning},
            cost=Cost(rows=top.limit, listed=True),
            lookback_ms=top.window,
        ),
        parameters=lambda window: {**_bounds(window), "limit": top.limit},
        answer=answer,
        items=lambda entries: entries,
        collect=partial(collect, limit=top.limit, **meaning),
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
