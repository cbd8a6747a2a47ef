"""The fake of Voiceflow as its tests ask it."""

from collections.abc import Callable
from typing import Any

import httpx

from exporter.simulator.server import Service
from exporter.simulator.traffic import Traffic
from exporter.simulator.voiceflow import KEY, PROJECT, build
from tests.support.virtual import START_MS, VirtualClock

HOUR = 3_600_000
NINE = START_MS // HOUR * HOUR - 2 * HOUR  # 2026-03-03T09:00Z; now is 11:20
START, END = "2026-03-03T00:00:00.000Z", "2026-03-03T11:00:00.000Z"


class Vendor:
    def __init__(self, clock: VirtualClock, ask: Callable[..., httpx.Response]) -> None:
        self.clock = clock
        self.traffic = Traffic()
        self.send = ask
        self.service: Service = build(clock, self.traffic)

    def generate(self) -> None:
        self.traffic = Traffic(5, per_hour=60, late_share=0)
        self.service = build(self.clock, self.traffic)

    def post(self, data: Any, key: str = KEY) -> httpx.Response:
        headers = {"authorization": key}
        return self.send(
            self.service, "POST", "/v2/query/usage", json={"data": data}, headers=headers
        )

    def query(self, name: str, **more: Any) -> httpx.Response:
        wanted = {"projectID": PROJECT, "startTime": START, "endTime": END} | more
        return self.post({"name": name, "filter": wanted})

    def result(self, name: str, **more: Any) -> Any:
        return self.query(name, **more).json()["result"]

    def pages(self, name: str, limit: int, most: int = 50) -> list[Any]:
        found = [self.result(name, limit=limit)]
        while found[-1]["items"] and "cursor" in found[-1] and len(found) < most:
            found.append(self.result(name, limit=limit, cursor=found[-1]["cursor"]))
        return found
