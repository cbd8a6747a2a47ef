"""What really happened: the truth that a simulator shows in its vendor's words."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial

from exporter.simulator.conversations import (
    LATEST_MS,
    Kind,
    Occurrence,
    Opening,
    occurrences_of,
    openings,
)
from exporter.simulator.rhythm import DAY_MS, HOUR_MS, known_users

Window = tuple[int, int]
"""A half-open range of UTC milliseconds."""

ACTIVE_KINDS = (Kind.CONVERSATION_STARTED, Kind.MESSAGE_RECEIVED, Kind.MESSAGE_SENT)
Groups = Counter[tuple[int, *tuple[str, ...]]]
"""Sums by bucket start and attribute values."""

_Values = tuple[str, ...]
_Attributes = tuple[tuple[str, str], ...]
_BY_KIND = dict[Kind, list[Occurrence]]


class Traffic:
    """A log of occurrences: generated hour by hour from a seed, scripted by ``add``, or both.

    Nothing is kept of a generated hour but what a small cache holds, and an hour asked again is
    the same hour. ``seed=None`` generates nothing. ``per_hour`` is the mean number of
    conversations; each has about a dozen occurrences. ``late_share`` of the generated records
    become visible between 1 and 90 minutes after they happened, the others at once.
    """

    def __init__(
        self, seed: int | None = None, *, per_hour: float = 40, late_share: float = 0.02
    ) -> None:
        self._seed = seed
        self._per_hour = per_hour
        self._late_share = late_share
        self._added: defaultdict[int, list[Occurrence]] = defaultdict(list)
        self._gone: dict[str, int] = {}
        self._numbers = 0
        # More hours than the widest read in turn goes over: with fewer, each would find none of them.
        self._hour = lru_cache(maxsize=96)(self._generate)
        self._opened = lru_cache(maxsize=200)(self._open)
        self._final = lru_cache(maxsize=20_000)(self._hourly_counts)
        self._settled = lru_cache(maxsize=500)(self._count_active)
        self._faces = lru_cache(maxsize=1000)(self._meet)

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
        return new

    def retract(self, gone: Iterable[Occurrence], at_ms: int) -> None:
        """Let occurrences vanish from ``at_ms`` on: the vendor revises its counts downward."""
        self._gone.update((occurrence.id, at_ms) for occurrence in gone)

    def records(
        self, kind: Kind, window: Window, as_of_ms: int, **attributes: str
    ) -> Iterator[Occurrence]:
        """Yield what happened in the window and was visible at ``as_of_ms``, in no order."""
        start_ms, end_ms = window
        wanted = attributes.items()
        for occurrence in self._near(kind, start_ms, min(end_ms, as_of_ms + 1)):
            if (
                start_ms <= occurrence.at_ms < end_ms
                and self._shows(occurrence, as_of_ms)
                and all(occurrence.get(name) == value for name, value in wanted)
            ):
                yield occurrence

    def truth(self, kind: Kind, window: Window, as_of_ms: int, **attributes: str) -> int:
        """Return the sum of the amounts: for most kinds, how often it happened."""
        return sum(one.amount for one in self.records(kind, window, as_of_ms, **attributes))

    def grouped(
        self,
        kind: Kind,
        window: Window,
        as_of_ms: int,
        *,
        by: tuple[str, ...] = (),
        bucket_ms: int | None = None,
        **attributes: str,
    ) -> Groups:
        """Return sums of amounts by ``(bucket start, *values of the attributes in by)``.

        Buckets start at multiples of ``bucket_ms`` since 1970; without one there is one bucket,
        which has the window's start.
        """
        wanted = tuple(sorted(attributes.items()))
        if bucket_ms is None:
            counts = self._hourly_counts(kind, window, as_of_ms, by, wanted)
            return Counter({(window[0], *values): count for values, count in counts.items()})
        sums: Groups = Counter()
        for bucket, part in _cut(window, bucket_ms):
            for values, count in self._tallied(kind, part, as_of_ms, by, wanted).items():
                sums[bucket, *values] += count
        return sums

    def distinct(
        self, name: str, kind: Kind, window: Window, as_of_ms: int, **attributes: str
    ) -> set[str]:
        """Return the different values of an attribute, such as ``user``."""
        return {one.get(name) for one in self.records(kind, window, as_of_ms, **attributes)}

    def active_users(self, end_ms: int, as_of_ms: int, span_ms: int = 30 * DAY_MS) -> int:
        """Return how many users were active in the ``span_ms`` before ``end_ms``.

        A scripted user is active by a conversation or a message, a generated one by the start of
        a conversation.
        """
        settled_ms = end_ms + LATEST_MS
        if self._added or as_of_ms < settled_ms:
            return self._count_active(end_ms, as_of_ms, span_ms)
        return self._settled(end_ms, settled_ms, span_ms)

    def known_users(self, end_ms: int, as_of_ms: int) -> int:
        """Return how many users had ever been new before ``end_ms``, as visible at ``as_of_ms``."""
        long_ago = min(end_ms, as_of_ms) // HOUR_MS - 3
        base = 0 if self._seed is None else known_users(long_ago, self._per_hour)
        recent = (one for one in self._generated(Kind.NEW_USER, long_ago, -(-end_ms // HOUR_MS)))
        scripted = self._scripted(Kind.NEW_USER, 0, -(-end_ms // HOUR_MS))
        return base + sum(
            one.at_ms < end_ms and self._shows(one, as_of_ms) for one in (*recent, *scripted)
        )

    def _tallied(
        self, kind: Kind, window: Window, as_of_ms: int, by: _Values, wanted: _Attributes
    ) -> Counter[_Values]:
        settled_ms = window[1] + LATEST_MS
        if self._added or self._gone or as_of_ms < settled_ms:
            return self._hourly_counts(kind, window, as_of_ms, by, wanted)
        return self._final(kind, window, settled_ms, by, wanted)

    def _hourly_counts(
        self, kind: Kind, window: Window, as_of_ms: int, by: _Values, wanted: _Attributes
    ) -> Counter[_Values]:
        counts: Counter[_Values] = Counter()
        for one in self.records(kind, window, as_of_ms, **dict(wanted)):
            counts[tuple(one.get(name) for name in by)] += one.amount
        return counts

    def _count_active(self, end_ms: int, as_of_ms: int, span_ms: int) -> int:
        start_ms = end_ms - span_ms
        window = (start_ms, end_ms)
        users: set[str] = set()
        for kind in ACTIVE_KINDS:
            users |= {
                one.get("user")
                for one in self._scripted(kind, start_ms // HOUR_MS, -(-end_ms // HOUR_MS))
                if start_ms <= one.at_ms < end_ms and self._shows(one, as_of_ms)
            }
        return len(users.union(*self._generated_users(window, as_of_ms)))

    def _shows(self, occurrence: Occurrence, as_of_ms: int) -> bool:
        gone_ms = self._gone.get(occurrence.id) if self._gone else None
        return occurrence.visible_ms <= as_of_ms and (gone_ms is None or as_of_ms < gone_ms)

    def _near(self, kind: Kind, start_ms: int, end_ms: int) -> Iterator[Occurrence]:
        first, last = start_ms // HOUR_MS, -(-end_ms // HOUR_MS)
        yield from self._scripted(kind, first, last)
        yield from self._generated(kind, first - 1, last)  # a conversation may cross the hour

    def _scripted(self, kind: Kind, first: int, last: int) -> Iterator[Occurrence]:
        for hour, added in self._added.items():
            if first <= hour < last:
                yield from (one for one in added if one.kind is kind)

    def _generated(self, kind: Kind, first: int, last: int) -> Iterator[Occurrence]:
        if self._seed is not None:
            for hour in range(first, last):
                yield from self._hour(hour).get(kind, ())

    def _generate(self, hour: int) -> _BY_KIND:
        found: defaultdict[Kind, list[Occurrence]] = defaultdict(list)
        for opening in self._opened(hour):
            for occurrence in occurrences_of(opening, self._late_share):
                found[occurrence.kind].append(occurrence)
        return dict(found)

    def _open(self, hour: int) -> list[Opening]:
        if self._seed is None:
            return []
        return openings(self._seed, hour, self._per_hour, self._late_share)

    def _meet(self, hour: int) -> frozenset[str]:
        return frozenset(opening.user for opening in self._opened(hour))

    def _generated_users(self, window: Window, as_of_ms: int) -> Iterator[Iterable[str]]:
        if self._seed is None:
            return
        start_ms, end_ms = window
        inside = partial(_inside, start_ms, end_ms, as_of_ms)
        for hour in range(start_ms // HOUR_MS, -(-min(end_ms, as_of_ms + 1) // HOUR_MS)):
            begin_ms, finish_ms = hour * HOUR_MS, (hour + 1) * HOUR_MS
            if start_ms <= begin_ms and finish_ms <= min(end_ms, as_of_ms - LATEST_MS):
                yield self._faces(hour)  # settled: every opening shows
            else:
                yield {one.user for one in self._opened(hour) if inside(one)}


def _cut(window: Window, bucket_ms: int) -> Iterator[tuple[int, Window]]:
    start_ms, end_ms = window
    for bucket in range(start_ms // bucket_ms * bucket_ms, end_ms, bucket_ms):
        yield bucket, (max(bucket, start_ms), min(bucket + bucket_ms, end_ms))


def _inside(start_ms: int, end_ms: int, as_of_ms: int, opening: Opening) -> bool:
    return start_ms <= opening.at_ms < end_ms and opening.visible_ms <= as_of_ms
