"""One poll, where its answer cannot be kept."""

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from exporter.errors import ClaimLost
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.model.query import PollRequest
from exporter.model.samples import Reading
from exporter.polling.poll import PollContext, ScheduledQuery, poll
from exporter.providers.base.plugin import CustomQuery
from exporter.telemetry.counters import Telemetry
from tests.support.driver import LedgerDriver
from tests.support.virtual import VirtualClock, run_virtual

T = TypeVar("T")


async def lost(call: Callable[[], T]) -> T:
    del call
    raise ClaimLost("shop/hourly: another holder has the query")


async def nothing(_key: tuple[str, str]) -> None:
    return None


def test_a_read_that_is_given_up_is_closed_before_its_poll_ends(tmp_path: Path) -> None:
    clock = VirtualClock()
    driver = LedgerDriver(tmp_path, clock=clock)
    done: list[str] = []

    async def read(_api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        try:
            yield Reading(ask.window, more=True)
            yield Reading(ask.window)
        finally:
            done.append("closed")

    async def main() -> None:
        async with Transport() as wire:
            api = ApiClient(
                base_url="https://vendor.test",
                sign=dict,
                transport=wire,
                clock=clock,
                requests_per_second=0,
            )
            desk = PollContext(driver.ledger, clock, random.Random(1), Telemetry(), lost, nothing)  # noqa: S311
            ended = await poll(
                desk, ScheduledQuery(CustomQuery(driver.spec, read), api), driver.claim()
            )
            done.append(ended.outcome)

    run_virtual(main(), clock)
    driver.close()

    assert done == ["closed", "claim_lost"]
