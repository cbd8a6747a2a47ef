"""Targets of one Xenioo account, and exporters that poll them, in virtual time and on one file."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from exporter.ledger.store import Ledger
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Window, floor_to
from exporter.polling.poll import PollResult
from exporter.simulator.server import LoggedRequest
from exporter.simulator.traffic import Traffic
from tests.providers.vendor import Polled, read
from tests.support.virtual import START_MS, run_virtual

STATISTICS = "/analytics/statistics"
WINDOW = Window(floor_to(START_MS, HOUR_MS) - 2 * DAY_MS, floor_to(START_MS, HOUR_MS) + HOUR_MS)


def is_statistics(call: Any) -> bool:
    """Say whether a request is the one that Xenioo counts."""
    return str(call.path).startswith(STATISTICS)


class Account(Polled):
    """One account, and some targets on it; ``ended`` are the outcomes of all polls."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str] = ("agency",),
        *,
        postgresql: str | None = None,
        **keys: Any,
    ) -> None:
        self.ended: list[PollResult] = []
        entries = [{"name": name, **keys} for name in names]
        traffic = Traffic(per_hour=6)
        super().__init__(folder, "xenioo", traffic, *entries, postgresql=postgresql)

    def configure(self, names: Sequence[str], **keys: Any) -> None:
        """Read other settings of targets with these names."""
        self.set_targets(*({"name": name, **keys} for name in names))

    @property
    def statistics(self) -> list[LoggedRequest]:
        """Return the statistics calls so far."""
        return [seen for seen in self.service.requests if is_statistics(seen)]

    @property
    def modes(self) -> list[str]:
        """Return group mode and DAYS of the statistics calls so far, as in ``hour/3``."""
        return ["/".join(seen.path.split("/")[-2:]) for seen in self.statistics]

    def run(self, minutes: float, *more: Ledger) -> None:
        """Let this exporter, and those on the ledgers ``more``, poll for some time."""
        until_ms = self.clock.now_ms() + round(minutes * 60_000)

        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for ledger in (self.ledger, *more):
                    group.create_task(self.drive(ledger, until_ms))

        run_virtual(main(), self.clock)

    def poll(self) -> str:
        """Wait until a query is due, poll once, and return the outcome."""
        due_ms = self.ledger.next_due_ms()
        assert due_ms is not None
        self.clock.advance(max(0, due_ms - self.clock.now_ms()) / 1000)
        run_virtual(self.drive(self.ledger, self.clock.now_ms() + 1), self.clock)
        return self.ended[-1].outcome

    async def drive(self, ledger: Ledger, until_ms: int) -> None:
        """Claim and poll on ``ledger`` until the clock says ``until_ms``."""
        while self.clock.now_ms() < until_ms:
            claim = ledger.claim()
            if claim is None:
                wait_ms = min(ledger.next_due_ms() or until_ms, until_ms) - self.clock.now_ms()
                await self.clock.sleep(max(wait_ms, 1_000) / 1000)
                continue
            self.ended.append(await self.poll_claimed(claim, ledger))

    def counter(self, family: str) -> float:
        """Return what a counter shows, over all its series, new ones confirmed."""
        self.driver.confirm_zero_scraped()
        return sum(sum(self.driver.shown(family, spec).values()) for spec in self.specs)

    def gauges(self, family: str) -> dict[tuple[str, ...], float]:
        """Return what a gauge shows, by its labels after provider and target."""
        return self.driver.shown(family, self.specs[0])


def closest_ms(seen: Sequence[LoggedRequest]) -> int:
    """Return the shortest time between two requests; a day where there are not two."""
    at = sorted(one.at_ms for one in seen)
    return min((b - a for a, b in itertools.pairwise(at)), default=24 * HOUR_MS)


def read_once(account: Account) -> None:
    """Read ``WINDOW`` past ledger and budget."""
    (built,) = account.targets
    transport = httpx.ASGITransport(account.service)
    request = PollRequest(WINDOW, account.clock.now_ms())
    assert read(built, built.queries[0], transport, request, account.clock)
