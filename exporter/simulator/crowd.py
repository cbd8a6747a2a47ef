"""Busy traffic that costs little: each hour holds the same conversations, more or less often."""

import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from itertools import count, islice

from exporter.simulator.conversations import (
    CHANNELS,
    ConversationStart,
    Kind,
    Occurrence,
    known_users,
    occurrences_of,
    returning_user,
)
from exporter.simulator.times import HOUR_MS

SIZE = 24
"""Different conversations, and users, in an hour."""
ONE_LATE_OF = 50
USER = "user"
LATEST_MS = 10 * 60_000
"""How late the late ones are, at most."""
GREETINGS = (Kind.NEW_USER, Kind.RETURNING_USER)
_Values = tuple[str, ...]
_Attributes = tuple[tuple[str, str], ...]
_Template = Mapping[Kind, list[tuple[int, Occurrence]]]


class Crowd:
    """Hours of ``volume(hour)`` conversations on average, hours counted since 1970.

    In hours that are not settled at ``live_ms`` every conversation has its own occurrences, spread
    evenly; before, one occurrence stands for all repetitions (``amount``), so that five weeks take
    a second. The sums of an hour are the same either way. ``delay_ms``: how much later the vendor
    shows everything. ``channels``: how many there are.
    """

    def __init__(
        self,
        seed: int,
        volume: Callable[[int], float],
        *,
        live_ms: int,
        delay_ms: int = 0,
        channels: int = len(CHANNELS),
    ) -> None:
        self._seed = seed
        self._volume = volume
        self.delay_ms = delay_ms
        self.latest_ms = LATEST_MS + delay_ms
        self._live_hour = (live_ms - self.latest_ms) // HOUR_MS
        self._template = _template(seed, set(CHANNELS[:channels]))
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
        """Return the sums of a settled hour; None where they must be added up."""
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
        mean = self._volume(hour)
        rng = random.Random(f"{self._seed}/{hour}")  # noqa: S311 - scripted traffic
        return max(1, round(rng.gauss(mean, mean**0.5) / SIZE))

    def _summed(self, hour: int, kind: Kind) -> Iterator[Occurrence]:
        often, new, contexts = self._often(hour), self._new_users(hour), self._contexts(hour)
        for index, one in self._pattern(kind):
            amount = often * one.amount
            if kind in GREETINGS:
                amount = int(index < new) if kind is Kind.NEW_USER else often - int(index < new)
            if amount:
                at_ms = hour * HOUR_MS + min(one.at_ms, HOUR_MS - 1)
                shown_ms, source = at_ms + self.delay_ms, f"{self._seed}-{hour}-{index}"
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
                source = f"{self._seed}-{hour}-{number}"
                chance = zlib.crc32(f"{source}/{one.number}".encode())
                begin_ms = (number + zlib.crc32(source.encode()) % 100 / 100) / total * HOUR_MS
                at_ms = hour * HOUR_MS + min(round(begin_ms) + one.at_ms, HOUR_MS - 1)
                lag_ms = 0 if chance % ONE_LATE_OF else chance % LATEST_MS
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
        """Return the sums of the template, with ``USER`` where a user is asked for, by index."""
        sums: Counter[tuple[int, _Values]] = Counter()
        for index, one in self._template[kind]:
            if all(one.get(name) == value for name, value in wanted):
                values = tuple(USER if name == USER else one.get(name) for name in by)
                sums[index if USER in by else 0, values] += one.amount
        return sums

    def _new_users(self, hour: int) -> int:
        return known_users(hour + 1, SIZE) - known_users(hour, SIZE)

    def _contexts_of(self, hour: int) -> list[Mapping[str, str]]:
        rng = random.Random(f"{self._seed}/{hour}/users")  # noqa: S311 - scripted traffic
        known, new = known_users(hour, SIZE), self._new_users(hour)
        return [
            {
                **start.context,
                "user": f"user-{known + index if index < new else returning_user(rng, known, SIZE)}",
                "conversation": f"{self._seed}-{hour}-{index}",
            }
            for index, start in self._template[Kind.CONVERSATION_STARTED]
        ]


def _template(seed: int, channels: Collection[str]) -> _Template:
    """Return what happens in ``SIZE`` conversations, with the number of each; all kinds occur."""
    for attempt in count():
        starts = (
            ConversationStart(f"{seed}/{attempt}/{number}", 0, 0, "", is_new=False)
            for number in count()
        )
        conversations = ([*occurrences_of(start, late_share=0)] for start in starts)
        fitting = (each for each in conversations if each[0].context["channel"] in channels)
        found: defaultdict[Kind, list[tuple[int, Occurrence]]] = defaultdict(list)
        for index, conversation in enumerate(islice(fitting, SIZE)):
            for occurrence in conversation:
                found[occurrence.kind].append((index, occurrence))
        if len(found) == len(Kind) - 1:  # without new users
            return found
    raise AssertionError
