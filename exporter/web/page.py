"""The status page: targets with their bots, then every query; it loads nothing from elsewhere.

Its small charts are SVG paths, each with a text alternative.
"""

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from itertools import groupby
from typing import Any

import jinja2

from exporter.engagement.expectation import HourExpectation
from exporter.format import age, render_labels, span, stamp
from exporter.ledger.rows import BudgetState
from exporter.model.samples import HOUR_MS, SECOND_MS
from exporter.status import (
    NOT_APPLIED,
    OK,
    UNUSUAL,
    AuditStatus,
    BotStatus,
    HistoryStatus,
    PollStatus,
    QueryStatus,
    State,
    Status,
    TargetStatus,
    Verdict,
)

TONES: dict[State | Verdict, str] = {
    State.OK: "good",
    State.NEVER_POLLED: "quiet",
    State.THROTTLED: "warn",
    State.QUARANTINED: "warn",
    State.STALLED: "bad",
    State.FAILING: "bad",
    State.CIRCUIT_OPEN: "bad",
    Verdict.EXPECTED: "good",
    Verdict.BELOW: "bad",
    Verdict.ABOVE: "warn",
    Verdict.NOT_JUDGED: "quiet",
}
PROBLEMS = {"warn", "bad"}
LEAST_WEEKS = 1
SLOTS = 30
SLOT_MS = HOUR_MS // SLOTS
BAR = 2
HEIGHT = 20
LEAST = 5
WIDE, TALL = 240, 56


def _asset(name: str) -> str:
    return resources.files("exporter.web").joinpath("templates", name).read_text("utf-8")


def hash_of(text: str) -> str:
    """Return the CSP source expression that allows the inline style or script ``text``."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("exporter.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _amount(value: float) -> str:
    return f"{round(value, 6):,}".removesuffix(".0")  # money has parts of a unit


def _parts(name: str) -> list[str]:
    """Return the parts of ``name`` between which a narrow column may break the line."""
    return re.split(r"(?<=[-/_.])", name)


TEMPLATES.filters |= {
    "age": age,
    "counted": _counted,
    "grouped": "{:,.0f}".format,
    "iso": lambda at_ms: datetime.fromtimestamp(at_ms // SECOND_MS, UTC).isoformat(),
    "parts": _parts,
    "span": span,
    "stamp": stamp,
}
STYLE = _asset("status.css")
_SCRIPT = _asset("status.js")
POLICY = (
    f"default-src 'none'; style-src {hash_of(STYLE)}; script-src {hash_of(_SCRIPT)}; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's content security policy: only its own style and script, by hash."""


