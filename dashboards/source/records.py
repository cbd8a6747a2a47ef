"""Recording rules: what is there, what was to be expected, and how unusual the difference is."""

from collections.abc import Iterator
from dataclasses import dataclass

from dashboards.source import promql
from dashboards.source.tuning import Drop, Share, Tuning

BY = f"by ({promql.BY_BOT})"
ON = f"on ({promql.BY_BOT})"
MAD_TO_SIGMA = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded series."""

    name: str
    expr: str


def records(tuning: Tuning) -> Iterator[Record]:
    """Yield every recorded series, each after those that it reads."""
    yield Record(promql.HOUR, signal())
    for drop in (tuning.fast, tuning.daily):
        yield from _window(tuning, drop)
    yield from share("fallback", "fallbacks", "messages_received", tuning.fallback)
    yield from share("handover", "handovers", "conversations_started", tuning.handover)
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


def _window(tuning: Tuning, drop: Drop) -> Iterator[Record]:
    window, hours = drop.window, drop.hours
    actual, expected = promql.actual(window), promql.expected(window)
    counted = f"count_over_time({promql.HOUR}[{hours}h])"
    yield Record(
        actual,
        f"avg_over_time({promql.HOUR}[{hours}h])\n"
        f"and {ON} ({counted} >= {tuning.samples(hours)})\n"
        f"and {ON} {promql.HOUR}",
    )
    yield Record(promql.weeks(window), f"count {BY} (\n{_earlier(actual, tuning.weeks)})")
    yield Record(
        expected,
        f"quantile {BY} (0.5,\n{_earlier(actual, tuning.weeks)})\n"
        f"and {ON} ({promql.weeks(window)} >= {tuning.weeks_needed})",
    )
    yield Record(
        promql.change(window),
        f"ln(({hours} * {actual} + 1) / ({hours} * {expected} + 1))",
    )
    yield from _scores(tuning, drop)


def _scores(tuning: Tuning, drop: Drop) -> Iterator[Record]:
    """Yield the usual change of a bot, and the present one in units of it.

    The usual change is learnt from windows that could alert, since at night few events change
    much; and it is at least what chance does to so many events.
    """
    change, scale = promql.change(drop.window), promql.scale(drop.window)
    size = f"bot:chatbot_engagement_deviation:{drop.window}"
    chance = f"bot:chatbot_engagement_chance:{drop.window}"
    events = f"{drop.hours} * {promql.expected(drop.window)}"
    past = f"{size}[{drop.memory}] offset {drop.ago}"
    needed = round(tuning.scale_days * 86_400 / tuning.interval_s)
    yield Record(size, f"abs({change}) and {ON} ({events} >= {drop.least:g})")
    yield Record(chance, f"{tuning.chance:g} / sqrt(clamp_min({events}, 1))")
    yield Record(
        scale,
        f"(\n"
        f"  (\n"
        f"    {MAD_TO_SIGMA} * quantile_over_time(0.5, {past})\n"
        f"    and count_over_time({past}) >= {needed}\n"
        f"    or {ON} 0 * {chance} + {tuning.scale_unlearnt}\n"
        f"  ) > {ON} {chance}\n"
        f")\n"
        f"or {ON} {chance}",
    )
    yield Record(promql.score(drop.window), f"{change} / {scale}")


def _earlier(series: str, weeks: int) -> str:
    """Return the same instant of earlier weeks, told apart by a label."""
    return "\nor ".join(
        f'label_replace({series} offset {week}w, "week", "{week}", "", "")'
        for week in range(1, weeks + 1)
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
