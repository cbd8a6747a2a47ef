"""Series caps, pure: past a cap new label sets fold into ``other``, first come, first kept.

Source: ``metrics.md`` A.1. Folding happens before counting, so no unit is lost to a cap.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from exporter.model.samples import BASE, OTHER, CountRow, Family, GaugeRow, Series


@dataclass(slots=True)
class Room:
    """How many series a query may still add.

    ``known`` are the series that exist already and keep their place. ``per_family`` is what is
    left of each family's cap, ``in_target`` what is left of the target's, ``in_all`` of the cap on
    all targets together, before any was added here; it is asked only where a series is new.
    """

    known: Collection[Series]
    per_family: dict[str, int]
    in_target: int
    in_all: Callable[[], int] = lambda: sys.maxsize
    added: int = 0
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)

    def admit(self, series: Series, family: Family) -> bool:
        """Say whether ``series`` has or may take a place of its own; count it where it may not."""
        if series in self.known:
            return True
        left = self.per_family.setdefault(family.name, family.cap)
        full = self._full(left)
        if full is None:
            self.per_family[family.name] = left - 1
            self.in_target -= 1
            self.added += 1
            return True
        self.dropped[family.name, full] = self.dropped.get((family.name, full), 0) + 1
        return False

    def _full(self, left: int) -> str | None:
        """Return which limit a new series of a family with ``left`` places meets; None for none."""
        if self.in_target <= 0:
            return "target_limit"
        if left <= 0:
            return "family_limit"
        return "total_limit" if self.in_all() <= self.added else None


def overflow(series: Series, family: Family) -> Series:
    """Return the series that takes what has no place: labels beyond base are all ``other``.

    Where there are none, the project is.
    """
    names = family.labels[2:]
    folded = set(names) - set(BASE) or {"project"}
    pairs = zip(names, series[1], strict=True)
    return series[0], tuple(OTHER if name in folded else value for name, value in pairs)


def fold_counts(
    rows: Iterable[CountRow], families: Mapping[str, Family], room: Room
) -> dict[Series, dict[int, float]]:
    """Return the rows summed by series and bucket start, those without a place in ``other``."""
    folded: dict[Series, dict[int, float]] = {}
    places: dict[Series, dict[int, float]] = {}
    for series, start_ms, value in rows:
        buckets = places.get(series)
        if buckets is None:
            family = families[series[0]]
            place = series if room.admit(series, family) else overflow(series, family)
            buckets = places[series] = folded.setdefault(place, {})
        buckets[start_ms] = buckets.get(start_ms, 0.0) + value
    return folded


def keep_gauges(
    rows: Iterable[GaugeRow], families: Mapping[str, Family], room: Room
) -> list[GaugeRow]:
    """Return the rows that have a place; the others are dropped, since gauges do not add up."""
    return [row for row in rows if room.admit(row.series, families[row.series[0]])]
