"""Runs slow calls off the event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """Runs a slow call off the event loop."""

    def __call__(self, call: Callable[[], T]) -> Awaitable[T]:
        """Return what ``call()`` returns."""
        ...


class WorkerThread:
    """Runs calls one after another on a dedicated thread called ``name``."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def __call__(self, call: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, call)
