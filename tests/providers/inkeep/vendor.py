"""One Inkeep target on its simulator, whose truth is scripted."""

from pathlib import Path
from typing import Any

import httpx

from exporter.config.model import Limits, Privacy
from exporter.config.secret import SecretContext
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window, floor_to
from exporter.providers.base.plugin import LabelSettings
from exporter.providers.inkeep.options import InkeepOptions
from exporter.providers.inkeep.provider import PROVIDER
from exporter.simulator.inkeep import build
from exporter.simulator.traffic import Traffic
from tests.support.virtual import START_MS, VirtualClock, run_virtual

URL = "http://127.0.0.1"
HOUR = floor_to(START_MS, HOUR_MS)
"""2026-03-03T11:00:00Z, the open hour."""

WINDOW = Window(HOUR - 12 * HOUR_MS, HOUR + HOUR_MS)


class Vendor:
    """The fake, its script, and the target that ``settings`` describe."""

    def __init__(self, traffic: Traffic | None = None, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.traffic = traffic or Traffic()
        self.service = build(self.clock, self.traffic)
        entries = {"name": "docs", "provider": "inkeep"} | self.service.target(URL) | settings
        self.options = InkeepOptions.model_validate(
            entries, context=SecretContext({}, Path(), inline=True)
        )
        self.target = PROVIDER.build(self.options, LabelSettings(Limits(), Privacy()))

    def read(self, name: str, window: Window = WINDOW) -> list[Reading]:
        """Return the readings of one poll of a query."""
        (query,) = (query for query in self.target.queries if query.spec.name == name)

        async def main() -> list[Reading]:
            async with Transport(httpx.ASGITransport(self.service)) as wire:
                api = ApiClient(
                    base_url=URL,
                    sign=self.target.sign,
                    wire=wire,
                    clock=self.clock,
                    requests_per_second=0,
                )
                request = PollRequest(window, self.clock.now_ms())
                return [reading async for reading in query.read(api, request)]

        return run_virtual(main(), self.clock)

    def counts(self, name: str, window: Window = WINDOW) -> dict[tuple[str, ...], float]:
        """Return what a poll counts over the window, by family and labels after the base."""
        sums: dict[tuple[str, ...], float] = {}
        for reading in self.read(name, window):
            for (family, values), _, value in reading.counts:
                key = (family, *values[2:])
                sums[key] = sums.get(key, 0) + value
        return sums

    def users(self) -> dict[tuple[str, str], float]:
        """Return active users by channel and window."""
        (reading,) = self.read("active_users", Window(HOUR - DAY_MS, HOUR))
        return {(row.series[1][2], row.series[1][3]): row.value for row in reading.lists}
