"""A client of fake vendors, on virtual time and in process."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from exporter.simulator.server import Service
from tests.support.virtual import VirtualClock, run_virtual

PollRequest = Callable[..., httpx.Response]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def ask(clock: VirtualClock) -> PollRequest:
    """Return ``ask(service, method, path, **httpx)``."""

    def send(service: Service, method: str, path: str, **more: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(service)
            async with httpx.AsyncClient(transport=transport, base_url="http://vendor") as client:
                return await client.request(method, path, **more)

        return run_virtual(main(), clock)

    return send
