"""R10: a view that cannot be verified within 2 s counts as unverified, until it is."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest

from exporter.errors import LedgerError
from exporter.exposition.page import MetricsPage
from exporter.exposition.publisher import Publisher
from exporter.ledger.replicas import Changes
from exporter.telemetry.counters import FAMILIES, Telemetry
from exporter.web import app
from tests.support.virtual import VirtualClock, run_virtual

T = TypeVar("T")


class SharedLedger:
    """A ledger in which nothing has changed, perhaps because it cannot be asked."""

    shared = True
    server = 1
    error: LedgerError | None = None

    def changes(self, _since: object) -> Changes:
        if self.error:
            raise self.error
        return Changes({}, {}, self.server)

    def resume_claims(self) -> None:
        pass


class Slow:
    """A publisher on virtual time whose ledger answers after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.clock = VirtualClock()
        self.ledger = cast("Any", SharedLedger())
        self.telemetry = Telemetry("test")
        families = {family.name: family for family in FAMILIES}
        unused: Any = None
        self.publisher = Publisher(
            ledger=self.ledger, writes=unused, clock=self.clock, telemetry=self.telemetry,
            page=MetricsPage(families, self.telemetry.exposed), families=families,
            offload=self.offload, engagement=unused,
        )  # fmt: skip

    async def offload(self, call: Callable[[], T]) -> T:
        await self.clock.sleep(self.seconds)
        return call()

    async def verified_after(self, *instants: float) -> list[bool]:
        """Return whether the view was verified at these seconds after one check began."""
        checking, found = asyncio.create_task(self.publisher.verify()), []
        for at_s in instants:
            await self.clock.sleep(at_s - self.clock.monotonic())
            found.append(self.publisher.verified)
        assert await checking == found[-1]
        return found


@pytest.mark.parametrize(
    ("takes_s", "verified"), [(1.7, [False, True, True]), (9.0, [False, False, True])]
)
def test_a_view_is_unverified_before_scrapes_give_it_up(
    takes_s: float, verified: list[bool]
) -> None:
    slow = Slow(takes_s)

    assert run_virtual(slow.verified_after(1.6, 1.9, 9.1), slow.clock) == verified


def test_a_view_that_was_verified_counts_for_less_than_two_seconds() -> None:
    slow = Slow(0.1)

    async def main() -> list[bool]:
        assert await slow.publisher.verify()
        slow.seconds = 9.0
        return await slow.verified_after(1.8, app.VERIFY_S, 9.2)

    assert run_virtual(main(), slow.clock) == [True, False, True]


def test_a_ledger_that_fails_leaves_the_view_unverified() -> None:
    slow = Slow(0.1)
    slow.ledger.error = LedgerError("gone")

    assert run_virtual(slow.verified_after(0.2), slow.clock) == [False]