def filled(template: str, **parts: Any) -> str:
    """Render ``template`` with ``parts`` and the common style."""
    return TEMPLATES.get_template(template).render(style=STYLE, **parts)


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of text about a target; ``tone`` is its colour, ``at_ms`` an instant at its end."""

    text: str
    tone: str = ""
    at_ms: int | None = None


def render(status: Status, *, target: str | None = None) -> str | None:
    """Return the page of all targets, or of one with its recent polls; None for an unknown one."""
    targets = [each for each in status.targets if target in (None, each.name)]
    if target is not None and not targets:
        return None
    rows = [(each, query) for each in targets for query in each.queries]
    bots = [bot for each in targets for bot in each.bots]
    return filled(
        "status.html",
        status=status,
        now=status.now_ms,
        target=target,
        targets=targets,
        rows=rows,
        tones=TONES,
        troubled={each.name for each in targets if _has_problem(each)},
        facts=_facts,
        judged=_judged,
        engagement_of=_engagement_of,
        draw_polls=draw_polls,
        not_applied=NOT_APPLIED,
        draw_engagement=draw_engagement,
        counts=_counts(State, Counter(query.state for _, query in rows)),
        verdicts=_counts(Verdict, Counter(bot.verdict for bot in bots)),
        script=_SCRIPT,
    )


def _counts(
    kinds: Iterable[State | Verdict], found: Mapping[Any, int]
) -> list[tuple[str, int, str]]:
    return [(kind, found[kind], TONES[kind]) for kind in kinds if found[kind]]


def _has_problem(target: TargetStatus) -> bool:
    shown: list[State | Verdict] = [
        *(q.state for q in target.queries),
        *(bot.verdict for bot in target.bots),
    ]
    return any(TONES[each] in PROBLEMS for each in shown)


def _facts(target: TargetStatus) -> Iterator[Fact]:
    """Yield the facts about a target, problems first."""
    queries = target.queries
    yield from (_error_fact(query) for query in queries if TONES[query.state] in PROBLEMS)
    if overhang := sum(query.overhang for query in queries):
        text = (
            f"{_amount(overhang)} counted, then taken back by the provider; later growth repays it"
        )
        yield Fact(text, "warn")
    if dropped := target.dropped_series:
        times = _counted(dropped, "time", "times")
        yield Fact(f"a label set was shortened, merged or dropped {times}", "warn")
    good = sum(query.state is State.OK for query in queries)
    yield Fact(f"{good} of {_counted(len(queries), 'query', 'queries')} ok")
    ends = [bot.end_ms for bot in target.bots] or [q.data_end_ms for q in queries if q.data_end_ms]
    yield Fact("data complete up to", at_ms=min(ends)) if ends else Fact("no data yet")
    if target.history:
        yield _history_fact(target.history)
    if target.audit:
        yield _audit_fact(target.audit)
    yield from (_budget_fact(query.budget) for query in queries if query.budget)


def _error_fact(query: QueryStatus) -> Fact:
    text, error = f"{query.name} {query.state}", query.last_error
    if error is None:
        return Fact(text, TONES[query.state])
    why = f"{error.sentence} ({error.reason}, {query.fail_streak} in a row)"
    return Fact(f"{text}: {why}", TONES[query.state], error.at_ms)


def _budget_fact(budget: BudgetState) -> Fact:
    text = f"{_counted(budget.tokens, 'call', 'calls')} left in the budget"
    later = "; the next" if budget.next_at_ms else ""
    return Fact(text + later, at_ms=budget.next_at_ms)


def _history_fact(history: HistoryStatus) -> Fact:
    text = f"reading history: {history.days_read} of {history.days} days"
    if history.hides_counters:
        text += "; counters are shown once it is read"
    if history.failing:
        return Fact(f"{text}; the last read failed, see the log", "warn")
    return Fact(text)


def _audit_fact(audit: AuditStatus) -> Fact:
    """Return whether the ledger agreed with the vendor; differences have been corrected since."""
    days = f"{audit.days_equal} of {_counted(audit.days, 'day', 'days')}"
    if audit.days_equal == audit.days:
        return Fact(f"agrees with the vendor: {days}, checked", "good", audit.at_ms)
    found = ", ".join(f"{name} by {_amount(units)}" for name, units in audit.difference.items())
    text = f"agreed with the vendor on {days}; corrected {found}, checked"
    return Fact(text, "warn", audit.at_ms)


def _judged(bot: BotStatus) -> str:
    """Return a sentence with the numbers behind the verdict, or why there is none."""
    if window := bot.window:
        seen, usual = f"{window.engagement:,.0f}", f"{window.expected:,.0f}"
        when = " It is a holiday." if bot.holiday else ""
        return f"{seen} in the last {window.hours} h; about {usual} is usual.{when}"
    if bot.late:
        return "The newest hour is overdue; judging resumes when it arrives."
    if bot.weeks < LEAST_WEEKS:
        days = math.floor(bot.weeks * 70) / 10
        return f"{days} days of history; judging starts at {LEAST_WEEKS * 7} days."
    return "Hours are missing in the newest window."


def _engagement_of(target: TargetStatus, bot: BotStatus) -> str:
    """Return the selector of the counters that a bot's engagement is computed from."""
    labels = {
        "target": target.name,
        "project": bot.project,
        "bot_environment": bot.environment,
    }
    exact = render_labels(tuple(labels), tuple(labels.values())).strip("{}")
    families = "messages_received|interactions|conversations_started"
    return f'{{__name__=~"chatbot_({families})_total",{exact}}}'


