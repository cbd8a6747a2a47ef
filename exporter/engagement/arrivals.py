"""How much of the newest hours has usually come when they are judged: vendors go on counting."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from exporter.engagement.scale import known
from exporter.model.samples import HOUR_MS

AGES = 3
"""So many of the newest hours may be short."""
FINAL_H = 6
"""After so many hours a count is taken as final."""
FORGET = 0.98
"""What is left of an observation when another comes: about two days of hours count."""
LEAST_SHARE = 0.5
PRIOR = 50.0


@dataclass(frozen=True, slots=True)
class _Newest:
    """The counts of a query when ``end_ms`` became their end, the newest hour first."""

    end_ms: int
    counts: tuple[float, ...]


@dataclass(slots=True)
class Arrivals:
    """Learns which share of its final count an hour has while it is one of the newest."""

    _seen: list[float] = field(default_factory=lambda: [0.0] * AGES)
    _final: list[float] = field(default_factory=lambda: [0.0] * AGES)
    _waiting: deque[_Newest] = field(default_factory=deque)
    _end_ms: int = 0

    @property
    def shares(self) -> tuple[float, ...]:
        """Return the shares of the newest hour, the one before it, and so on; 1 is all."""
        return tuple(
            min(1.0, max(LEAST_SHARE, (seen + PRIOR) / (final + PRIOR)))
            for seen, final in zip(self._seen, self._final, strict=True)
        )

    def note(self, end_ms: int, counts: Sequence[float | None]) -> None:
        """Take in the counts of all bots of a query, oldest first, which end at ``end_ms``."""
        if end_ms <= self._end_ms:
            return
        if end_ms == self._end_ms + HOUR_MS:  # later hours had more time to come in
            self._waiting.append(_Newest(end_ms, tuple(known(counts)[: -AGES - 1 : -1])))
        self._end_ms = end_ms
        while self._waiting and self._waiting[0].end_ms <= end_ms - FINAL_H * HOUR_MS:
            self._compare(self._waiting.popleft(), end_ms, counts)

    def _compare(self, newest: _Newest, end_ms: int, counts: Sequence[float | None]) -> None:
        at = len(counts) - (end_ms - newest.end_ms) // HOUR_MS
        for age, seen in enumerate(newest.counts):
            hour = at - 1 - age
            final = counts[hour] if hour >= 0 else None
            if final is not None:
                self._seen[age] = FORGET * self._seen[age] + seen
                self._final[age] = FORGET * self._final[age] + final
