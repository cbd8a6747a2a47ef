"""What a series would have shown before its seam, from buckets; pure.

The *seam* is where the live series begins: no sample here is at or after it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.ledger.rules import settled_periods
from exporter.model.query import QuerySpec
from exporter.model.samples import Family, Window, ceil_to

Labels = tuple[tuple[str, str], ...]
Steps = list[tuple[int, float | None]]
"""Instants with the value that a series has from there to the next one; None: it is absent."""


@dataclass(frozen=True, slots=True)
class PastSeries:
    """One series and its values up to ``end_ms``, the seam; a counter was 0 at ``start_ms``."""

    family: Family
    labels: Labels
    steps: Steps
    end_ms: int
    start_ms: int | None = None

    def runs(self, step_ms: int, within: Window) -> Iterator[tuple[range, float]]:
        """Yield instants in ``within``, at most ``step_ms`` apart, and the value that they share."""
        ends = [at_ms for at_ms, _ in self.steps[1:]] + [self.end_ms]
        for (at_ms, value), end_ms in zip(self.steps, ends, strict=False):
            skipped = max(0, -(-(within.start_ms - at_ms) // step_ms))
            instants = range(at_ms + skipped * step_ms, min(end_ms, within.end_ms), step_ms)
            if value is not None and instants:
                yield instants, value


def labels_of(
    names: Iterable[str], values: Iterable[str], extra: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return the labels as a server stores them: sorted by name, without empty ones."""
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
    """Return the cumulative sum of ``buckets`` (start, units), which are sorted, at the end of each.

    It is 0 (``begins``) at the start of the first one, and never above ``most``. What a bucket that
    was open at the seam had by then is in its last instant.
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
    """Return by name which period is shown from which instant on, while hours of ``known`` are.

    That is as live: once it is settled.
    """
    step_ms, found = spec.granularity_ms, dict[str, list[tuple[int, Window]]]()
    if not (step_ms and spec.period_gauges):
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
    """Return the sum of each of ``periods`` over buckets by start; None where one is in a gap."""
    steps: Steps = []
    for at_ms, period in periods:
        blind = any(gap.start_ms < period.end_ms and gap.end_ms > period.start_ms for gap in gaps)
        starts = range(period.start_ms, period.end_ms, length_ms)
        steps.append((at_ms, None if blind else sum(sums.get(start, 0.0) for start in starts)))
    return steps
