"""One board per provider, with a row for each of its queries."""

from dashboards.source import engagement, overview, promql
from dashboards.source.dashboard import DashboardPage, Row
from dashboards.source.metrics_shown import (
    PROVIDERS,
    MetricPanel,
    PanelKind,
    QueryRow,
    metric_panels,
)
from dashboards.source.panels import (
    Caption,
    Curve,
    Panel,
    graph,
    invisible,
    stat_panel,
    table_panel,
    text_panel,
)

_TOP = 10
_NARROW = 8
_ACCOUNT_WIDE = ("chatbot_flowxo_top_flow_triggers",)
_LISTS = {"voiceflow": "queries", "inkeep": "queries", "chatlayer": "collectors"}
"""The setting that lists a provider's queries, if it has one."""
_NO_ENVIRONMENT = ("chatbot_chatlayer_campaign_conversations_total",)


def board(provider: str) -> DashboardPage:
    """Return the board of one provider."""
    title, rows = PROVIDERS[provider]
    return DashboardPage(
        uid=f"chatbot-{provider}",
        title=f"Chatbots: {title}",
        description=f"All metrics that the exporter reads from {title}.",
        variables=overview.variables(provider),
        rows=(
            Row("Now", _now(provider)),
            Row("Engagement", _engagement(provider)),
            *(_query_row(provider, row) for row in rows),
            Row("Data", (_age(provider), _polls(provider))),
            Row("About this dashboard", (_definitions(title),)),
        ),
        alerts=f'ALERTS{{alertstate="firing",alertname=~"Chatbot.*",{promql.targets(provider)}}}',
        holidays=engagement.holidays(promql.bots(provider)),
        tags=("provider",),
    )


def _now(provider: str) -> tuple[Panel, ...]:
    chosen = promql.bots(provider)
    accounts = promql.targets(provider)
    return (
        _range_total(chosen),
        engagement.total(chosen),
        engagement.against_usual(chosen),
        engagement.learnt(chosen),
        engagement.age(accounts),
        engagement.late(accounts),
    )


def _range_total(chosen: str) -> Panel:
    caption = Caption(
        "Engagement in the selected time range",
        engagement.MEANING + " Sum over the settled hours of the selected time range.",
        no_value=engagement.NO_HISTORY,
    )
    return stat_panel(
        caption, f"sum(sum_over_time({promql.engagement('', '1h', chosen)}[$__range:1h]))"
    )


def _engagement(provider: str) -> tuple[Panel, ...]:
    chosen = promql.bots(provider)
    caption = Caption(
        "Engagement per settled hour",
        engagement.MEANING + " Shown after the hour has settled.",
        no_value=engagement.NO_HISTORY,
    )
    settled = promql.once(f'avg_over_time(chatbot_engagement{{window="1h",{chosen}}}[$__interval])')
    expr = f"sum by (project, bot_environment) ({settled})"
    hourly = graph(caption, (Curve(expr, "{{project}} {{bot_environment}}"),))
    return (engagement.band(chosen), engagement.weeks(chosen), hourly)


def _query_row(provider: str, row: QueryRow) -> Row:
    """Return the row of a query, collapsed if the query is off by default."""
    title = f"{row.title} (setting `{row.setting}`)" if row.setting else row.title
    panels = [_metric(provider, row, metric) for metric in metric_panels(row)]
    return Row(title, panels, collapsed=bool(row.setting))


def _metric(provider: str, row: QueryRow, metric: MetricPanel) -> Panel:
    select = _select(provider, metric)
    caption = Caption(metric.title, _description(provider, metric), metric.unit, metric.no_value)
    state = _state(provider, row, f"{metric.family}{{{select}}}")
    match metric.kind:
        case PanelKind.COUNTER:
            return _counter(metric, caption, select, state)
        case PanelKind.GAUGE:
            return _gauge(metric, caption, select, state)
        case PanelKind.TOP:
            return _top(metric, caption, select, state)
        case PanelKind.NAMES:
            return _names(metric, caption, select, state)


def _state(provider: str, row: QueryRow, shown: str) -> str:
    """Return a query whose label ``state`` says why there is nothing to show.

    It returns nothing if there is something to show, or if a poll has succeeded.
    """
    chosen = f'{promql.targets(provider)},query=~"{row.query}(/.+)?"'
    listed = _LISTS.get(provider)
    turn_on = f"add `{row.query}` to `{listed}`" if listed else f"set `{row.setting}`"
    off = f"Not configured: {turn_on}" if listed or row.setting == row.query else "Not configured"
    new = "No successful poll yet"
    on = f"on ({promql.BY_QUERY})"
    info = f"chatbot_exporter_target_info{{{chosen}}}"
    read = f"chatbot_exporter_last_success_timestamp_seconds{{{chosen}}} > 0"
    return (
        f'(label_replace(absent({info}), "state", "{off}", "", "")\n'
        f'or label_replace(group({info} unless {on} {read}), "state", "{new}", "", ""))\n'
        f"unless on () group({shown})"
    )


