"""The cost of language models: a board, and the rule for a day far above usual."""

from dashboards.source import promql
from dashboards.source.dashboard import DashboardPage, Row, Variable
from dashboards.source.manifest import variables
from dashboards.source.panels import Caption, Curve, Panel, graph, stat_panel, text_panel

UID = "chatbot-spend"
DAY = "bot:chatbot_llm_cost_usd:sum24h"
"""Recording rule: dollars in the last 24 hours, by target."""
USUAL = f"quantile_over_time(0.5, {DAY}[14d] offset 1d)"
SHARE, OF_HIGHEST, LEAST_USD = 2.5, 1.25, 5
"""A day is unusual if it exceeds these multiples of the median of two weeks and of the highest day
of a week (which a weekly job reaches), and the median by at least this many dollars."""

_COST = "chatbot_llm_cost_usd_total"
_CHOSEN = f'{promql.targets()},project=~"$project"'
_EMPTY = "No target reports costs"


def record() -> tuple[str, str]:
    """Return the name and expression of the recording rule."""
    return DAY, f"sum by (job, provider, target) ({promql.once(f'increase({_COST}[24h])')})"


def far_above_usual() -> str:
    """Return the condition of the alert, which needs a week of history."""
    return (
        f"{DAY} > {SHARE:g} * {USUAL}\n"
        f"and {DAY} > {OF_HIGHEST:g} * max_over_time({DAY}[7d] offset 1d)\n"
        f"and {DAY} - {USUAL} >= {LEAST_USD:g}\n"
        f"and {DAY} offset 1w >= 0"
    )


def board() -> DashboardPage:
    """Return the board."""
    return DashboardPage(
        uid=UID,
        title="Chatbots: spend",
        description="Cost of language models by account, project and model.",
        variables=(
            Variable(
                "provider", "Provider", "label_values(chatbot_exporter_target_info, provider)"
            ),
            *variables('provider=~"$provider"', _COST),
        ),
        rows=(
            Row("Now", (_today(), _against_usual(), _range_total())),
            Row("Cost", (_by("provider, target"), _by("project"), _by("model"))),
            Row("Tokens and calls", (_tokens(), _price())),
            Row("About this dashboard", (_about(),)),
        ),
        alerts=f'ALERTS{{alertstate="firing",alertname="ChatbotSpendHigh",{promql.targets()}}}',
        tags=("spend",),
        since="now-30d",
    )


def _grown(window: str, family: str = _COST) -> str:
    return promql.once(f"increase({family}{{{_CHOSEN}}}[{window}])")


def _today() -> Panel:
    caption = Caption("Cost, last 24 h", "As the providers bill it.", "currencyUSD", _EMPTY)
    return stat_panel(caption, f"sum({_grown('24h')})")


def _against_usual() -> Panel:
    caption = Caption(
        "Last 24 h vs. usual",
        "Compared with the median of the two weeks before, for all projects of chosen accounts.",
        "percentunit",
        "Needs two days of history",
    )
    chosen = f"{DAY}{{{promql.targets()}}}"
    usual = f"quantile_over_time(0.5, {chosen}[14d] offset 1d)"
    return stat_panel(caption, f"sum({chosen}) / sum({usual} > 0) - 1")


def _range_total() -> Panel:
    caption = Caption(
        "Cost in the selected time range", "As the providers bill it.", "currencyUSD", _EMPTY
    )
    return stat_panel(caption, f"sum({_grown('$__range')})")


def _by(labels: str) -> Panel:
    caption = Caption(
        f"Cost by {labels.rpartition(' ')[2]}",
        "Increase over the graph's step (a day or more). Some APIs report a day's cost late.",
        "currencyUSD",
        _EMPTY,
    )
    legend = " ".join(f"{{{{{label}}}}}" for label in labels.split(", "))
    curve = Curve(f"sum by ({labels}) ({_grown('$__interval')})", legend)
    return graph(caption, (curve,), interval="1d", width=8, stacked=True)


def _tokens() -> Panel:
    caption = Caption("Tokens by type", "Increase over the graph's step.", "short", "No tokens yet")
    expr = f"sum by (token_type) ({_grown('$__interval', 'chatbot_llm_tokens_total')})"
    return graph(caption, (Curve(expr, "{{token_type}}"),), interval="1d")


def _price() -> Panel:
    caption = Caption(
        "Cost of a call",
        "Cost divided by calls, for accounts that report both.",
        "currencyUSD",
        "No account reports costs and calls",
    )
    by = "by (provider, target)"
    calls = f"sum {by} ({_grown('$__interval', 'chatbot_llm_calls_total')})"
    expr = f"sum {by} ({_grown('$__interval')}) / ({calls} > 0)"
    return graph(caption, (Curve(expr, "{{provider}} {{target}}"),), interval="1d")


def _about() -> Panel:
    return text_panel(
        "Definitions",
        "Costs are as reported by the providers, exact to a millionth of a dollar, not computed "
        "from tokens. Days are in UTC, and most APIs report them with a delay. Free credits and "
        "other discounts may not be included.",
    )
