"""Recording rules: what is there, what was to be expected, and how unusual the difference is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dashboards.source import promql
from dashboards.source.thresholds import Drop, Share, Thresholds

BY = f"by ({promql.BY_BOT})"
ON = f"on ({promql.BY_BOT})"
MAD_TO_SIGMA = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded series."""

    name: str
    expr: str


def records(thresholds: Thresholds) -> Iterator[Record]:
    """Yield every recorded series, each after those that it reads."""
    yield Record(promql.HOUR, signal())
    yield Record(
        promql.earlier("hour"),
        f"(\n{_shifted(promql.HOUR, 'week', range(1, thresholds.weeks + 1))}\n) and {ON} {promql.HOUR}",
    )
    for drop in thresholds.drops:
        yield from _window(thresholds, drop)
    yield Record(promql.level(), _level(thresholds))
    for drop in thresholds.drops:
        yield from _expectation(thresholds, drop)
        yield from _scores(thresholds, drop)
    yield from share("fallback", "fallbacks", "messages_received", thresholds.fallback)
    yield from share("handover", "handovers", "conversations_started", thresholds.handover)
    yield Record(
        "bot:chatbot_weekly_users:last",
        f'max {BY} (chatbot_active_users{{channel="",window=~"(rolling|trailing)_7d"}})',
    )


def signal() -> str:
    """Return engagement of the newest settled hour: messages, interactions or conversations.

    Which one is decided by the counters, which never vanish: a late read of messages must not let
    the few conversations of the same bot be taken for them.
    """
    kinds = ("messages_received", "interactions", "conversations_started")
    choices = []
    for number, kind in enumerate(kinds):
        better = "".join(f" unless {ON} chatbot_{other}_total" for other in kinds[:number])
        choices.append(f'(sum {BY} (chatbot_period_{kind}{{period="hour"}}){better})')
    return "\nor ".join(choices)


def _window(thresholds: Thresholds, drop: Drop) -> Iterator[Record]:
    """Yield what a window holds, and what earlier weeks held in the very hours that are known now.

    Hours that an outage of the API has swallowed are missing on both sides; a mean without its
    busy hours would else look like a drop.
    """
    window, earlier = drop.window, promql.earlier(drop.window)
    hours = f"[{drop.hours}h]"
    past = f"{promql.earlier('hour')}{hours}"
    enough = thresholds.samples(drop.hours)
    yield Record(
        promql.actual(window), f"avg_over_time({promql.HOUR}{hours})\n{_trusted(thresholds, drop)}"
    )
    yield Record(earlier, f"avg_over_time({past}) and (count_over_time({past}) >= {enough})")
    yield Record(promql.weeks(window), f"count {BY} ({earlier})")
    yield Record(
        promql.median(window),
        f"quantile {BY} (0.5, {earlier})\n"
        f"and {ON} ({promql.weeks(window)} >= {thresholds.weeks_needed})",
    )


def _level(thresholds: Thresholds) -> str:
    """Return the day against its median, as much of it as lasts until the next.

    Chance does not last, so few events carry over little. A day far off is an event, not a level.
    """
    median = promql.median(promql.DAILY)
    steady = f"{24 * thresholds.weekly_spread**2:.4g} * {median}"
    low, high = thresholds.level_range
    return (
        f"({promql.actual(promql.DAILY)} / {median} > {low:g} < {high:g})\n"
        f"^ ({thresholds.carry_over:g} * {steady} / (1 + {steady}))"
    )


def _expectation(thresholds: Thresholds, drop: Drop) -> Iterator[Record]:
    """Yield the expectation: the median of the weeks, what is known besides brought to it.

    The same hours of the days beside it (yesterday's median, and last week's of tomorrow) steady
    it where events are few: it moves towards the middle of the three, but by less than chance.
    The level is that before the window, so that a drop does not lower its own expectation.
    """
    median, adjacent = promql.median(drop.window), promql.adjacent(drop.window)
    days = _shifted(median, "day", (1, 6))
    chance = f"(sqrt({drop.hours} * {median} + 1) / {drop.hours})"
    reach = thresholds.adjacent_reach
    yield Record(adjacent, f"quantile {BY} (0.5, {median}\nor {days})")
    yield Record(
        promql.expected(drop.window),
        f"({median} + {chance} * clamp(({adjacent} - {median}) / {chance}, -{reach:g}, {reach:g}))\n"
        f"* ({promql.level()} offset {drop.hours}h or 0 * {median} + 1)",
    )


