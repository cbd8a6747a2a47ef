"""The whole exporter in process and in virtual time, for as long as a block lasts."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx

from exporter.app import App, Environment
from exporter.config.model import Settings
from exporter.http_client.detached import Blocking
from exporter.http_client.detached import inline as waits_for_none
from exporter.ledger.offload import Offload
from exporter.providers import PROVIDERS
from exporter.providers.base.plugin import Provider
from tests.support.virtual import VirtualClock, inline


@asynccontextmanager
async def exporter(
    settings: Settings,
    clock: VirtualClock,
    transport: httpx.AsyncBaseTransport,
    kinds: Mapping[str, Provider] = PROVIDERS,
    *,
    offload: Offload = inline,
    blocking: Blocking = waits_for_none,
) -> AsyncIterator[App]:
    """Run an exporter on ``transport`` until the block is left; fail if it fails."""
    outside = Environment(
        clock=clock,
        rng=random.Random(5),  # noqa: S311 - the same jitter each time
        providers=kinds,
        offload=offload,
        blocking=blocking,
        transport=transport,
    )
    app = App(settings, outside)
    async with app.opened(), asyncio.TaskGroup() as group:
        running = group.create_task(app.run())
        yield app
        app.stop()
        await running
