"""Which calls a Flow XO target makes: its hours, and its top lists where they are wanted.

Source: https://support.flowxo.com, "Accessing Analytics via API"
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

from exporter.config.model import TargetOptions
from exporter.http_client.client import ApiClient
from exporter.model.query import Cost, LabelRule, PollRequest, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from exporter.providers.base.labels import Labels
from exporter.providers.base.plugin import Query, Rules, Target, key_of, spans, spec_for, trailing
from exporter.providers.flowxo.families import TOP_FLOW_TRIGGERS, TOP_MESSAGE_USES
from exporter.providers.flowxo.mapping import (
    COUNTERS,
    LEVELS,
    Insights,
    Shown,
    TopFlow,
    TopMessage,
    flows_to_reading,
    insights_to_reading,
    messages_to_reading,
)
from exporter.providers.flowxo.options import FlowXOOptions, TopFlows, TopMessages
from exporter.providers.flowxo.texts import fold

PATH = "/insights"
SPAN_MS = 7 * DAY_MS  # the vendor names no longest range; hours over a long one may be heavy
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Hourly:
    """Reads the account's hours."""

    project: str
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading per week of ``ask.window``, grown to whole hours."""
        parts = list(spans(ask.window, HOUR_MS, SPAN_MS))
        for part in parts:
            params = {"offset": "0", "unit": "hour"} | _bounds(part)
            answer = await api.get(PATH, params, Insights)
            reading = insights_to_reading(answer, part, self.project, Labels({}, self.limit))
            yield replace(reading, more=part != parts[-1])


@dataclass(frozen=True, slots=True)
class FlowsList:
    """Reads the most used flows of the newest whole hours."""

    options: TopFlows
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading, of the list as a whole."""
        shown = _shown(self.options, ask.now_ms)
        rows = await api.get(f"{PATH}/top_flows", _list_params(shown), list[TopFlow])
        yield flows_to_reading(rows, shown, Labels({}, self.limit))


@dataclass(frozen=True, slots=True)
class MessagesList:
    """Reads the most frequent messages of the newest whole hours."""

    options: TopMessages
    label_rules: Mapping[str, LabelRule]
    raw: bool
    limit: int

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading, of the list as a whole."""
        shown = _shown(self.options, ask.now_ms)
        rows = await api.get(f"{PATH}/top_messages", _list_params(shown), list[TopMessage])
        yield messages_to_reading(rows, shown, Labels(self.label_rules, self.limit), raw=self.raw)


def _shown(options: TopFlows, now_ms: int) -> Shown:
    label = f"trailing_{options.window // DAY_MS}d"
    return Shown(trailing(now_ms, options.window, HOUR_MS), label, options.limit)


def _list_params(shown: Shown) -> dict[str, str]:
    return _bounds(shown.window) | {"limit": str(shown.limit)}


def _bounds(window: Window) -> dict[str, str]:
    return {"start": _iso(window.start_ms), "end": _iso(window.end_ms)}


def _iso(instant_ms: int) -> str:
    text = datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def build(options: TargetOptions, rules: Rules) -> Target:
    """Return the target that ``options``, which are ``FlowXOOptions``, describe."""
    own = cast("FlowXOOptions", options)
    queries = [_hourly(own, rules)]
    if own.top_flows:
        queries.append(_top_flows(own, rules, own.top_flows))
    if own.top_messages and _may_show_messages(rules):
        queries.append(_top_messages(own, rules, own.top_messages))
    return Target(
        name=own.name,
        provider=own.provider,
        base_url=own.base_url,
        sign=lambda: {"Authorization": f"Bearer {key_of(own.api_key)}"},
        requests_per_second=own.requests_per_second,
        queries=tuple(queries),
    )


def _may_show_messages(rules: Rules) -> bool:
    mode = rules.privacy.top_messages
    return mode == "allowlist" or (mode == "raw" and rules.privacy.allow_raw_text)


def _hourly(options: FlowXOOptions, rules: Rules) -> Query:
    measures = [field for field, _ in COUNTERS] + [field for field, _, _ in LEVELS]
    spec = _spec(options, rules, "hourly", {"offset": 0, "unit": "hour", "measures": measures})
    labels = Labels({}, rules.limits.label_value_bytes)
    known = tuple(labels.series(family, options.project) for _, family in COUNTERS)
    fields = {family.name: f"metrics[].{field}" for field, family in COUNTERS}
    fields |= {family.name: f"metrics[].{field}" for field, family, _ in LEVELS}
    spec = replace(spec, span_ms=SPAN_MS, known=known, fields=fields, cost=Cost(rows=1))
    return Query(spec, Hourly(options.project, rules.limits.label_value_bytes).read)


def _top_flows(options: FlowXOOptions, rules: Rules, wanted: TopFlows) -> Query:
    spec = _list_spec(options, rules, "top_flows", wanted, {})
    return Query(spec, FlowsList(wanted, rules.limits.label_value_bytes).read)


def _top_messages(options: FlowXOOptions, rules: Rules, wanted: TopMessages) -> Query:
    mode = rules.privacy.top_messages
    listed = {fold(text): text for text in wanted.allow}
    label_rules = (
        {"message": LabelRule(listed, frozenset(wanted.allow))} if mode == "allowlist" else {}
    )
    spec = _list_spec(options, rules, "top_messages", wanted, {"mode": mode})
    bytes_ = rules.limits.label_value_bytes
    reader = MessagesList(wanted, label_rules, raw=mode == "raw", limit=bytes_)
    return Query(replace(spec, label_rules=label_rules), reader.read)


def _list_spec(
    options: FlowXOOptions,
    rules: Rules,
    name: str,
    wanted: TopFlows,
    meaning: Mapping[str, object],
) -> QuerySpec:
    window = {"window_ms": wanted.window, "limit": wanted.limit}
    spec = _spec(options, rules, name, {**window, **meaning})
    family = TOP_FLOW_TRIGGERS if name == "top_flows" else TOP_MESSAGE_USES
    return replace(
        spec,
        interval_ms=options.slow_interval,
        lookback_ms=wanted.window,
        fields={family.name: "[].count"},
        cost=Cost(rows=wanted.limit, listed=True),
    )


def _spec(
    options: FlowXOOptions, rules: Rules, name: str, meaning: Mapping[str, object]
) -> QuerySpec:
    path = PATH if name == "hourly" else f"{PATH}/{name}"
    fixed = {"endpoint": f"GET {path}", "schema": SCHEMA}
    return spec_for(options, rules, name, {**fixed, **meaning})