def _counter(metric: MetricPanel, caption: Caption, select: str, state: str) -> Panel:
    by = f"project, {metric.by}" if metric.by else "project"
    legend = f"{{{{project}}}} {{{{{metric.by}}}}}" if metric.by else "{{project}}"
    increase = promql.once(f"increase({metric.family}{{{select}}}[$__interval])")
    expr = f"sum by ({by}) ({increase})"
    curves = (Curve(expr, legend), Curve(state, "{{state}}", invisible()))
    return graph(caption, curves, width=_NARROW)


def _gauge(metric: MetricPanel, caption: Caption, select: str, state: str) -> Panel:
    names = ["project", "bot_environment", "channel", "window", "period", metric.by]
    by = [name for name in dict.fromkeys(names) if name and name in _labels(metric)]
    legend = " ".join(f"{{{{{name}}}}}" for name in by)
    expr = f"max by ({', '.join(('job', *by))}) ({metric.family}{{{select}}})"
    curves = (Curve(expr, legend), Curve(state, "{{state}}", invisible()))
    return graph(caption, curves, width=_NARROW)


def _top(metric: MetricPanel, caption: Caption, select: str, state: str) -> Panel:
    by = [name for name in ("project", "bot_environment", metric.by) if name in _labels(metric)]
    expr = f"topk({_TOP}, sum by ({', '.join(by)}) ({promql.once(f'{metric.family}{{{select}}}')}))"
    return table_panel(caption, {"Now": (f"{expr}\nor {state}", metric.unit)})


def _names(metric: MetricPanel, caption: Caption, select: str, state: str) -> Panel:
    expr = f"max by (project, function, name) ({metric.family}{{{select}}})"
    return table_panel(caption, {"Now": (f"{expr}\nor {state}", "none")}, hidden=("Now",))


def _labels(metric: MetricPanel) -> tuple[str, ...]:
    """Return the labels by which lines of ``metric`` may differ."""
    if metric.family in _ACCOUNT_WIDE:
        return ("window", metric.by)
    base = ("project",) if metric.family in _NO_ENVIRONMENT else ("project", "bot_environment")
    own = {
        "chatbot_known_users": (),
        "chatbot_chatlayer_users": ("kind", "window"),
        "chatbot_chatlayer_event_volume_30d": ("event",),
    }
    windowed = ("channel", "window") if metric.by == "window" else (metric.by, "period")
    return (*base, *own.get(metric.family, windowed))


def _select(provider: str, metric: MetricPanel) -> str:
    if metric.family in _ACCOUNT_WIDE:
        return promql.targets(provider)
    if metric.family in _NO_ENVIRONMENT:
        return promql.targets(provider) + ',project=~"$project"'
    return promql.bots(provider)


def _description(provider: str, metric: MetricPanel) -> str:
    ours = PROVIDERS[provider][0]
    kind = (
        "Increase over the graph's step (an hour or more); buckets appear as the API reports them."
        if metric.kind is PanelKind.COUNTER
        else "The newest settled window that the API reported."
    )
    note = f" {metric.note}" if metric.note else ""
    return (
        f"`{metric.family}` as {ours} counts it. {kind}{note} "
        "Empty: the query is not configured, or there is no fresh data."
    )


def _age(provider: str) -> Panel:
    accounts = promql.targets(provider)
    by = promql.BY_QUERY
    caption = Caption(
        "Age of the newest data beyond its period",
        "Time since the end of the newest settled data, minus its period. Above the allowance "
        "values are not exported; three hours above it, ChatbotDataStale fires.",
        "s",
        "No successful poll yet",
    )
    end = f"max by ({by}) (chatbot_exporter_data_end_timestamp_seconds{{{accounts}}})"
    lag = f"max by ({by}) (chatbot_exporter_expected_lag_seconds{{{accounts}}})"
    curves = (
        Curve(f"time() - {end} - {promql.period(accounts)}", "{{target}} {{query}}"),
        Curve(lag, "{{target}} {{query}} allowance"),
    )
    return graph(caption, curves, interval="5m")


def _polls(provider: str) -> Panel:
    accounts = promql.targets(provider)
    caption = Caption(
        "Failed polls by reason",
        "Failed polls per step of the graph. See the exporter dashboard for details.",
        no_value="No successful poll yet",
    )
    expr = promql.polls_lost("poll_failures", accounts, "$__interval")
    return graph(caption, (Curve(expr, "{{target}} {{query}} {{reason}}"),))


def _definitions(title: str) -> Panel:
    return text_panel(
        "Definitions",
        f"Values follow {title}'s own definitions; see the provider's page in the docs. "
        "Hours start in UTC, days in the target's time zone; the axis uses "
        "your browser's time zone.\n\n"
        "Counters grow when the API reports, even for past hours. Engagement shows only settled "
        "hours, with a fixed delay, so that weeks are comparable. A late value is absent, not 0.",
    )