def _trusted(thresholds: Thresholds, drop: Drop) -> str:
    """Return the guards: most of the window known, hours of data in time, no time never read."""
    gaps = f"increase(chatbot_exporter_coverage_gap_seconds_total[{drop.hours}h])"
    known = "".join(
        f"and {ON} (count_over_time({promql.HOUR}[{hours}h]) >= {thresholds.samples(hours)})\n"
        for hours in sorted({drop.hours, thresholds.recovered_h})
    )
    return f"{known}unless on (provider, target) (sum by (provider, target) ({gaps}) > 0)"


def _scores(thresholds: Thresholds, drop: Drop) -> Iterator[Record]:
    """Yield how far a window is from the expectation, and that in units of what is usual.

    The transform makes the spread of counts nearly 1 whatever their size: that of chance where
    they are few, a share of them where they are many. What is usual is learnt from windows that
    hold something, and is never taken as less than 1.
    """
    residual, scale = promql.residual(drop.window), promql.scale(drop.window)
    size = f"bot:chatbot_engagement_deviation:{drop.window}"
    events = f"{drop.hours} * {promql.expected(drop.window)}"
    past = f"{size}[{thresholds.scale_window}] offset {drop.ago}"
    left = transformed(f"{drop.hours} * {promql.actual(drop.window)}", thresholds)
    yield Record(
        residual, f"{thresholds.factor:.4g} * ({left} - {transformed(events, thresholds)})"
    )
    yield Record(size, f"abs({residual}) and {ON} ({events} >= {thresholds.scale_min_events})")
    yield Record(
        scale,
        f"clamp_min({MAD_TO_SIGMA * thresholds.scale_factor:.4g} * quantile_over_time(0.5, {past}), 1)\n"
        f"or {ON} 0 * {promql.expected(drop.window)} + 1",
    )
    yield Record(promql.score(drop.window), f"{residual} / {scale}")


def transformed(events: str, thresholds: Thresholds) -> str:
    """Return a query for a number whose spread does not depend on how many events there are."""
    return f"asinh({thresholds.weekly_spread:g} * sqrt({events} + 0.375))"


def edge(select: str, width: float, drop: Drop, thresholds: Thresholds) -> str:
    """Return a query for events per hour so many usual deviations from the expectation."""
    events = f"{drop.hours} * {promql.expected(drop.window)}{{{select}}}"
    away = f"{width / thresholds.factor:.4g} * {promql.scale(drop.window)}{{{select}}}"
    moved = f"clamp_min({transformed(events, thresholds)} + {away}, 0)"
    return (
        f"clamp_min((sinh({moved}) / {thresholds.weekly_spread:g}) ^ 2 - 0.375, 0) / {drop.hours}"
    )


def _shifted(series: str, unit: str, numbers: Iterable[int]) -> str:
    """Return ``series`` so many days or weeks ago (``unit``), told apart by a label of that name."""
    return "\nor ".join(
        f'label_replace({series} offset {number}{unit[0]}, "{unit}", "{number}", "", "")'
        for number in numbers
    )


def share(name: str, part: str, whole: str, rule: Share) -> Iterator[Record]:
    """Yield the share of ``part`` in ``whole`` over a window, and how much ``whole`` was."""
    base, ratio = share_names(name, rule)

    def mean(family: str) -> str:
        return f'sum {BY} (avg_over_time(chatbot_period_{family}{{period="hour"}}[{rule.hours}h]))'

    yield Record(base, f"{rule.hours} * {mean(whole)}")
    yield Record(
        ratio,
        f"{mean(part)} / ({mean(whole)} > 0)\n"
        f'and {ON} sum {BY} (chatbot_period_{whole}{{period="hour"}})',
    )


def share_names(name: str, rule: Share) -> tuple[str, str]:
    """Return the recorded names of a share's base and of the share."""
    return (
        f"bot:chatbot_{name}_base:sum{rule.hours}h",
        f"bot:chatbot_{name}_share:ratio{rule.hours}h",
    )
