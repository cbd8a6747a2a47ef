"""Vendors that note which replica asked, from when to when."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from exporter.clock import Clock, SystemClock
from exporter.simulator.server import Service
from tests.replicas.checks import SentRequest

CLOCK = SystemClock()
LONGEST_ANSWER_S = 0.3


class LoggedVendor:
    """A simulator whose URL begins with the replica's name; its answers take a random time."""

    def __init__(self, target: str, service: Service, log: list[SentRequest]) -> None:
        self.service = service
        self._target = target
        self._log = log
        self._random = random.Random(target)  # noqa: S311 - how long answers take

    def target(self, url: str) -> dict[str, Any]:
        """Return the settings of the target, as the simulator gives them."""
        return self.service.target(url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, replica, path = scope["path"].split("/", 2)
        began_s, wait_s = CLOCK.monotonic(), self._random.uniform(0, LONGEST_ANSWER_S)
        asked = [await receive()]
        while asked[-1].get("more_body"):
            asked.append(await receive())
        there = dict(scope) | {"path": f"/{path}", "raw_path": None}
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await receive()  # only when the client is gone
                return

            async def again() -> Any:
                return asked.pop(0)

            await self.service(there, again, send)
        finally:
            ended_s = CLOCK.monotonic()
            self._log.append(SentRequest(self._target, replica, began_s, ended_s, path))


def logged(
    log: list[SentRequest], builders: Mapping[str, Callable[..., Service]]
) -> dict[str, Callable[..., Any]]:
    """Return what builds the simulators of ``builders``, by target, so that they note requests."""

    def builder(target: str) -> Callable[[Clock, Any], Any]:
        return lambda clock, traffic: LoggedVendor(target, builders[target](clock, traffic), log)

    return {target: builder(target) for target in builders}
