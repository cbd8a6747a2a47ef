"""Vendors that note which replica asked, from when to when."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from exporter.clock import Clock, SystemClock
from exporter.simulator.server import Service
from tests.replicas.checks import SentRequest

CLOCK = SystemClock()
LONGEST_ANSWER_S = 0.3


@dataclass(slots=True)
class VendorLog:
    """The requests that have ended, and how many each replica has under way."""

    requests: list[SentRequest] = field(default_factory=list)
    under_way: Counter[str] = field(default_factory=Counter)


class LoggedVendor:
    """A simulator whose URL begins with the replica's name; its answers take a random time."""

    def __init__(self, target: str, service: Service, log: VendorLog) -> None:
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
        self._log.under_way[replica] += 1
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
            self._log.under_way[replica] -= 1
            self._log.requests.append(SentRequest(self._target, replica, began_s, ended_s, path))


def logged(
    log: VendorLog, builders: Mapping[str, Callable[..., Service]]
) -> dict[str, Callable[..., Any]]:
    """Return what builds the simulators of ``builders``, by target, so that they note requests."""

    def builder(target: str) -> Callable[[Clock, Any], Any]:
        return lambda clock, traffic: LoggedVendor(target, builders[target](clock, traffic), log)

    return {target: builder(target) for target in builders}
