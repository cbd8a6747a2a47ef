"""Computes from buckets what a series would have shown before its seam, without I/O.

The *seam* is where the live series begins: every sample here is older.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.engagement.expectation import WINDOWS, Expectation, learn
from exporter.engagement.hours import DAY_H, Calendar, HourlyCounts
from exporter.exposition.engagement import gauges_of, judged
from exporter.ledger.hours import BotLabels
from exporter.ledger.rules import settled_periods
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS, HOLIDAY
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, Family, Series, Window, ceil_to

Labels = tuple[tuple[str, str], ...]
Steps = list[tuple[int, float | None]]
"""Instants, each with the value of the series until the next one; None: absent."""
Gauges = dict[Series, "array[float]"]
"""Values by gauge and labels, one per hour; NaN: absent."""


@dataclass(frozen=True, slots=True)
class PastSeries:
    """One series and its values up to ``end_ms``, the seam; a counter was 0 at ``start_ms``."""

    family: Family
    labels: Labels
    steps: Steps
    end_ms: int
    start_ms: int | None = None

    def runs(self, step_ms: int, within: Window) -> Iterator[tuple[range, float]]:
        """Yield ranges of instants in ``within``, ``step_ms`` apart, with the value they share."""
        ends = [at_ms for at_ms, _ in self.steps[1:]] + [self.end_ms]
        for (at_ms, value), end_ms in zip(self.steps, ends, strict=False):
            skipped = max(0, -(-(within.start_ms - at_ms) // step_ms))
            instants = range(at_ms + skipped * step_ms, min(end_ms, within.end_ms), step_ms)
            if value is not None and instants:
                yield instants, value


def labels_of(
    names: Iterable[str], values: Iterable[str], extra: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return the labels as Prometheus stores them: sorted by name, without empty ones."""
    pairs = {**dict(zip(names, values, strict=True)), **extra}
    return tuple(sorted((name, value) for name, value in pairs.items() if value))


def counter_steps(
    buckets: Sequence[tuple[int, float]],
    length_ms: int,
    seam_ms: int,
    *,
    begins: float = 0.0,
    most: float = math.inf,
) -> Steps:
    """Return the cumulative sum of sorted ``buckets`` (start, units) at the end of each.

    It is ``begins`` at the start of the first bucket, and never above ``most``. The last instant
    includes what a bucket open at the seam held by then.
    """
    if not buckets:
        return []
    last_ms = seam_ms - 1
    grown: defaultdict[int, float] = defaultdict(float)
    for start_ms, units in buckets:
        grown[min(start_ms + length_ms, last_ms)] += units
    first_ms = min(buckets[0][0], last_ms - 1)
    total = shown = min(begins, most)
    steps: Steps = []
    for at_ms in sorted({*range(first_ms, last_ms, length_ms), *grown}):
        total += grown.get(at_ms, 0.0)
        shown = max(shown, min(total, most))
        steps.append((at_ms, shown))
    return steps


def shown_periods(spec: QuerySpec, known: Window) -> dict[str, list[tuple[int, Window]]]:
    """Return by name the periods within ``known``, each with the instant from which it is shown.

    As in live series, that is once the period has settled.
    """
    step_ms, found = spec.granularity_ms, dict[str, list[tuple[int, Window]]]()
    if not spec.period_gauges:
        return found
    until_ms = known.end_ms - spec.settle_ms
    for cursor_ms in range(ceil_to(known.start_ms, step_ms), until_ms, step_ms):
        for name, period in settled_periods(spec, cursor_ms, known.start_ms).items():
            shown = found.setdefault(name, [])
            if not shown or shown[-1][1] != period:
                shown.append((cursor_ms + spec.settle_ms, period))
    return found


def period_steps(
    sums: Mapping[int, float],
    periods: Iterable[tuple[int, Window]],
    length_ms: int,
    gaps: Sequence[Window] = (),
) -> Steps:
    """Return the sum of each of ``periods`` over buckets by start; None if it overlaps a gap."""
    steps: Steps = []
    for at_ms, period in periods:
        blind = any(gap.start_ms < period.end_ms and gap.end_ms > period.start_ms for gap in gaps)
        starts = range(period.start_ms, period.end_ms, length_ms)
        steps.append((at_ms, None if blind else sum(sums.get(start, 0.0) for start in starts)))
    return steps


def scaled(steps: Steps, per_unit: int) -> Steps:
    """Return ``steps`` in units of which each has ``per_unit`` parts."""
    return [(at_ms, value and value / per_unit) for at_ms, value in steps]


def shown_gauges(bot: BotLabels, calendar: Calendar) -> list[Series]:
    """Return the gauges of a bot, each with its labels."""
    windows = [(each.name, (*bot, f"{length}h")) for length in WINDOWS for each in ENGAGEMENT]
    holidays: list[Series] = [(HOLIDAY.name, bot)] if calendar.has_holidays else []
    return [(HISTORY_WEEKS.name, bot), *holidays, *windows]


def bot_gauges(bot: BotLabels, hours: HourlyCounts, calendar: Calendar) -> Gauges:
    """Return what a bot's gauges would have shown after each hour, from the hours up to then.

    The expectation is learnt once a day and applied each hour; a bot takes about a second.
    """
    found: Gauges = {each: array("d") for each in shown_gauges(bot, calendar)}
    for expectation, known in _learnt(hours, calendar):
        samples = gauges_of(judged(bot, known, expectation, calendar))
        shown = {(each.family, each.labels): each.value for each in samples}
        for gauge, values in found.items():
            values.append(shown.get(gauge, math.nan))
    return found


def _learnt(
    hours: HourlyCounts, calendar: Calendar
) -> Iterator[tuple[Expectation | None, HourlyCounts]]:
    """Yield the hours up to each one, with the expectation learnt by then."""
    expectation: Expectation | None = None
    learnt = 0
    for number in range(1, len(hours.counts) + 1):
        known = HourlyCounts(hours.start_ms, hours.counts[:number])
        if expectation is None or number - learnt >= DAY_H:
            expectation, learnt = learn(known, calendar), number
        yield expectation, known


def gauge_steps(values: Sequence[float], first_ms: int) -> Steps:
    """Return the steps of a gauge with hourly ``values``, the first one shown at ``first_ms``."""
    return [
        (first_ms + number * HOUR_MS, None if math.isnan(value) else value)
        for number, value in enumerate(values)
    ]
