"""A score by episode, never by sample: what was found, when, and which alerts had no cause."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.dashboards.replay.scene import DROPS, LEARNING_WEEKS, WEEK, Bot, EventKind

GRACE_AFTER_H = 30  # a day's mean and the alert's hold outlast the drop
LOOKED_AT_H = 0.5  # the feed is looked at at half past
AFTER_END_H = 6  # an alert that comes later than this after a drop has ended found nothing


@dataclass(frozen=True, slots=True)
class Drop:
    """One drop of one bot, and after how many hours its first alert fired (None: none)."""

    volume: int
    depth: float
    kind: EventKind
    delay: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """All of a replay. ``late`` are the false episodes that began while the API was late."""

    drops: tuple[Drop, ...]
    false: int
    late: int
    bot_weeks: float

    def __add__(self, other: "Score") -> "Score":
        """Return both replays as one."""
        return Score(
            self.drops + other.drops,
            self.false + other.false,
            self.late + other.late,
            self.bot_weeks + other.bot_weeks,
        )


def scored(
    bots: Iterable[Bot],
    firing: Mapping[str, Sequence[bool]],
    late: Sequence[tuple[int, int]],
) -> Score:
    """Return the score of alerts that fired (hour by hour, by bot's name).

    Not counted either way: the hours of a drop and what follows it for ``GRACE_AFTER_H``, a
    holiday likewise (it is a drop, and mute intervals are for it), and bots that are gone.
    """
    total = Score((), 0, 0, 0.0)
    for bot in bots:
        total += _of_bot(bot, firing.get(bot.name, ()), late)
    return total


def _of_bot(bot: Bot, firing: Sequence[bool], late: Sequence[tuple[int, int]]) -> Score:
    hours = len(bot.counts)
    firing = list(firing) or [False] * hours
    end = min((e.start for e in bot.episodes if e.kind is EventKind.REMOVED), default=hours)
    drops = [e for e in bot.episodes if e.kind in DROPS]
    excused = [
        (e.start, e.end + GRACE_AFTER_H)
        for e in bot.episodes
        if e.kind in DROPS or e.kind is EventKind.HOLIDAY
    ]
    found = tuple(
        Drop(bot.volume, e.depth, e.kind, _delay(firing, e.start, e.end + AFTER_END_H))
        for e in drops
    )
    first = LEARNING_WEEKS * WEEK
    false = [run for run in _runs(firing, first, end) if not _touches(run, excused)]
    from_late = [run for run in false if any(a <= run[0] <= b + 4 for a, b in late)]
    return Score(found, len(false), len(from_late), max(0, end - first) / WEEK)


def _delay(firing: Sequence[bool], start: int, end: int) -> float | None:
    return next(
        (
            hour - start + LOOKED_AT_H
            for hour in range(start, min(end, len(firing)))
            if firing[hour]
        ),
        None,
    )


def _runs(firing: Sequence[bool], first: int, end: int) -> list[tuple[int, int]]:
    """Return the spans ``[start, end)`` in which an alert fired."""
    runs = []
    start = None
    for hour in range(first, end + 1):
        on = hour < end and firing[hour]
        if on and start is None:
            start = hour
        if not on and start is not None:
            runs.append((start, hour))
            start = None
    return runs


def _touches(run: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    return any(run[0] < end and start < run[1] for start, end in others)


def interval(hits: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    if not of:
        return 0.0, 1.0
    z, share = 1.96, hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return middle - half, middle + half


def report(score: Score) -> str:
    """Return the figures as Markdown, each with its interval."""
    found = [drop for drop in score.drops if drop.delay is not None]
    lines = [
        (
            f"{score.bot_weeks:.0f} bot-weeks, {len(score.drops)} drops, {len(found)} found, "
            f"{score.false} false episodes ({score.late} while the API was late)."
        ),
        "",
        "| Figure | Value | 95 % interval |",
        "|---|---|---|",
        _share("Precision", len(found), len(found) + score.false),
        (
            f"| False episodes per bot-week | {score.false / score.bot_weeks:.3f} "
            f"| {_rate(score.false, score.bot_weeks)} |"
        ),
        _recall(
            score, "70 % or more, above 500 a day", lambda d: d.depth >= 0.7 and d.volume > 500
        ),
        _recall(
            score, "50 % or more, 150 a day or more", lambda d: d.depth >= 0.5 and d.volume >= 150
        ),
        _recall(score, "50 % or more, all bots", lambda d: d.depth >= 0.5),
        _recall(score, "all drops", lambda _: True),
    ]
    delays = [d.delay for d in found if d.delay is not None and d.depth >= 0.7 and d.volume > 500]
    if delays:
        ordered = sorted(delays)
        ninth = ordered[min(len(ordered) - 1, math.ceil(0.9 * len(ordered)) - 1)]
        lines.append(
            f"| Delay of 70 % or more above 500 a day, p50 and p90 | {median(delays):g} h, "
            f"{ninth:g} h | n = {len(delays)} |"
        )
    return "\n".join([*lines, "", _grid(score)])


def _recall(score: Score, title: str, chosen: Callable[[Drop], bool]) -> str:
    drops = [drop for drop in score.drops if chosen(drop)]
    return _share(f"Recall, {title}", sum(d.delay is not None for d in drops), len(drops))


def _share(title: str, hits: int, of: int) -> str:
    low, high = interval(hits, of)
    shown = f"{hits / of:.2f} ({hits}/{of})" if of else "none"
    return f"| {title} | {shown} | {low:.2f} to {high:.2f} |"


def _rate(events: int, exposure: float) -> str:
    """Return an approximate 95 % interval of a Poisson rate (square-root transform)."""
    low = max(0.0, math.sqrt(events) - 0.98) ** 2 / exposure
    high = (math.sqrt(events + 1) + 0.98) ** 2 / exposure
    return f"{low:.3f} to {high:.3f}"


def _grid(score: Score) -> str:
    """Return recall by depth and volume."""
    volumes = sorted({drop.volume for drop in score.drops})
    depths = sorted({drop.depth for drop in score.drops})
    lines = [
        "| Messages a day | " + " | ".join(f"{depth:.0%} lost" for depth in depths) + " |",
        "|---" * (len(depths) + 1) + "|",
    ]
    for volume in volumes:
        cells = []
        for depth in depths:
            drops = [d for d in score.drops if (d.volume, d.depth) == (volume, depth)]
            cells.append(f"{sum(d.delay is not None for d in drops)}/{len(drops)}")
        lines.append(f"| {volume:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
