"""Expected engagement as it would have been shown: learnt each day, judged each hour; pure."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from math import isnan, nan

from exporter.engagement.expectation import WINDOWS, Expectation, judge, learn
from exporter.engagement.hours import DAY_H, Calendar, HourlyCounts
from exporter.exposition.backfill.past import Steps
from exporter.exposition.engagement import DIGITS, weeks_known
from exporter.model.families import ENGAGEMENT, HISTORY_WEEKS, HOLIDAY
from exporter.model.samples import HOUR_MS, Series

Gauges = dict[Series, "array[float]"]
"""Values by gauge and labels, one for each hour; not a number: it is absent."""


def shown_gauges(labels: Sequence[str], calendar: Calendar) -> list[Series]:
    """Return the gauges of a bot, with their labels."""
    own = tuple(labels)
    windows = [(each.name, (*own, f"{length}h")) for length in WINDOWS for each in ENGAGEMENT]
    holidays = [(HOLIDAY.name, own)] if calendar.has_holidays else []
    return [(HISTORY_WEEKS.name, own), *holidays, *windows]


def gauges(labels: Sequence[str], hours: HourlyCounts, calendar: Calendar) -> Gauges:
    """Return what the gauges of a bot showed after each hour, had no later one been known.

    A bot takes about a second.
    """
    own = tuple(labels)
    found: Gauges = {each: array("d") for each in shown_gauges(labels, calendar)}
    if calendar.has_holidays:
        found[HOLIDAY.name, own].extend(day is not None for day in calendar.holidays(hours))
    for expectation, known in _learnt(hours, calendar):
        weeks = weeks_known(known, expectation)
        found[HISTORY_WEEKS.name, own].append(round(weeks, DIGITS))
        scores = judge(expectation, known, calendar) if expectation else {}
        for length in WINDOWS:
            values = astuple(scores[length]) if length in scores else (nan,) * len(ENGAGEMENT)
            for family, value in zip(ENGAGEMENT, values, strict=True):
                found[family.name, (*own, f"{length}h")].append(round(value, DIGITS))
    return found


def _learnt(
    hours: HourlyCounts, calendar: Calendar
) -> Iterator[tuple[Expectation | None, HourlyCounts]]:
    """Yield the hours up to each one, with what had been learnt by then."""
    expectation: Expectation | None = None
    learnt = 0
    for number in range(1, len(hours.counts) + 1):
        known = HourlyCounts(hours.start_ms, hours.counts[:number])
        if expectation is None or number - learnt >= DAY_H:
            expectation, learnt = learn(known, calendar), number
        yield expectation, known


def steps(values: Sequence[float], first_ms: int) -> Steps:
    """Return what a gauge showed from each hour on; the first was shown at ``first_ms``."""
    return [
        (first_ms + number * HOUR_MS, None if isnan(value) else value)
        for number, value in enumerate(values)
    ]
