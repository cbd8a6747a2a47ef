"""Blocking calls on their own threads, so that one that hangs holds up only its callers."""

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Blocking(Protocol):
    """Runs a call that may block. Callers with the same ``key`` share one run."""

    def __call__(self, key: Hashable, call: Callable[[], T], /) -> Awaitable[T]:
        """Return what ``call()`` returns."""
        ...


async def inline(_key: Hashable, call: Callable[[], T]) -> T:
    """Run ``call`` on this thread: for calls that are known not to block."""
    return call()


class Detached:
    """Runs each call on a daemon thread, one at a time for each key.

    A hung call costs one thread for its key, however many callers wait, and does not keep the
    process from exiting. Callers set their own deadlines. Raises ``OSError`` if the system cannot
    start another thread.
    """

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[Any]] = {}

    async def __call__(self, key: Hashable, call: Callable[[], T]) -> T:
        result = self._running.get(key)
        if result is None:
            loop = asyncio.get_running_loop()
            result = self._running[key] = loop.create_future()
            result.add_done_callback(lambda _done: self._running.pop(key, None))
            thread = threading.Thread(
                target=_run, args=(loop, result, call), name="detached", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                del self._running[key]
                raise OSError(errno.EAGAIN, "no thread can be started") from None
        found: T = await asyncio.shield(result)
        return found


class ResolvingLoop(asyncio.SelectorEventLoop):
    """The usual event loop, except that resolving one name cannot hold up other names.

    asyncio resolves names on a small shared thread pool: a few names whose server does not answer
    would block all other vendors, and the exit of the process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lookups = Detached()

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that asyncio gives it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Return the addresses of ``host``; concurrent calls for one name share a lookup."""
        key = (host, port, family, type, proto, flags)
        return await self._lookups(key, lambda: socket.getaddrinfo(*key))


def run_resolving(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end on a ``ResolvingLoop``; return what it returns."""
    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        return runner.run(main)


def _run(
    loop: asyncio.AbstractEventLoop, result: "asyncio.Future[T]", call: Callable[[], T]
) -> None:
    try:
        finish = partial(result.set_result, call())
    except Exception as error:  # noqa: BLE001 - raised again where it is awaited
        finish = partial(_fail, result, error)
    with contextlib.suppress(RuntimeError):  # the loop is closed and nobody waits any more
        loop.call_soon_threadsafe(finish)


def _fail(result: "asyncio.Future[T]", error: Exception) -> None:
    result.set_exception(error)
    result.exception()  # marked as retrieved, since the caller may be gone
