"""Reloads while polls begin and end: targets come and go, and those that stay lose no poll."""

import asyncio
import gc
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.config.model import Settings
from exporter.errors import SettingsError, SettingsProblem
from exporter.polling.schedule import phase_ms
from tests.support.builders import spec
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock

TARGETS = 10
RELOADS = 5
KEPT = 3
KEPT_TARGETS = ("flowxo", "xenioo")


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
async def test_targets_come_and_go_under_load_and_the_exporter_goes_on(
    tmp_path: Path, clock: VirtualClock
) -> None:
    rng = random.Random(3)  # noqa: S311 - the same order each time
    vendors = SlowVendors(clock, rng)
    document = vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}
    names = [f"shop-{number}" for number in range(TARGETS)]

    async def late(call: Any) -> Any:
        """Make a ledger call after others had a turn, as a thread would."""
        await clock.sleep(rng.choice([0, 0, 0.001]))
        return call()

    async with exporter(settings(document, names), clock, vendors, offload=late) as app:
        for number in range(RELOADS):
            chosen = [*rng.sample(names, TARGETS // 2), f"new-{number}"]
            some, few = settings(document, chosen), settings(document, chosen[-KEPT:])
            async with asyncio.TaskGroup() as group:
                one = group.create_task(app.reload(lambda s=some: s))  # type: ignore[misc]
                two = group.create_task(app.reload(lambda s=few: s))  # type: ignore[misc]
            assert (one.result(), two.result()) == ((), ())
            await clock.sleep(rng.random() * 2)
            shown = {target.name for target in app.status().targets}
            assert shown == set(chosen[-KEPT:])
        await clock.sleep(5)
        states = {query.state for each in app.status().targets for query in each.queries}
        assert states == {"ok"}


def refused() -> Settings:
    raise SettingsError([SettingsProblem("exporter.yaml", 1, 1, "", "no such file")])


@pytest.mark.slow
async def test_targets_that_stay_lose_no_poll_and_a_spent_call_stays_spent(
    tmp_path: Path, clock: VirtualClock
) -> None:
    vendors = Vendors(clock)
    document = vendors.document({"flowxo": {"interval": "5s", "top_flows": None}})
    document["targets"] = [each for each in document["targets"] if each["name"] in KEPT_TARGETS]
    document["ledger"] = {"url": f"sqlite:///{tmp_path}/ledger.db"}

    async with exporter(read(document), clock, vendors) as app:
        await clock.sleep(30)
        for number in range(20):
            changed = read(document | {"defaults": {"write_off_after": f"{7 + number}h"}})
            good = await app.reload(lambda: changed)  # noqa: B023 - called at once
            assert good == ()
            assert await app.reload(refused)
            await clock.sleep(3.1)
    phase = phase_ms(spec(target="flowxo", interval_ms=5_000))
    _first, *polls = [(seen.at_ms - phase) // 5_000 for seen in vendors.services["flowxo"].requests]
    calls = [seen for seen in vendors.services["xenioo"].requests if "statistics" in seen.path]
    assert polls == list(range(polls[0], polls[0] + len(polls)))
    assert (len(polls) >= 16, len(calls)) == (True, 1)


def exporter_objects() -> Counter[str]:
    """Return how many objects of the exporter's own classes are alive, by class."""
    gc.collect()
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    ours = (name for name in names if name.startswith("exporter."))
    return Counter(name for name in ours if not name.startswith("exporter.simulator."))


async def test_nothing_is_kept_in_memory_of_targets_that_are_gone(
    tmp_path: Path, clock: VirtualClock
) -> None:
    vendors = Vendors(clock, per_hour=1)
    document = vendors.document() | {"ledger": {"url": f"sqlite:///{tmp_path}/ledger.db"}}

    async with exporter(settings(document, ["new-0"]), clock, vendors) as app:
        seen = []
        for number in range(1, 7):  # the settings of the start stay, to be compared with
            replaced = settings(document, [f"new-{number}"])
            assert not await app.reload(lambda s=replaced: s)  # type: ignore[misc]
            await clock.sleep(4)
            seen.append(exporter_objects())
        grown = seen[-1] - seen[0]
        assert not {kind: count for kind, count in grown.items() if count >= 5}
