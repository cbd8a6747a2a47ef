"""Reloads that remove, add and rename targets while their polls begin and end."""

import asyncio
import gc
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.config.model import Settings
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual

TARGETS = 16
RELOADS = 10
KEPT = 5


class SlowVendors(Vendors):
    """Answer after up to half a second, so that reloads come in between."""

    def __init__(self, clock: VirtualClock, rng: random.Random) -> None:
        super().__init__(clock)
        self._clock = clock
        self._rng = rng

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._clock.sleep(self._rng.random() / 2)
        return await super().handle_async_request(request)


def settings(document: dict[str, Any], names: list[str]) -> Settings:
    """Return settings with one Flow XO target for each name."""
    (flowxo,) = (each for each in document["targets"] if each["provider"] == "flowxo")
    targets = [flowxo | {"name": name, "interval": "1s", "slow_interval": "1s"} for name in names]
    return read(document | {"targets": targets})


@pytest.mark.slow
def test_targets_come_and_go_under_load_and_the_exporter_goes_on(tmp_path: Path) -> None:
    clock, rng = VirtualClock(), random.Random(3)  # noqa: S311 - the same order each time
    vendors = SlowVendors(clock, rng)
    document = vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}
    names = [f"shop-{number}" for number in range(TARGETS)]

    async def late(call: Any) -> Any:
        """Make a ledger call after others had a turn, as a thread would."""
        await clock.sleep(rng.choice([0, 0, 0.001]))
        return call()

    async def main() -> None:
        async with exporter(settings(document, names), clock, vendors, offload=late) as app:
            for number in range(RELOADS):
                chosen = [*rng.sample(names, TARGETS // 2), f"new-{number}"]
                some, few = settings(document, chosen), settings(document, chosen[-KEPT:])
                async with asyncio.TaskGroup() as group:
                    one = group.create_task(app.reload(lambda s=some: (s, "some")))  # type: ignore[misc]
                    two = group.create_task(app.reload(lambda s=few: (s, "few")))  # type: ignore[misc]
                assert (one.result().errors, two.result().errors) == ((), ())
                await clock.sleep(rng.random() * 2)
                shown = {target.name for target in app.status().targets}
                assert shown == set(chosen[-KEPT:])
            await clock.sleep(5)
            states = {query.state for each in app.status().targets for query in each.queries}
            assert states == {"ok"}

    run_virtual(main(), clock)


def exporter_objects() -> Counter[str]:
    """Return how many objects of the exporter's own classes are alive, by class."""
    gc.collect()
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    ours = (name for name in names if name.startswith("exporter."))
    return Counter(name for name in ours if not name.startswith("exporter.simulator."))


def test_nothing_is_kept_in_memory_of_targets_that_are_gone(tmp_path: Path) -> None:
    clock = VirtualClock()
    vendors = Vendors(clock, per_hour=1)
    document = vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}

    async def main() -> None:
        async with exporter(settings(document, ["new-0"]), clock, vendors) as app:
            await clock.sleep(4)
            before = exporter_objects()
            for number in range(1, 6):
                replaced = settings(document, [f"new-{number}"])
                assert not (await app.reload(lambda s=replaced: (s, ""))).errors  # type: ignore[misc]
                await clock.sleep(4)
            grown = exporter_objects() - before
            assert not {kind: count for kind, count in grown.items() if count >= 5}

    run_virtual(main(), clock)
