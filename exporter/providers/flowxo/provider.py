"""A Flow XO target and its queries: hours, and the top lists that its settings name.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import BaseModel, Field

from exporter.config.model import Secret, Strict, TargetOptions
from exporter.model.query import Cost, LabelRule, QuerySpec
from exporter.model.samples import DAY_MS, MetricType, Window
from exporter.providers.base.declared import DeclaredQuery
from exporter.providers.base.options import Days
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, bearer, spec_for
from exporter.providers.base.rows import only
from exporter.providers.base.times import iso
from exporter.providers.flowxo import mapping

SPAN_MS = 7 * DAY_MS  # the vendor documents no maximum; hours of a long range may be heavy
HOURLY: Mapping[str, Any] = {"offset": 0, "unit": "hour"}


class TopFlows(BaseModel):
    """The most used flows of a trailing window: their number, and the window's length."""

    model_config = Strict

    limit: int = Field(default=10, ge=1, le=20, description="number of entries")
    window: Days = Field(default=DAY_MS, description="length in whole days")


class TopMessages(TopFlows):
    """The most frequent messages; ``allow`` are the texts that ``allowlist`` mode may show.

    Whether any may be shown depends on the file's ``privacy.top_messages``.
    """

    allow: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="the texts that `privacy.top_messages: allowlist` may show",
    )


class FlowXOOptions(TargetOptions):
    """One Flow XO account key, which sees all bots of the account as one."""

    base_url: str = "https://flowxo.com/api"
    requests_per_second: float = Field(default=2, ge=0)
    api_key: Secret = Field(description="the key of the account's owner")
    project: str = Field(min_length=1, description="the label of all bots of the account, as one")
    top_flows: TopFlows | None = Field(
        default=None, description="the most used flows of a trailing window; off by default"
    )
    top_messages: TopMessages | None = Field(
        default=None,
        description="the most frequent user messages; off by default, and needs "
        "`privacy.top_messages`",
    )


def queries(options: FlowXOOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target; users' texts are requested only if they may be shown."""
    spec = partial(spec_for, options, settings)
    named = {"project": only(options.project, settings.limits.label_value_bytes)}
    yield _hours(partial(spec, label_rules=named), options.project)
    slow_ms = options.slow_interval
    if options.top_flows:
        yield _top_list(spec, slow_ms, "top_flows", options.top_flows)
    mode, messages = settings.privacy.top_messages, options.top_messages
    raw = mode == "raw"
    if messages and (settings.privacy.allow_raw_text if raw else mode == "allowlist"):
        listed = {mapping.normalize(text): text for text in messages.allow}
        rules = {} if raw else {"message": LabelRule(listed, frozenset(messages.allow))}
        shown = partial(spec, label_rules=rules)
        yield _top_list(shown, slow_ms, "top_messages", messages, mode=mode)


def _hours(spec: Callable[..., QuerySpec], project: str) -> Query:
    known = {MetricType.COUNTER: (project,)}  # a counter shows 0 from the start
    measures = mapping.FIELDS.items()
    feeds = [Feed(each, f"metrics[].{n}", known.get(each.kind)) for n, (each, _) in measures]
    meaning = {**HOURLY, "measures": [*mapping.FIELDS]}
    given = spec("hourly", "GET /insights", feeds, meaning=meaning)
    return DeclaredQuery(
        spec=replace(given, span_ms=SPAN_MS, cost=Cost(rows=1)),
        parameters=lambda window: {**HOURLY, **_bounds(window)},
        answer=mapping.Insights,
        items=lambda answer: [answer],
        collect=partial(mapping.collect_hours, project=project),
    )


def _top_list(
    spec: Callable[..., QuerySpec], slow_ms: int, name: str, top: TopFlows, **meaning: str
) -> Query:
    family, answer, collect = mapping.LISTS[name]
    given = spec(
        name,
        f"GET /insights/{name}",
        [Feed(family, "[].count")],
        meaning={"window_ms": top.window, "limit": top.limit, **meaning},
    )
    cost = Cost(rows=top.limit, listed=True)
    return DeclaredQuery(
        spec=replace(given, interval_ms=slow_ms, lookback_ms=top.window, cost=cost),
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
    families=(mapping.TOP_FLOW_TRIGGERS, mapping.TOP_MESSAGE_USES),
    feeds=frozenset(family.name for family, _ in mapping.FIELDS.values()),
    sign=lambda options: bearer(options.api_key),
    queries=queries,
)
