"""One target's vendor that hangs costs no other target a poll."""

import asyncio
from pathlib import Path

import httpx
import pytest

from exporter.config.model import Settings
from tests.support.running import exporter
from tests.support.served import document
from tests.support.vendors import read
from tests.support.virtual import VirtualClock

HANGING = 100
HEALTHY = "healthy.test"
INTERVAL_S = 5
SECONDS = 200


class Network(httpx.AsyncBaseTransport):
    """Answers one host; every other host accepts requests and never answers."""

    def __init__(self) -> None:
        self.polls = 0
        self.hanging: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == HEALTHY:
            self.polls += 1
            return httpx.Response(200, json={"metrics": [], "stats": []})
        self.hanging.add(request.url.host)
        try:
            async with asyncio.timeout(request.extensions["timeout"]["read"]):
                await asyncio.Event().wait()
        except TimeoutError:
            raise httpx.ReadTimeout("no answer", request=request) from None
        raise AssertionError("nothing sets the event")


def settings(folder: Path) -> Settings:
    hosts = [HEALTHY, *(f"hanging-{n}.test" for n in range(HANGING))]
    targets = [
        {
            "name": host.replace(".", "-"),
            "provider": "flowxo",
            "api_key": "key",
            "project": "shop",
            "base_url": f"https://{host}/api",
            "interval": f"{INTERVAL_S}s",
        }
        for host in hosts
    ]
    return read(document(folder, *targets))


@pytest.mark.slow
async def test_a_hundred_hanging_vendors_cost_a_healthy_one_no_poll(
    tmp_path: Path, clock: VirtualClock
) -> None:
    network = Network()

    async with exporter(settings(tmp_path), clock, network):
        await clock.sleep(SECONDS)

    assert len(network.hanging) == HANGING
    assert network.polls >= SECONDS // INTERVAL_S - 1
