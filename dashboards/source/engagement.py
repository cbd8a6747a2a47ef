"""Panels about engagement that the overview and the provider boards share."""

from dashboards.source import promql, records
from dashboards.source.panels import (
    BLUE,
    GREY,
    ORANGE,
    PINK,
    SKY,
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
from dashboards.source.thresholds import Thresholds

MEANING = (
    "Engagement of a bot is its messages received; where its provider counts none, its "
    "interactions; else its conversations started. Only hours that have settled count."
)
LATE = "No settled hour in time, see Data age"
_DAY = "Needs 20 of the last 24 hours, in time"
_HOURS = "Needs 3 hours, settled and in time"
_AGAINST = ((None, VERMILION), (-0.4, ORANGE), (-0.2, BLUE))
_PER_BOT = "{{project}} {{bot_environment}}"


def total(select: str) -> Panel:
    """Return engagement of the last 24 settled hours."""
    caption = Caption(
        "Engagement, last 24 settled hours",
        MEANING + " Providers define these differently: compare a bot with itself.",
        no_value=_DAY,
    )
    return stat_panel(caption, f"sum(24 * {promql.actual(promql.DAILY)}{{{select}}})")


def against_usual(select: str) -> Panel:
    """Return the last 24 hours against the same 24 hours of earlier weeks."""
    actual, expected = promql.actual(promql.DAILY), promql.expected(promql.DAILY)
    on = f"on ({promql.BY_BOT})"
    caption = Caption(
        "Change vs. usual for this weekday",
        "Last 24 settled hours compared with the value expected from the same hours of four weeks and the day before. "
        "Needs 3 weeks of history; empty until then.",
        "percentunit",
        "Needs 3 weeks of history, and 20 of the last 24 hours in time",
    )
    expr = (
        f"sum({actual}{{{select}}} and {on} {expected}) / "
        f"(sum({expected}{{{select}}} and {on} {actual}) > 0) - 1"
    )
    return stat_panel(caption, expr, steps=_AGAINST)


def band(select: str) -> Panel:
    """Return each bot's 3 h mean inside the band that earlier weeks let expect."""
    thresholds = Thresholds()
    drop = thresholds.drop(promql.FAST)
    caption = Caption(
        "Engagement per hour and expected band",
        MEANING
        + " Mean of three hours; the band between the thin lines is the value expected from the same hours of four "
        "weeks and the day before, plus or minus two usual deviations. No band: needs 3 weeks of history.",
        no_value=_HOURS,
    )
    curves = (
        Curve(f"{promql.actual(promql.FAST)}{{{select}}}", _PER_BOT),
        Curve(records.edge(select, 2, drop, thresholds), f"{_PER_BOT} high", band_edge()),
        Curve(records.edge(select, -2, drop, thresholds), f"{_PER_BOT} low", band_edge()),
        Curve(f"{promql.expected(promql.FAST)}{{{select}}}", f"{_PER_BOT} expected", dashed(GREY)),
    )
    return graph(caption, curves, interval="15m", width=24)


def weeks(select: str) -> Panel:
    """Return this week over the four before it."""
    series = f"{promql.actual(promql.FAST)}{{{select}}}"
    earlier = zip((1, 2, 3, 4), (SKY, ORANGE, PINK, GREY), strict=True)
    caption = Caption(
        "This week vs. previous 4 weeks",
        "Sum of the chosen bots, mean of three hours, with the same hours of earlier weeks. "
        "A sum is empty for hours in which no bot has data.",
        no_value=_HOURS,
    )
    curves = [Curve(f"sum({series})", "now", (*fixed(BLUE), ("custom.lineWidth", 3)))]
    curves += [
        Curve(
            f"sum({series} offset {number}w)",
            f"{number} week{'s'[: number - 1]} ago",
            dashed(colour),
        )
        for number, colour in earlier
    ]
    return graph(caption, curves, interval="30m", width=12)


def learnt(select: str) -> Panel:
    """Return how many of four weeks the expectation rests on."""
    caption = Caption(
        "Baseline: weeks of history (of 4)",
        "Fewer than three: no expectation, no band and no engagement alert for that bot. "
        "Prometheus must keep at least 30 days of data.",
        "none",
    )
    expr = f"min({promql.weeks(promql.DAILY)}{{{select}}}) or vector(0)"
    return stat_panel(caption, expr, steps=((None, ORANGE), (3, BLUE)))


def age(targets: str) -> Panel:
    """Return how old the oldest data is."""
    caption = Caption(
        "Data age",
        "Time since the end of the newest settled data, oldest query first. All values here are "
        "that old. Hours settle only after the vendor's usual delay, so an hour or two is normal.",
        "s",
        "No successful poll yet",
    )
    expr = f"max(time() - chatbot_exporter_data_end_timestamp_seconds{{{targets}}})"
    return stat_panel(caption, expr, steps=((None, BLUE), (14_400, ORANGE), (43_200, VERMILION)))


def late(targets: str) -> Panel:
    """Return how many queries are later than they may be."""
    caption = Caption(
        "Queries with late data",
        "Queries whose newest settled data is older than period and expected lag. Their values "
        "are not exported; they are not 0.",
        "none",
        "No successful poll yet",
    )
    end = f"max by ({promql.BY_QUERY}) (chatbot_exporter_data_end_timestamp_seconds{{{targets}}})"
    lag = f"max by ({promql.BY_QUERY}) (chatbot_exporter_expected_lag_seconds{{{targets}}})"
    expr = f"count(time() - {end} > {promql.period(targets)} + {lag}) or vector(0)"
    return stat_panel(caption, expr, steps=((None, BLUE), (1, VERMILION)))
