"""One Inkeep target on its simulator, whose truth is scripted."""

from typing import Any

import httpx

from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window, floor_to
from exporter.simulator.inkeep import build
from exporter.simulator.traffic import Traffic
from tests.providers.vendor import URL, build_target, query_of, read
from tests.support.virtual import START_MS, VirtualClock

HOUR = floor_to(START_MS, HOUR_MS)
"""2026-03-03T11:00:00Z, the open hour."""

WINDOW = Window(HOUR - 12 * HOUR_MS, HOUR + HOUR_MS)


class Vendor:
    """The fake, its script, and the target that ``settings`` describe."""

    def __init__(self, traffic: Traffic | None = None, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.traffic = traffic or Traffic()
        self.service = build(self.clock, self.traffic)
        plain = {"name": "docs", "provider": "inkeep", **self.service.target(URL)}
        self.target = build_target(**{**plain, **settings})

    def read(self, name: str, window: Window = WINDOW) -> list[Reading]:
        """Return the readings of one poll of a query."""
        transport = httpx.ASGITransport(self.service)
        request = PollRequest(window, self.clock.now_ms())
        return read(self.target, query_of(self.target, name), transport, request, self.clock)

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
