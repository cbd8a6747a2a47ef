"""The only place that reads time or sleeps."""

import asyncio
import time
from typing import Protocol

MILLISECONDS = 1000


class Clock(Protocol):
    """Where time comes from; instants are UTC milliseconds since 1970."""

    def now_ms(self) -> int:
        """Return the wall-clock instant in UTC milliseconds; it may step in both directions."""
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
        return time.monotonic()  # noqa: TID251 - this module is the door

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this module is the door
