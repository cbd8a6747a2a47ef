"""Writes timestamped OpenMetrics text for ``promtool tsdb create-blocks-from openmetrics``."""

from collections.abc import Callable
from dataclasses import dataclass

from exporter.exposition.backfill.past import PastSeries
from exporter.exposition.backfill.source import Families
from exporter.exposition.blocks import header
from exporter.format import number, render_labels
from exporter.model.samples import HOUR_MS, SECOND_MS, Window

NEWEST_MS = 3 * HOUR_MS
"""A file ends this long before now: newer samples may be in the head of a running Prometheus."""
END = "# EOF\n"


@dataclass(slots=True)
class Written:
    """How much was written."""

    series: int = 0
    samples: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        """Return the numbers as text."""
        return f"{self.samples} samples of {self.series} series, {self.bytes} bytes"


def write(
    families: Families,
    step_ms: int,
    within: Window,
    put: Callable[[str], object],
    advance: Callable[[int], None],
) -> Written:
    """Write all samples in ``within``: families contiguous, instants of a series in order.

    The same past gives the same bytes. ``advance`` is called with the number of series done.
    """
    written = Written()

    def say(text: str) -> None:
        put(text)
        written.bytes += len(text.encode())

    for family, every in families:
        head = header(family, openmetrics=True).decode()
        for found in every:
            past = found.load()
            lines, number_of = _lines(past, step_ms, within)
            if number_of:
                say(head + lines)
                head = ""
                written.series += 1
                written.samples += number_of
            advance(1)
    say(END)
    return written


def _lines(past: PastSeries, step_ms: int, within: Window) -> tuple[str, int]:
    names, values = zip(*past.labels, strict=True)
    series = f"{past.family.name}{render_labels(names, values)}"
    text, count = [], 0
    for instants, value in past.runs(step_ms, within):
        start = f"{series} {number(value)} "
        text += [f"{start}{_seconds(at_ms)}\n" for at_ms in instants]
        count += len(instants)
    return "".join(text), count


def _seconds(at_ms: int) -> str:
    whole, rest = divmod(at_ms, SECOND_MS)
    return f"{whole}.{rest:03}" if rest else str(whole)
