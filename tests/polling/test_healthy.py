"""Whether the exporter calls itself healthy follows the loop that starts polls."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock

T = TypeVar("T")


async def test_a_poll_loop_that_stands_still_for_a_minute_is_not_healthy(
    tmp_path: Path, clock: VirtualClock
) -> None:
    vendors = Vendors(clock)
    ledger = {"url": f"sqlite:///{tmp_path}/ledger.db"}

    released = asyncio.Event()
    released.set()

    async def offload(call: Callable[[], T]) -> T:
        await released.wait()
        return call()

    document = vendors.document()
    targets = [each for each in document["targets"] if each["name"] == "flowxo"]
    settings = read(document | {"ledger": ledger, "targets": targets})
    async with exporter(settings, clock, vendors, offload=offload) as app:
        await clock.sleep(120)
        healthy = [app.healthy()]
        released.clear()  # every call of the ledger hangs from now on
        await clock.sleep(50)
        healthy.append(app.healthy())
        await clock.sleep(20)
        healthy.append(app.healthy())
        released.set()
        await clock.sleep(10)
        healthy.append(app.healthy())

    assert healthy == [True, True, False, True]
