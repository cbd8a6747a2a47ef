"""One Inkeep target on its simulator, whose truth is scripted."""

from collections import Counter
from dataclasses import replace
from typing import Any

from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window, floor_to
from exporter.simulator.traffic import Traffic
from tests.providers.compliance import Bench
from tests.providers.inkeep.test_compliance import TestInkeep
from tests.providers.vendor import query_of
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)
"""2026-03-03T11:00:00Z, the open hour."""

WINDOW = Window(HOUR - 12 * HOUR_MS, HOUR + HOUR_MS)


class Vendor(Bench):
    """The fake, its script, and the target that ``settings`` describe."""

    def __init__(self, traffic: Traffic | None = None, **settings: Any) -> None:
        super().__init__(replace(TestInkeep.case, settings=settings), traffic=traffic or Traffic())

    def poll(self, name: str, window: Window = WINDOW) -> list[Reading]:
        """Return the readings of one poll of a query."""
        self.window = window
        return self.read(query_of(self.target, name))

    def counts(self, name: str) -> dict[tuple[str, ...], float]:
        """Return what a poll counts over the window, by family and labels after the base."""
        sums: Counter[tuple[str, ...]] = Counter()
        for reading in self.poll(name):
            for (family, values), _, value in reading.counts:
                sums[family, *values[2:]] += int(value)
        return dict(sums)

    def active(self, family: str) -> dict[tuple[str, str], float]:
        """Return active users or conversations by channel and window."""
        (reading,) = self.poll("active_users", Window(HOUR - DAY_MS, HOUR))
        return {
            (channel, window): row.value
            for row in reading.lists
            for name, (_, _, channel, window) in [row.series]
            if name == family
        }
