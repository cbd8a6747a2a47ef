"""Panels about engagement that the overview and the provider boards share."""

from dashboards.source.panels import (
    BLUE,
    GREY,
    ORANGE,
    SKY,
    USUAL,
    VERMILION,
    Caption,
    Curve,
    Panel,
    band_edge,
    dashed,
    fixed,
    graph,
    stat_panel,
)
from dashboards.source.promql import BY_QUERY, engagement, period

MEANING = (
    "A bot's engagement is its messages received; if its provider counts none, its "
    "interactions; otherwise its conversations started. Only settled hours count."
)
NO_HISTORY = "Needs one week of history and current data"
_AGAINST = ((None, VERMILION), (-0.4, ORANGE), (-0.2, BLUE))
_PER_BOT = "{{project}} {{bot_environment}}"


def total(select: str) -> Panel:
    """Return the panel on engagement in the last 24 settled hours."""
    caption = Caption(
        "Engagement, last 24 settled hours",
        MEANING + " Providers define these differently: compare a bot with itself.",
        no_value=NO_HISTORY,
    )
    return stat_panel(caption, f"sum({engagement('', '24h', select)})")


def against_usual(select: str) -> Panel:
    """Return the panel on the last 24 hours compared with the expected number."""
    caption = Caption(
        "Change vs. usual for this weekday",
        "Last 24 settled hours compared with the number that the exporter expects from up to five "
        "weeks of history.",
        "percentunit",
        NO_HISTORY,
    )
    actual, expected = engagement("", "24h", select), engagement("expected", "24h", select)
    return stat_panel(caption, f"sum({actual}) / (sum({expected}) > 0) - 1", steps=_AGAINST)


def band(select: str) -> Panel:
    """Return the panel on each bot's engagement in three hours, within its expected band."""
    actual, expected = engagement("", "3h", select), engagement("expected", "3h", select)
    away = f"{USUAL} * {engagement('deviation', '3h', select)}"
    caption = Caption(
        "Engagement in 3 hours and expected band",
        f"{MEANING} Sum of three hours. The thin lines are the expected number plus and minus "
        f"{USUAL} usual deviations of the bot.",
        no_value=NO_HISTORY,
    )
    curves = (
        Curve(actual, _PER_BOT),
        Curve(f"{expected} + {away}", f"{_PER_BOT} high", band_edge()),
        Curve(f"clamp_min({expected} - {away}, 0)", f"{_PER_BOT} low", band_edge()),
        Curve(expected, f"{_PER_BOT} expected", dashed(GREY)),
    )
    return graph(caption, curves, interval="15m", width=24)


def weeks(select: str) -> Panel:
    """Return the panel on this week, last week and the expected numbers."""
    caption = Caption(
        "This week vs. last week and expected",
        "Sum over the chosen bots in three hours, with the same hours a week before and the "
        "expected number. Empty for hours in which no bot has data.",
        no_value=NO_HISTORY,
    )
    actual = engagement("", "3h", select)
    before = engagement("", "3h", select, " offset 1w")
    curves = (
        Curve(f"sum({actual})", "now", (*fixed(BLUE), ("custom.lineWidth", 3))),
        Curve(f"sum({before})", "1 week ago", dashed(SKY)),
        Curve(f"sum({engagement('expected', '3h', select)})", "expected", dashed(GREY)),
    )
    return graph(caption, curves, interval="30m", width=12)


def learnt(select: str) -> Panel:
    """Return the panel on how many weeks the expectation is based on."""
    caption = Caption(
        "Weeks of history (of 5)",
        "For the bot with the least. Fewer than one: no expectation and no drop alert. Fewer than "
        "four: drop alerts are provisional.",
        "none",
        "No hour has settled yet",
    )
    expr = f"min({engagement('history_weeks', matchers=select)})"
    return stat_panel(caption, expr, steps=((None, ORANGE), (4, BLUE)))


def holidays(select: str) -> str:
    """Return a query for the bots whose newest settled hour is on a configured holiday."""
    return f"{engagement('holiday', matchers=select)} == 1"


def age(targets: str) -> Panel:
    """Return the panel on the age of the oldest data."""
    caption = Caption(
        "Data age",
        "Time since the end of the newest settled data, for the oldest query. Values here may be "
        "that old. Hours settle only after the vendor's usual delay, so an hour or two is normal.",
        "s",
        "No successful poll yet",
    )
    expr = f"max(time() - chatbot_exporter_data_end_timestamp_seconds{{{targets}}})"
    return stat_panel(caption, expr, steps=((None, BLUE), (14_400, ORANGE), (43_200, VERMILION)))


def late(targets: str) -> Panel:
    """Return the panel on queries whose data is late."""
    caption = Caption(
        "Queries with late data",
        "Queries whose newest settled data is older than period and expected lag explain. Their "
        "values are not exported; they are not 0.",
        "none",
        "No successful poll yet",
    )
    end = f"max by ({BY_QUERY}) (chatbot_exporter_data_end_timestamp_seconds{{{targets}}})"
    lag = f"max by ({BY_QUERY}) (chatbot_exporter_expected_lag_seconds{{{targets}}})"
    expr = f"count(time() - {end} > {period(targets)} + {lag}) or vector(0)"
    return stat_panel(caption, expr, steps=((None, BLUE), (1, VERMILION)))
