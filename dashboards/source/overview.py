"""The overview of all providers: engagement, change vs. usual, people, reliability of the data."""

from dashboards.source import engagement, promql
from dashboards.source.dashboard import DashboardPage, Row, Variable
from dashboards.source.metrics_shown import WITH_BOARD
from dashboards.source.panels import (
    BLUE,
    ORANGE,
    USUAL,
    Caption,
    Curve,
    Panel,
    graph,
    stat_panel,
    table_panel,
    text_panel,
    timeline,
)

LATE = "No current value, see Data age"
UID = "chatbot-overview"
BOTS = promql.bots()
TARGETS = promql.targets()
_SIGNAL = "chatbot_(messages_received|interactions|conversations_started)_total"
_ALERTS = f'ALERTS{{alertstate="firing",alertname=~"Chatbot.*",{TARGETS}}}'
_SHARE_WIDTH = 6


def variables(provider: str = "") -> tuple[Variable, ...]:
    """Return the variables of a board, each narrowed by those before it."""
    fixed = f'provider="{provider}"' if provider else 'provider=~"$provider"'
    names = Variable("provider", "Provider", "label_values(chatbot_exporter_target_info, provider)")
    info = f"chatbot_exporter_target_info{{{fixed}}}"
    named = f'{{__name__=~"{_SIGNAL}",{fixed},target=~"$target"'
    environments = f'label_values({named},project=~"$project"}}, bot_environment)'
    return (
        *(() if provider else (names,)),
        Variable("target", "Account", f"label_values({info}, target)"),
        Variable("project", "Bot", f"label_values({named}}}, project)", ".*"),
        Variable("bot_environment", "Environment", environments, ".*"),
    )


def board() -> DashboardPage:
    """Return the overview."""
    return DashboardPage(
        uid=UID,
        title="Chatbots: overview",
        description="All bots of all providers, each compared with itself.",
        variables=variables(),
        rows=(
            Row("Now", _now()),
            Row("Bots", (_table(),)),
            Row("Trends", (_by_provider(), engagement.weeks(BOTS), _people(), _firing())),
            Row("About this dashboard", (_definitions(),)),
        ),
        alerts=_ALERTS,
        holidays=engagement.holidays(BOTS),
        tags=("overview",),
    )


def _now() -> tuple[Panel, ...]:
    return (
        engagement.total(BOTS),
        engagement.against_usual(BOTS),
        engagement.learnt(BOTS),
        _alerting(),
        engagement.age(TARGETS),
        engagement.late(TARGETS),
        _share(
            "Contained, last 24 h",
            "One minus handovers per conversation, for bots that report both. A user who leaves "
            "without an answer counts as contained; compare with the fallback share.",
            f"1 - {_ratio('handovers', 'conversations_started')}",
            "a bot with conversations and handovers",
        ),
        _share(
            "Fallback share, last 24 h",
            "Fallback replies per message received, for bots that report both.",
            _ratio("fallbacks", "messages_received"),
            "a bot with messages and fallback replies",
        ),
        _share(
            "Positive feedback, last 7 days",
            "Share of positive ratings among positive and negative ones; needs 20 of them.",
            f"""{_increase("feedback", "7d", 'rating="positive"')} / """
            f"""({_increase("feedback", "7d", 'rating=~"positive|negative"')} >= 20)""",
            "20 ratings in 7 days",
        ),
        _share(
            "Outbound API errors, last 24 h",
            "Share of the bots' requests to other APIs that failed.",
            f"{_increase('outbound_api_request_errors', '24h')} / "
            f"({_increase('outbound_api_requests', '24h')} > 0)",
            "a bot with API requests in 24 hours",
        ),
    )


def _share(title: str, description: str, expr: str, needs: str) -> Panel:
    caption = Caption(title, description, "percentunit", f"Needs {needs}")
    return stat_panel(caption, expr, width=_SHARE_WIDTH)


def _ratio(part: str, whole: str) -> str:
    """Return the share over the last 24 hours, for the bots that count both."""

    def mean(family: str) -> str:
        return promql.once(f'avg_over_time(chatbot_period_{family}{{{BOTS},period="hour"}}[24h])')

    both = f"and on ({promql.BY_BOT}) chatbot_{part}_total"
    return f"sum({mean(part)}) / (sum({mean(whole)} {both}) > 0)"


