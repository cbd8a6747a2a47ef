"""A simulator as its tests ask it: in process, on virtual time, over a scripted truth."""

from collections.abc import Callable
from typing import Any

import httpx

from exporter.clock import Clock
from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic
from tests.support.virtual import START_MS, VirtualClock, run_virtual

HOUR = 3_600_000
NINE = START_MS // HOUR * HOUR - 2 * HOUR  # 2026-03-03T09:00Z; now is 11:20


class Vendor:
    def __init__(
        self,
        build: Callable[[Clock, Traffic], Service],
        authorization: str = "",
        traffic: Traffic | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.traffic = traffic or Traffic()
        self.service = build(self.clock, self.traffic)
        self.authorization = authorization

    def send(
        self, method: str, path: str, *, authorization: str | None = None, **more: Any
    ) -> httpx.Response:
        key = self.authorization if authorization is None else authorization
        headers = {"authorization": key} | more.pop("headers", {})

        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(self.service)
            async with httpx.AsyncClient(transport=transport, base_url="http://vendor") as client:
                return await client.request(method, path, headers=headers, **more)

        return run_virtual(main(), self.clock)
