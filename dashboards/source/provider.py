"""One board for each provider, made of the figures that it has."""

from dashboards.source import engagement, overview, promql
from dashboards.source.dashboard import DashboardPage, Row
from dashboards.source.metrics_shown import PROVIDERS, Figure, Look, figures
from dashboards.source.panels import (
    Curve,
    Panel,
    Words,
    graph,
    stat_panel,
    table_panel,
    words_panel,
)

_TOP = 10
_NARROW = 8
_ACCOUNT_WIDE = ("chatbot_flowxo_top_flow_triggers",)
_NO_ENVIRONMENT = ("chatbot_chatlayer_campaign_conversations_total",)


def board(provider: str) -> DashboardPage:
    """Return the board of one provider."""
    title, _ = PROVIDERS[provider]
    return DashboardPage(
        uid=f"chatbot-{provider}",
        title=f"Chatbots: {title}",
        description=f"All metrics that the exporter reads from {title}.",
        variables=overview.variables(provider),
        rows=(
            Row("Now", _now(provider)),
            Row("Engagement", _engagement(provider)),
            Row("Metrics", [_figure(provider, figure) for figure in figures(provider)]),
            Row("Data", (_age(provider), _polls(provider))),
            Row("About this dashboard", (_definitions(title),)),
        ),
        alerts=f'ALERTS{{alertstate="firing",alertname=~"Chatbot.*",{promql.targets(provider)}}}',
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
    words = Words(
        "Engagement in the selected time range",
        engagement.MEANING + " Sum over the settled hours of the selected time range.",
        no_value=engagement.LATE,
    )
    return stat_panel(words, f"sum(sum_over_time({promql.HOUR}{{{chosen}}}[$__range:1h]))")


def _engagement(provider: str) -> tuple[Panel, ...]:
    chosen = promql.bots(provider)
    words = Words(
        "Engagement per settled hour",
        engagement.MEANING + " Shown after the hour has settled.",
        no_value=engagement.LATE,
    )
    expr = (
        f"sum by (project, bot_environment) (avg_over_time({promql.HOUR}{{{chosen}}}[$__interval]))"
    )
    hourly = graph(words, (Curve(expr, "{{project}} {{bot_environment}}"),))
    return (engagement.band(chosen), engagement.weeks(chosen), hourly)


def _figure(provider: str, figure: Figure) -> Panel:
    select = _select(provider, figure)
    words = Words(figure.title, _description(provider, figure), figure.unit)
    match figure.look:
        case Look.COUNTER:
            return _counter(figure, words, select)
        case Look.GAUGE:
            return _gauge(figure, words, select)
        case Look.TOP:
            return _top(figure, words, select)
        case Look.NAMES:
            return _names(figure, words, select)


def _counter(figure: Figure, words: Words, select: str) -> Panel:
    by = f"project, {figure.by}" if figure.by else "project"
    legend = f"{{{{project}}}} {{{{{figure.by}}}}}" if figure.by else "{{project}}"
    expr = f"sum by ({by}) (increase({figure.family}{{{select}}}[$__interval]))"
    return graph(words, (Curve(expr, legend),), width=_NARROW)


def _gauge(figure: Figure, words: Words, select: str) -> Panel:
    names = ["project", "bot_environment", "channel", "window", "period", figure.by]
    by = [name for name in dict.fromkeys(names) if name and name in _labels(figure)]
    legend = " ".join(f"{{{{{name}}}}}" for name in by)
    expr = f"max by ({', '.join(by)}) ({figure.family}{{{select}}})"
    return graph(words, (Curve(expr, legend),), width=_NARROW)


def _top(figure: Figure, words: Words, select: str) -> Panel:
    by = [name for name in ("project", "bot_environment", figure.by) if name in _labels(figure)]
    expr = f"topk({_TOP}, sum by ({', '.join(by)}) ({figure.family}{{{select}}}))"
    return table_panel(words, {"Now": (expr, figure.unit)})


def _names(figure: Figure, words: Words, select: str) -> Panel:
    expr = f"max by (project, function, name) ({figure.family}{{{select}}})"
    return table_panel(words, {"Now": (expr, "none")}, hidden=("Now",))


def _labels(figure: Figure) -> tuple[str, ...]:
    """Return the labels that may tell lines of ``figure`` apart."""
    if figure.family in _ACCOUNT_WIDE:
        return ("window", figure.by)
    base = ("project",) if figure.family in _NO_ENVIRONMENT else ("project", "bot_environment")
    own = {
        "chatbot_known_users": (),
        "chatbot_chatlayer_users": ("kind", "window"),
        "chatbot_chatlayer_event_volume_30d": ("event",),
    }
    windowed = ("channel", "window") if figure.by == "window" else (figure.by, "period")
    return (*base, *own.get(figure.family, windowed))


def _select(provider: str, figure: Figure) -> str:
    if figure.family in _ACCOUNT_WIDE:
        return promql.targets(provider)
    if figure.family in _NO_ENVIRONMENT:
        return promql.targets(provider) + ',project=~"$project"'
    return promql.bots(provider)


def _description(provider: str, figure: Figure) -> str:
    ours = PROVIDERS[provider][0]
    kind = (
        "Increase over the graph's step (an hour or more); buckets appear as the API reports them."
        if figure.look is Look.COUNTER
        else "Of the newest settled window that the API reported."
    )
    note = f" {figure.note}" if figure.note else ""
    return (
        f"`{figure.family}` as {ours} counts it. {kind}{note} "
        "Empty: the query is not configured, or there is no fresh data."
    )


def _age(provider: str) -> Panel:
    accounts = promql.targets(provider)
    by = promql.BY_QUERY
    words = Words(
        "Age of the newest data beyond its period",
        "Time since the end of the newest settled data, less its period. Above its allowance the "
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
    return graph(words, curves, interval="5m")


def _polls(provider: str) -> Panel:
    accounts = promql.targets(provider)
    words = Words(
        "Failed polls by reason",
        "Failed polls per step of the graph. See the exporter dashboard for details.",
        no_value="no poll has failed",
    )
    expr = (
        "sum by (target, query, reason) "
        f"(increase(chatbot_exporter_poll_failures_total{{{accounts}}}[$__interval])) > 0"
    )
    return graph(words, (Curve(expr, "{{target}} {{query}} {{reason}}"),))


def _definitions(title: str) -> Panel:
    return words_panel(
        "Definitions",
        f"Values follow {title}'s own definitions; see the provider's page in the docs. "
        "Hours start in UTC, days in the target's time zone; the axis uses "
        "your browser's time zone.\n\n"
        "Counters grow when the API reports, also for past hours. Engagement shows settled hours "
        "only, at a fixed delay, so that weeks are comparable. A late value is absent, not 0.",
    )