@dataclass(frozen=True, slots=True)
class PollChart:
    """Path data of the bars of failed and of other polls, and their text alternative.

    One bar covers two minutes. Its height is its longest poll relative to the longest of the hour;
    a single failure makes it a failed bar.
    """

    good: str
    failed: str
    text: str
    width: int = SLOTS * BAR
    height: int = HEIGHT


@dataclass(frozen=True, slots=True)
class EngagementChart:
    """Path data of the expected band and the engagement line, and their text alternative."""

    band: str
    line: str
    engagement: float
    text: str
    width: int = WIDE
    height: int = TALL


def draw_polls(polls: Iterable[PollStatus], now_ms: int) -> PollChart:
    """Return the chart of the ``polls`` that began in the hour before ``now_ms``."""
    recent = [poll for poll in polls if 0 <= now_ms - poll.at_ms < HOUR_MS]
    longest = max((poll.duration_s for poll in recent), default=0.0) or 1.0
    words = {OK: OK, **NOT_APPLIED}
    outcomes = Counter(words.get(poll.outcome, "failed") for poll in recent)
    tall: dict[int, float] = {}
    bad = set()
    for poll in recent:
        slot = SLOTS - 1 - (now_ms - poll.at_ms) // SLOT_MS
        tall[slot] = max(tall.get(slot, 0.0), poll.duration_s / longest)
        if poll.outcome not in words:
            bad.add(slot)
    return PollChart(
        good="".join(_bar(slot, share) for slot, share in tall.items() if slot not in bad),
        failed="".join(_bar(slot, share) for slot, share in tall.items() if slot in bad),
        text=_counted(len(recent), "poll", "polls")
        + "".join(f", {number} {word}" for word, number in sorted(outcomes.items()) if word != OK),
    )


def _bar(slot: int, share: float) -> str:
    height = LEAST + round(share * (HEIGHT - LEAST))
    return f"M{slot * BAR} {HEIGHT}v-{height}h{BAR - 0.5}v{height}z"


def draw_engagement(hours: Sequence[HourExpectation], step: int = 1) -> EngagementChart:
    """Return the chart of ``hours``, with one point for the mean of every ``step`` hours."""
    points = [_mean(hours[at : at + step]) for at in range(0, len(hours), step)]
    most = max((max(each.engagement or 0.0, _edge(each, 1)) for each in points), default=0.0) or 1.0
    judged = [each for each in hours if None not in (each.engagement, each.expected)]
    below = sum((each.engagement or 0.0) < _edge(each, -1) for each in judged)
    above = sum((each.engagement or 0.0) > _edge(each, 1) for each in judged)
    return EngagementChart(
        band=_band_path(points, most),
        line=_line_path(points, most),
        engagement=sum(each.engagement or 0.0 for each in hours),
        text=_engagement_text(len(hours), below, above, len(hours) - len(judged)),
    )


def _edge(hour: HourExpectation, side: int) -> float:
    """Return the upper (1) or lower (-1) edge of the band in which engagement is as expected."""
    return max(0.0, (hour.expected or 0.0) + side * UNUSUAL * (hour.deviation or 0.0))


def _mean(hours: Sequence[HourExpectation]) -> HourExpectation:
    """Return the mean of ``hours``; a field that is unknown in any of them is None."""

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
    """Yield runs of adjacent points that are known, as indexes."""
    for is_known, numbers in groupby(range(len(points)), lambda at: known(points[at])):
        if is_known:
            yield [*numbers]


def _path(at: Iterable[int], values: Iterable[float], number: int, most: float) -> str:
    return "L".join(
        f"{each * WIDE / max(1, number - 1):.0f} {TALL - value / most * (TALL - 2) - 1:.0f}"
        for each, value in zip(at, values, strict=True)
    )


def _band_path(points: Sequence[HourExpectation], most: float) -> str:
    """Return the outline of the band: along the upper edge and back along the lower one."""
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
    return f"{hours} hours: {', '.join(parts)}" if parts else "every hour in the expected range"
