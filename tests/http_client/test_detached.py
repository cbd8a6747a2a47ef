"""Blocking calls and name resolution that hang hold up nobody else."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest

from exporter.clock import SystemClock
from exporter.http_client.client import ApiCall
from exporter.http_client.detached import Detached, ResolvingLoop
from tests.http_client.test_client import client_on

pytestmark = pytest.mark.real_time
HANGING = 40


async def test_callers_with_one_key_share_one_thread() -> None:
    release, calls = threading.Event(), list[int]()

    def call() -> str:
        calls.append(1)
        release.wait()
        return "shared"

    detached = Detached()
    waiting = [asyncio.create_task(detached("key", call)) for _ in range(5)]
    async with asyncio.TaskGroup() as group:  # who gives up does not end the call of others
        for _ in range(3):
            group.create_task(_give_up(detached("key", call)))
    release.set()

    assert [await task for task in waiting] == ["shared"] * 5
    assert len(calls) == 1


@pytest.mark.parametrize("problem", ["gone", "no thread"])
async def test_an_error_reaches_who_waits_and_the_next_call_starts_anew(
    problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    detached = Detached()
    with monkeypatch.context() as full:
        if problem == "no thread":
            full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match=problem):
            await detached("key", _gone)

    assert await detached("key", lambda: 3) == 3


def test_a_silent_name_server_does_not_hold_up_another_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    real = socket.getaddrinfo

    def resolve(host: Any, *rest: Any) -> Any:
        if str(host).endswith(".silent.test"):
            release.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        hung = [
            asyncio.create_task(loop.getaddrinfo(f"v{n}.silent.test", 443)) for n in range(HANGING)
        ]
        limit = threading.Timer(10, release.set)
        limit.start()
        await asyncio.wait(hung, timeout=0.1)
        try:
            assert not any(task.done() for task in hung)
            async with asyncio.timeout(5):
                return await loop.getaddrinfo("127.0.0.1", 443, type=socket.SOCK_STREAM)
        finally:
            limit.cancel()
            release.set()
            await asyncio.wait(hung)
            assert all(isinstance(task.exception(), socket.gaierror) for task in hung)

    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        found = runner.run(main())

    assert found[0][4] == ("127.0.0.1", 443)


def test_a_hung_call_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import asyncio, threading\n"
        "from exporter.http_client.detached import Detached\n"
        "async def main():\n"
        "    asyncio.create_task(Detached()(1, threading.Event().wait))\n"
        "    await asyncio.wait([asyncio.current_task()], timeout=0.1)\n"
        "asyncio.run(main())\n"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # noqa: S603

    assert time.perf_counter() - started < 10


async def _give_up(call: Awaitable[str]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.01)


def _gone() -> None:
    raise OSError("gone")


async def test_targets_that_read_their_keys_at_once_send_their_own() -> None:
    both = threading.Barrier(2, timeout=5)

    def sign(key: str) -> dict[str, str]:
        both.wait()
        return {"Authorization": key}

    blocking, clock = Detached(), SystemClock()

    async def ask(name: str) -> str:
        def vendor(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=request.headers["Authorization"])

        client = client_on(vendor, clock, sign=lambda: sign(name), blocking=blocking)
        return await client.fetch(ApiCall("GET", "/x"), str)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(name)) for name in ("one", "two")]

    assert [task.result() for task in tasks] == ["one", "two"]
