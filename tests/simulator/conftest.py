"""A simulator's clock, and a way to ask it."""

from collections.abc import Callable
from functools import partial

import httpx
import pytest

from tests.simulator.vendor import send
from tests.support.virtual import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def ask(clock: VirtualClock) -> Callable[..., httpx.Response]:
    """Return ``ask(service, method, path, **httpx)``."""
    return partial(send, clock)
