"""Where calls that take long run, so that they block no event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """Runs a call that takes long somewhere it blocks nobody."""

    def __call__(self, call: Callable[[], T]) -> Awaitable[T]:
        """Return what ``call()`` returns."""
        ...


class WorkerThread:
    """Runs calls one after another on a thread of their own, called ``name``."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def __call__(self, call: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Wait for the last call."""
        self._executor.shutdown()
