"""Virtual time: an event loop whose clock jumps to the next timer instead of waiting."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_MS = 1_772_536_800_000  # 2026-03-03T11:20:00Z


class VirtualClock:
    """A clock that a ``VirtualLoop`` turns; ``step`` moves the wall clock alone."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._wall_ms = float(start_ms)
        self._seconds = 0.0

    @classmethod
    def running(cls) -> "VirtualClock":
        """Return the clock of the loop that runs; a new one where none does."""
        loop = asyncio.events._get_running_loop()
        return loop.clock if isinstance(loop, VirtualLoop) else cls()

    def now_ms(self) -> int:
        return round(self._wall_ms)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - virtual: the loop below makes it free

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._seconds += seconds
        self._wall_ms += seconds * 1000

    def step(self, milliseconds: int) -> None:
        """Set the wall clock forward or back, as an operator or NTP would."""
        self._wall_ms += milliseconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing is left that could wake this test up")
        if not ready and timeout is not None:
            self._clock.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time; only for code that uses no threads and no sockets."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        super().__init__(_JumpingSelector(clock))

    def time(self) -> float:
        return self.clock.monotonic()


async def inline(call: Callable[[], T]) -> T:
    """Run a ledger call here and now: in virtual time there are no threads."""
    return call()


def run_virtual(main: Coroutine[Any, Any, T], clock: VirtualClock) -> T:
    """Run ``main`` to its end on ``clock``, in no real time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)
