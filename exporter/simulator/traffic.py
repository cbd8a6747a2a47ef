"""What really happened: the truth that a simulator shows in its vendor's format."""

import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from itertools import chain, count, islice

from exporter.simulator.conversations import (
    CHANNELS,
    DAY_MS,
    HOUR_MS,
    LATEST_MS,
    Kind,
    Occurrence,
    conversation,
    known_users,
    occurrences,
    returning_user,
)

Window = tuple[int, int]
"""A half-open range of UTC milliseconds."""

ACTIVE_MS = 30 * DAY_MS
HourlySums = Counter[tuple[int, *tuple[str, ...]]]
"""Sums by start of the hour and attribute values."""

_Values = tuple[str, ...]
_Attributes = tuple[tuple[str, str], ...]

SIZE = 24
"""Distinct conversations, and users, in an hour."""
ONE_LATE_OF = 50
USER = "user"
CROWD_LATEST_MS = 10 * 60_000
"""The longest delay of late records."""
GREETINGS = (Kind.NEW_USER, Kind.RETURNING_USER)
_Template = Mapping[Kind, list[tuple[int, Occurrence]]]


@dataclass(eq=False)
class Traffic:
    """A log of occurrences: generated hour by hour from a seed, scripted by ``add``, or both.

    Only a small cache of generated hours is kept; generating an hour again gives the same hour.
    ``seed=None`` generates nothing. ``per_hour`` is the mean number of conversations, each of which
    has about a dozen occurrences. ``late_share`` of the generated records become visible 1 to 90
    minutes after they happened, the others at once. A ``crowd`` generates the hours instead.
    """

    seed: int | None = None
    _: KW_ONLY
    per_hour: float = 40
    late_share: float = 0.02
    crowd: "Crowd | None" = None

    def __post_init__(self) -> None:
        self._latest_ms = LATEST_MS if self.crowd is None else self.crowd.latest_ms
        self._generates = self.seed is not None or self.crowd is not None
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
        """Hide occurrences from ``at_ms`` on: the vendor revises its counts downwards."""
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
        if self.crowd is not None:  # nothing is generated while it is hidden
            last = min(last, (as_of_ms - self.crowd.delay_ms) // HOUR_MS + 1)
        generated = self._generated(kind, first - 1, last)  # a conversation may cross the hour
        for occurrence in chain(scripted, generated):
            if (
                start_ms <= occurrence.at_ms < end_ms
                and self._shows(occurrence, as_of_ms)
                and all(occurrence.get(name) == value for name, value in wanted)
            ):
                yield occurrence

    def truth(self, kind: Kind, window: Window, as_of_ms: int, **attributes: str) -> int:
        """Return the sum of the amounts, which for most kinds is how often it happened."""
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
            elif self.crowd is not None and part == (hour_ms, hour_ms + HOUR_MS):
                totals = self.crowd.totals(hour_ms // HOUR_MS, kind, by, wanted)
            if totals is None:
                totals = self._settled_totals(kind, part, settled_ms, by, wanted)
            for values, total in totals.items():
                sums[hour_ms, *values] += total
        return sums

    def active_users(self, end_ms: int, as_of_ms: int) -> int:
        """Return a 30-day level: the users who were new in the 30 days before ``end_ms``.

        Counting returning users would need a replay of the 30 days.
        """
        before = self.known_users(end_ms - ACTIVE_MS, as_of_ms)
        return self.known_users(end_ms, as_of_ms) - before

    def known_users(self, end_ms: int, as_of_ms: int) -> int:
        """Return how many users were known before ``end_ms``, as visible at ``as_of_ms``."""
        long_ago = (min(end_ms, as_of_ms) - self._latest_ms) // HOUR_MS - 1
        last = -(-end_ms // HOUR_MS)
        base = (
            known_users(long_ago, SIZE if self.crowd else self.per_hour) if self._generates else 0
        )
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
            if self.crowd is not None:
                yield from self.crowd.records(hour, kind)
            elif self.seed is not None:
                found = _occurrences(self.seed, hour, self.per_hour, self.late_share)
                yield from found.get(kind, ())


# More hours than the week that queries read one after another: a smaller cache would never hit.
@lru_cache(maxsize=200)
def _occurrences(
    seed: int, hour: int, per_hour: float, late_share: float
) -> Mapping[Kind, list[Occurrence]]:
    found: defaultdict[Kind, list[Occurrence]] = defaultdict(list)
    for occurrence in occurrences(seed, hour, per_hour, late_share):
        found[occurrence.kind].append(occurrence)
    return dict(found)


@dataclass(eq=False)
class Crowd:
    """Hours of ``volume(hour)`` conversations on average, with hours counted since 1970.

    In hours that are not settled at ``live_ms``, every conversation has its own occurrences, spread
    evenly. In earlier hours, one occurrence stands for all repetitions (``amount``), so that five
    weeks take a second. The sums of an hour are the same either way. ``delay_ms`` is how late the
    vendor shows everything, ``channels`` the number of channels.
    """

    seed: int
    volume: Callable[[int], float]
    _: KW_ONLY
    live_ms: int
    delay_ms: int = 0
    channels: int = len(CHANNELS)

    def __post_init__(self) -> None:
        self.latest_ms = CROWD_LATEST_MS + self.delay_ms
        self._live_hour = (self.live_ms - self.latest_ms) // HOUR_MS
        self._template = _template(self.seed, set(CHANNELS[: self.channels]))
        self._often = lru_cache(maxsize=1000)(self._often_of)
        self._contexts = lru_cache(maxsize=200)(self._contexts_of)
        self._live = lru_cache(maxsize=200)(lambda hour, kind: [*self._unfolded(hour, kind)])
        self._sums = lru_cache(maxsize=500)(self._sums_of)

    def records(self, hour: int, kind: Kind) -> Iterator[Occurrence]:
        """Yield what happened in an hour."""
        yield from self._live(hour, kind) if hour >= self._live_hour else self._summed(hour, kind)

    def totals(
        self, hour: int, kind: Kind, by: _Values, wanted: _Attributes
    ) -> Mapping[_Values, int] | None:
        """Return the sums of a settled hour; None if they must be added up."""
        if kind in GREETINGS or "conversation" in by:
            return None
        often, sums = self._often(hour), self._sums(kind, by, wanted)
        if USER not in by:
            return {values: often * total for (_, values), total in sums.items()}
        totals: Counter[_Values] = Counter()
        contexts = self._contexts(hour)
        for (index, values), total in sums.items():
            user = contexts[index][USER]
            totals[tuple(user if value is USER else value for value in values)] += often * total
        return totals

    def _often_of(self, hour: int) -> int:
        """Return how often each conversation takes place in an hour."""
        mean = self.volume(hour)
        rng = random.Random(f"{self.seed}/{hour}")  # noqa: S311 - scripted traffic
        return max(1, round(rng.gauss(mean, mean**0.5) / SIZE))

    def _summed(self, hour: int, kind: Kind) -> Iterator[Occurrence]:
        often, new, contexts = self._often(hour), self._new_users(hour), self._contexts(hour)
        for index, one in self._pattern(kind):
            amount = often * one.amount
            if kind in GREETINGS:
                amount = int(index < new) if kind is Kind.NEW_USER else often - int(index < new)
            if amount:
                at_ms = hour * HOUR_MS + min(one.at_ms, HOUR_MS - 1)
                shown_ms, source = at_ms + self.delay_ms, f"{self.seed}-{hour}-{index}"
                yield Occurrence(
                    *(source, one.number, at_ms, kind, shown_ms, contexts[index]),
                    detail=one.detail,
                    amount=amount,
                )

    def _unfolded(self, hour: int, kind: Kind) -> Iterator[Occurrence]:
        total, new, contexts = self._often(hour) * SIZE, self._new_users(hour), self._contexts(hour)
        for index, one in self._pattern(kind):
            for number in range(index, total, SIZE):
                if kind in GREETINGS and (number < new) != (kind is Kind.NEW_USER):
                    continue
                source = f"{self.seed}-{hour}-{number}"
                chance = zlib.crc32(f"{source}/{one.number}".encode())
                begin_ms = (number + zlib.crc32(source.encode()) % 100 / 100) / total * HOUR_MS
                at_ms = hour * HOUR_MS + min(round(begin_ms) + one.at_ms, HOUR_MS - 1)
                lag_ms = 0 if chance % ONE_LATE_OF else chance % CROWD_LATEST_MS
                shown_ms = at_ms + self.delay_ms + lag_ms
                context = {**contexts[index], "conversation": source}
                yield Occurrence(
                    *(source, one.number, at_ms, kind, shown_ms, context),
                    detail=one.detail,
                    amount=one.amount,
                )

    def _pattern(self, kind: Kind) -> list[tuple[int, Occurrence]]:
        return self._template[Kind.RETURNING_USER if kind in GREETINGS else kind]

    def _sums_of(
        self, kind: Kind, by: _Values, wanted: _Attributes
    ) -> Counter[tuple[int, _Values]]:
        """Return the sums of the template, by index with ``USER`` in place of a requested user."""
        sums: Counter[tuple[int, _Values]] = Counter()
        for index, one in self._template[kind]:
            if all(one.get(name) == value for name, value in wanted):
                values = tuple(USER if name == USER else one.get(name) for name in by)
                sums[index if USER in by else 0, values] += one.amount
        return sums

    def _new_users(self, hour: int) -> int:
        return known_users(hour + 1, SIZE) - known_users(hour, SIZE)

    def _contexts_of(self, hour: int) -> list[Mapping[str, str]]:
        rng = random.Random(f"{self.seed}/{hour}/users")  # noqa: S311 - scripted traffic
        known, new = known_users(hour, SIZE), self._new_users(hour)
        return [
            {
                **start.context,
                "user": f"user-{known + index if index < new else returning_user(rng, known, SIZE)}",
                "conversation": f"{self.seed}-{hour}-{index}",
            }
            for index, start in self._template[Kind.CONVERSATION_STARTED]
        ]


def _template(seed: int, channels: Collection[str]) -> _Template:
    """Return the occurrences of ``SIZE`` numbered conversations, in which all kinds occur."""
    for attempt in count():
        every = ([*conversation(f"{seed}/{attempt}/{number}", 0, "")] for number in count())
        fitting = (each for each in every if each[0].context["channel"] in channels)
        found: defaultdict[Kind, list[tuple[int, Occurrence]]] = defaultdict(list)
        for index, happened in enumerate(islice(fitting, SIZE)):
            for occurrence in happened:
                found[occurrence.kind].append((index, occurrence))
        if len(found) == len(Kind) - 1:  # without new users
            return found
    raise AssertionError
