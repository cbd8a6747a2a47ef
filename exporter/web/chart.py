"""Small charts as SVG path data, each with what it says in words."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from exporter.engagement.expectation import HourExpectation
from exporter.status import OK, UNUSUAL, PollStatus

HOUR_MS = 3_600_000
SLOTS = 30
SLOT_MS = HOUR_MS // SLOTS
BAR = 2
HEIGHT = 20
LEAST = 5
WIDE, TALL = 240, 56


@dataclass(frozen=True, slots=True)
class PollChart:
    """Path data of the bars of good and of failed polls, and what they say.

    One bar covers two minutes; its height is the longest poll in it against the longest of the
    hour; one failure makes it a failed one.
    """

    good: str
    failed: str
    text: str
    width: int = SLOTS * BAR
    height: int = HEIGHT


@dataclass(frozen=True, slots=True)
class EngagementChart:
    """Path data of the expected band and of the engagement in it, and what they say."""

    band: str
    line: str
    engagement: float
    expected: float | None
    text: str
    width: int = WIDE
    height: int = TALL


def draw_polls(polls: Iterable[PollStatus], now_ms: int) -> PollChart:
    """Return the chart of those of ``polls`` that began in the hour before ``now_ms``."""
    recent = [poll for poll in polls if 0 <= now_ms - poll.at_ms < HOUR_MS]
    longest = max((poll.duration_s for poll in recent), default=0.0) or 1.0
    tall: dict[int, float] = {}
    bad = set()
    for poll in recent:
        slot = SLOTS - 1 - (now_ms - poll.at_ms) // SLOT_MS
        tall[slot] = max(tall.get(slot, 0.0), poll.duration_s / longest)
        if poll.outcome != OK:
            bad.add(slot)
    return PollChart(
        good="".join(_bar(slot, share) for slot, share in tall.items() if slot not in bad),
        failed="".join(_bar(slot, share) for slot, share in tall.items() if slot in bad),
        text=_polls_text(recent),
    )


def _bar(slot: int, share: float) -> str:
    height = LEAST + round(share * (HEIGHT - LEAST))
    return f"M{slot * BAR} {HEIGHT}v-{height}h{BAR - 0.5}v{height}z"


def _polls_text(polls: list[PollStatus]) -> str:
    failed = sum(poll.outcome != OK for poll in polls)
    noun = "poll" if len(polls) == 1 else "polls"
    return f"{len(polls)} {noun}, {failed} failed" if failed else f"{len(polls)} {noun}"


def draw_engagement(hours: Sequence[HourExpectation], step: int = 1) -> EngagementChart:
    """Return the chart of ``hours``, a point for each ``step`` of them: their mean."""
    points = [_mean(hours[at : at + step]) for at in range(0, len(hours), step)]
    most = max((max(each.engagement or 0.0, _edge(each, 1)) for each in points), default=0.0) or 1.0
    judged = [each for each in hours if None not in (each.engagement, each.expected)]
    below = sum((each.engagement or 0.0) < _edge(each, -1) for each in judged)
    above = sum((each.engagement or 0.0) > _edge(each, 1) for each in judged)
    known = len(judged) == len(hours)
    return EngagementChart(
        band=_band_path(points, most),
        line=_line_path(points, most),
        engagement=sum(each.engagement or 0.0 for each in hours),
        expected=sum(each.expected or 0.0 for each in hours) if known else None,
        text=_engagement_text(len(hours), below, above, len(hours) - len(judged)),
    )


def _edge(hour: HourExpectation, side: int) -> float:
    """Return the upper (1) or lower (-1) edge of the band in which an hour is as expected."""
    return max(0.0, (hour.expected or 0.0) + side * UNUSUAL * (hour.deviation or 0.0))


def _mean(hours: Sequence[HourExpectation]) -> HourExpectation:
    """Return the mean hour of ``hours``; what one of them does not know, it does not know."""

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    return HourExpectation(
        start_ms=hours[0].start_ms,
        engagement=mean([each.engagement for each in hours]),
        expected=mean([each.expected for each in hours]),
        deviation=mean([each.deviation for each in hours]),
    )


def _runs(
    points: Sequence[HourExpectation], known: Callable[[HourExpectation], bool]
) -> Iterator[list[int]]:
    """Yield the numbers of neighbouring points that are known."""
    for is_known, numbers in groupby(range(len(points)), lambda at: known(points[at])):
        if is_known:
            yield [*numbers]


def _path(at: Iterable[int], values: Iterable[float], number: int, most: float) -> str:
    return "L".join(
        f"{each * WIDE / max(1, number - 1):.0f} {TALL - value / most * (TALL - 2) - 1:.0f}"
        for each, value in zip(at, values, strict=True)
    )


def _band_path(points: Sequence[HourExpectation], most: float) -> str:
    """Return the outline of the band: along its upper edge and back along the lower one."""
    found = ""
    for run in _runs(points, lambda each: None not in (each.expected, each.deviation)):
        there = _path(run, (_edge(points[at], 1) for at in run), len(points), most)
        back = _path(run[::-1], (_edge(points[at], -1) for at in run[::-1]), len(points), most)
        found += f"M{there}L{back}z"
    return found


def _line_path(points: Sequence[HourExpectation], most: float) -> str:
    found = ""
    for run in _runs(points, lambda each: each.engagement is not None):
        values = (points[at].engagement or 0.0 for at in run)
        found += f"M{_path(run, values, len(points), most)}" + ("h1" if len(run) == 1 else "")
    return found


def _engagement_text(hours: int, below: int, above: int, unknown: int) -> str:
    parts = [
        f"{number} {word}"
        for number, word in (
            (below, "below the expected range"),
            (above, "above it" if below else "above the expected range"),
            (unknown, "not judged"),
        )
        if number
    ]
    if unknown == hours:
        return "no hour is judged yet"
    return f"of {hours} hours {', '.join(parts)}" if parts else "every hour in the expected range"