def _increase(counter: str, window: str, *more: str) -> str:
    series = f"chatbot_{counter}_total{{{','.join((BOTS, *more))}}}"
    return f"sum({promql.once(f'increase({series}[{window}])')})"


def _alerting() -> Panel:
    caption = Caption(
        "Alerts firing",
        "Firing alerts of the selected accounts. The timeline below lists them.",
        "none",
    )
    return stat_panel(caption, f"count({_ALERTS}) or vector(0)", steps=((None, BLUE), (1, ORANGE)))


def _table() -> Panel:
    by = f"max by ({promql.BY_BOT})"
    actual = promql.engagement("", "24h", BOTS)
    expected = promql.engagement("expected", "24h", BOTS)
    score = f"{by} ({promql.engagement('score', '24h', BOTS)})"
    columns = {
        "Last 24 h": (f"{by} ({actual})", "short"),
        "Change vs. usual": (f"{by} ({actual} / ({expected} > 0) - 1)", "percentunit"),
        "Status": (score, "none"),
        "Score": (score, "none"),
        "Active users": (
            f'{by} (chatbot_active_users{{{BOTS},channel="",window=~"day|rolling_1d|trailing_30d|hour"}})',
            "short",
        ),
        "Data age": (
            (
                f"{by} (0 * {actual} + on (job, provider, target) group_left () "
                "max by (job, provider, target) (time() - chatbot_exporter_data_end_timestamp_seconds))"
            ),
            "s",
        ),
    }
    caption = Caption(
        "Bots by anomaly score",
        engagement.MEANING
        + " Score: distance of the last 24 hours from the expected number, in usual deviations "
        f"of the bot; beyond {USUAL} is below or above usual. Active users: over a day if the "
        "provider reports that, else over its own window. Empty cells: late, not available, or less "
        "than a week of history.",
        no_value=engagement.NO_HISTORY,
    )
    link = (
        "/d/chatbot-${__data.fields.board}?${__url_time_range}&var-datasource=${datasource}"
        "&var-provider=${__data.fields.provider}&var-target=${__data.fields.target}"
        "&var-project=${__data.fields.project}"
        "&var-bot_environment=${__data.fields.bot_environment}"
    )
    return table_panel(
        caption,
        {title: (_with_board(expr), unit) for title, (expr, unit) in columns.items()},
        hidden=("job", "board"),
        link=link,
        sort_by="Score",
        in_words="Status",
    )


def _with_board(expr: str) -> str:
    """Return ``expr`` with the label ``board``: the provider's own one, else the overview."""
    any_board = f'label_replace({expr}, "board", "overview", "", "")'
    return f'label_replace({any_board}, "board", "$1", "provider", "({"|".join(WITH_BOARD)})")'


def _by_provider() -> Panel:
    caption = Caption(
        "Engagement per hour by provider",
        engagement.MEANING + " Vendors count different things; do not compare providers.",
        no_value=engagement.NO_HISTORY,
    )
    hourly = promql.once(f'avg_over_time(chatbot_engagement{{window="1h",{BOTS}}}[$__interval])')
    expr = f"sum by (provider) ({hourly})"
    return graph(caption, (Curve(expr, "{{provider}}"),), stacked=True)


def _people() -> Panel:
    caption = Caption(
        "Active users by bot and window",
        "As defined by each provider. Never add windows, channels or bots: one person may be in "
        "several of them.",
        no_value=LATE,
    )
    expr = f'max by ({promql.BY_BOT}, window) (chatbot_active_users{{{BOTS},channel=""}})'
    return graph(caption, (Curve(expr, "{{project}} {{bot_environment}} {{window}}"),), width=24)


def _firing() -> Panel:
    caption = Caption(
        "Alert history",
        "One lane per alert and bot or query.",
        "none",
        "No alert has fired in this time range",
    )
    by = "alertname, provider, target, project, bot_environment, query"
    legend = "{{alertname}} {{target}} {{project}} {{query}}"
    return timeline(caption, f"max by ({by}) ({_ALERTS})", legend)


def _definitions() -> Panel:
    return text_panel(
        "Definitions",
        f"**Engagement.** {engagement.MEANING}\n\n"
        "**Usual** is what the exporter expects for the same hours of the week, learnt from up to "
        "five weeks of history (at least one) and adjusted to the level of the last days.\n\n"
        "**No value is not zero.** A value is not exported while its data is late; *Data age* shows "
        "the delay. A provider's dashboard shows only metrics that the provider offers.",
    )
