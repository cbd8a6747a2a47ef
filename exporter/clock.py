"""The only place that reads time or sleeps."""

import asyncio
import time
from typing import Protocol

_SECOND_MS = 1000
SMALLEST_STEP_S = 1.0
"""Anything smaller is drift that a time service corrects."""


class Clock(Protocol):
    """Where time comes from; instants are UTC milliseconds since 1970."""

    def now_ms(self) -> int:
        """Return the wall-clock instant in UTC milliseconds; it may step forwards or backwards."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - allowed here only

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - allowed here only


class DatabaseClock:
    """The wall clock of a database that replicas share; everything else comes from ``own``.

    Each answer of the database dates an instant between sending and receiving. Between answers,
    time follows the monotonic clock; before the first one it is that of ``own``.
    """

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead_s: float | None = None

    def now_ms(self) -> int:
        if self._ahead_s is None:
            return self._own.now_ms()
        return round((self._own.monotonic() + self._ahead_s) * _SECOND_MS)

    def monotonic(self) -> float:
        return self._own.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._own.sleep(seconds)

    def adjust(self, at_ms: int, sent_s: float) -> None:
        """Adjust to a database clock that read ``at_ms`` between ``sent_s`` (monotonic) and now."""
        most_s = at_ms / _SECOND_MS - sent_s
        least_s = at_ms / _SECOND_MS - self._own.monotonic()
        before_s = (least_s + most_s) / 2 if self._ahead_s is None else self._ahead_s
        self._ahead_s = min(max(before_s, least_s), most_s)  # a slow answer makes no step


class StepDetector:
    """Notices that the wall clock was set, by its distance from the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart_s = self._read()

    def step_s(self) -> float:
        """Return how many seconds the clock was moved by since the last call; 0.0 if it was not."""
        before, self._apart_s = self._apart_s, self._read()
        step_s = self._apart_s - before
        return step_s if abs(step_s) >= SMALLEST_STEP_S else 0.0

    def _read(self) -> float:
        return self._clock.now_ms() / _SECOND_MS - self._clock.monotonic()
