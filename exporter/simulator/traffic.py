"""What really happened: the truth that a simulator shows in its vendor's words."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain

from exporter.simulator.conversations import (
    LATEST_MS,
    Kind,
    Occurrence,
    conversation_starts,
    known_users,
    occurrences_of,
)
from exporter.simulator.crowd import SIZE, Crowd
from exporter.simulator.times import DAY_MS, HOUR_MS

Window = tuple[int, int]
"""A half-open range of UTC milliseconds."""

ACTIVE_MS = 30 * DAY_MS
HourlySums = Counter[tuple[int, *tuple[str, ...]]]
"""Sums by start of the hour and attribute values."""

_Values = tuple[str, ...]
_Attributes = tuple[tuple[str, str], ...]


class Traffic:
    """A log of occurrences: generated hour by hour from a seed, scripted by ``add``, or both.

    Of generated hours only a small cache is kept, and an hour asked again is the same hour.
    ``seed=None`` generates nothing. ``per_hour`` is the mean number of conversations; each has
    about a dozen occurrences. ``late_share`` of the generated records
    become visible between 1 and 90 minutes after they happened, the others at once. A ``crowd``
    generates the hours in their place.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        per_hour: float = 40,
        late_share: float = 0.02,
        crowd: Crowd | None = None,
    ) -> None:
        self._seed = seed
        self._crowd = crowd
        self._latest_ms = LATEST_MS if crowd is None else crowd.latest_ms
        self._generates = seed is not None or crowd is not None
        self._per_hour = per_hour if crowd is None else SIZE
        self._late_share = late_share
        self._added: defaultdict[int, list[Occurrence]] = defaultdict(list)
        self._gone: dict[str, int] = {}
        self._changed_hours: set[int] = set()
        self._numbers = 0
        self._settled_totals = lru_cache(maxsize=40_000)(self._totals)

    def add(
        self,
        kind: Kind,
        at_ms: int,
        *,
        count: int = 1,
        amount: int = 1,
        visible_ms: int | None = None,
        **attributes: str,
    ) -> list[Occurrence]:
        """Script ``count`` equal occurrences; they are visible at once by default."""
        shown_ms = at_ms if visible_ms is None else visible_ms
        new = []
        for _ in range(count):
            self._numbers += 1
            number = self._numbers
            new.append(Occurrence("added", number, at_ms, kind, shown_ms, attributes, {}, amount))
        self._added[at_ms // HOUR_MS] += new
        self._changed_hours.add(at_ms // HOUR_MS)
        return new

    def retract(self, gone: Iterable[Occurrence], at_ms: int) -> None:
        """Let occurrences vanish from ``at_ms`` on: the vendor revises its counts downward."""
        for occurrence in gone:
            self._gone[occurrence.id] = at_ms
            self._changed_hours.add(occurrence.at_ms // HOUR_MS)

    def records(
        self, kind: Kind, window: Window, as_of_ms: int, **attributes: str
    ) -> Iterator[Occurrence]:
        """Yield what happened in the window and was visible at ``as_of_ms``, in no order."""
        start_ms, end_ms = window
        wanted = attributes.items()
        first, last = start_ms // HOUR_MS, -(-min(end_ms, as_of_ms + 1) // HOUR_MS)
        scripted = self._scripted(kind, first, last)
        if self._crowd is not None:  # of what is hidden yet, nothing is made
            last = min(last, (as_of_ms - self._crowd.delay_ms) // HOUR_MS + 1)
        generated = self._generated(kind, first - 1, last)  # a conversation may cross the hour
        for occurrence in chain(scripted, generated):
            if (
                start_ms <= occurrence.at_ms < end_ms
                and self._shows(occurrence, as_of_ms)
                and all(occurrence.get(name) == value for name, value in wanted)
            ):
                yield occurrence

    def truth(self, kind: Kind, window: Window, as_of_ms: int, **attributes: str) -> int:
        """Return the sum of the amounts: for most kinds, how often it happened."""
        return sum(one.amount for one in self.records(kind, window, as_of_ms, **attributes))

    def hourly(
        self,
        kind: Kind,
        window: Window,
        as_of_ms: int,
        *,
        by: tuple[str, ...] = (),
        **attributes: str,
    ) -> HourlySums:
        """Return sums of amounts by ``(start of the hour, *values of the attributes in by)``."""
        start_ms, end_ms = window
        wanted = tuple(sorted(attributes.items()))
        sums: HourlySums = Counter()
        hours: Iterable[int] = range(start_ms // HOUR_MS, -(-end_ms // HOUR_MS))
        if not self._generates:
            hours = sorted(self._added.keys() & set(hours))
        for hour_ms in (hour * HOUR_MS for hour in hours):
            part = (max(hour_ms, start_ms), min(hour_ms + HOUR_MS, end_ms))
            settled_ms = part[1] + self._latest_ms
            totals: Mapping[_Values, int] | None = None
            if hour_ms // HOUR_MS in self._changed_hours or as_of_ms < settled_ms:
                totals = self._totals(kind, part, as_of_ms, by, wanted)
            elif self._crowd is not None and part == (hour_ms, hour_ms + HOUR_MS):
                totals = self._crowd.totals(hour_ms // HOUR_MS, kind, by, wanted)
            if totals is None:
                totals = self._settled_totals(kind, part, settled_ms, by, wanted)
            for values, total in totals.items():
                sums[hour_ms, *values] += total
        return sums

    def active_users(self, end_ms: int, as_of_ms: int) -> int:
        """Return a level of 30 days: the users who were new in those before ``end_ms``.

        Those who came back would have to be counted in a replay of the 30 days.
        """
        before = self.known_users(end_ms - ACTIVE_MS, as_of_ms)
        return self.known_users(end_ms, as_of_ms) - before

    def known_users(self, end_ms: int, as_of_ms: int) -> int:
        """Return how many users had ever been new before ``end_ms``, as visible at ``as_of_ms``."""
        long_ago = (min(end_ms, as_of_ms) - self._latest_ms) // HOUR_MS - 1
        last = -(-end_ms // HOUR_MS)
        base = known_users(long_ago, self._per_hour) if self._generates else 0
        generated = self._generated(Kind.NEW_USER, long_ago, last)
        scripted = self._scripted(Kind.NEW_USER, 0, last)
        return base + sum(
            one.at_ms < end_ms and self._shows(one, as_of_ms) for one in (*generated, *scripted)
        )

    def _totals(
        self, kind: Kind, window: Window, as_of_ms: int, by: _Values, wanted: _Attributes
    ) -> Counter[_Values]:
        totals: Counter[_Values] = Counter()
        for one in self.records(kind, window, as_of_ms, **dict(wanted)):
            totals[tuple(one.get(name) for name in by)] += one.amount
        return totals

    def _shows(self, occurrence: Occurrence, as_of_ms: int) -> bool:
        gone_ms = self._gone.get(occurrence.id) if self._gone else None
        return occurrence.visible_ms <= as_of_ms and (gone_ms is None or as_of_ms < gone_ms)

    def _scripted(self, kind: Kind, first: int, last: int) -> Iterator[Occurrence]:
        for hour, added in self._added.items():
            if first <= hour < last:
                yield from (one for one in added if one.kind is kind)

    def _generated(self, kind: Kind, first: int, last: int) -> Iterator[Occurrence]:
        for hour in range(first, last):
            if self._crowd is not None:
                yield from self._crowd.records(hour, kind)
            elif self._seed is not None:
                found = _occurrences(self._seed, hour, self._per_hour, self._late_share)
                yield from found.get(kind, ())


# More hours than the week that queries read one after another: with fewer, none finds any of them.
@lru_cache(maxsize=200)
def _occurrences(
    seed: int, hour: int, per_hour: float, late_share: float
) -> Mapping[Kind, list[Occurrence]]:
    found: defaultdict[Kind, list[Occurrence]] = defaultdict(list)
    for start in conversation_starts(seed, hour, per_hour, late_share):
        for occurrence in occurrences_of(start, late_share):
            found[occurrence.kind].append(occurrence)
    return dict(found)
