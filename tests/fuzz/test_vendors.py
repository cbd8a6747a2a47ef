"""Corrupted answers: a read gives readings or a ``ProviderError``, which repeats no text."""

import copy
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ProviderError
from exporter.http_client.transport import Transport
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Reading, Window, floor_to
from exporter.providers.base.plugin import Target
from exporter.simulator import VENDORS
from exporter.simulator.server import Service
from tests.faults.bench import case_of
from tests.providers.compliance import Bench
from tests.support.virtual import VirtualClock, run_virtual

EFFORT = settings(max_examples=15, deadline=None)
CANARY = "C4n4ry wrote this"
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 2**53 + 1, 10**400, 1e308, "", CANARY, "NaN", "2026-13-01T00:00:00Z",
    [], {}, [CANARY], {CANARY: CANARY}, [[[[]]]],
]  # fmt: skip


class Corrupted(httpx.ASGITransport):
    """Answers as a vendor does, with one place of the JSON replaced, or cut off, in every answer."""

    def __init__(self, service: Service, place: int, value: Any, cut: int | None) -> None:
        super().__init__(service)
        self._place = place
        self._value = value
        self._cut = cut
        self._asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._asked += 1
        if self._asked > 40:
            return httpx.Response(429)  # a reader may go on only so long
        response = await super().handle_async_request(request)
        body = await response.aread()
        if "authorization/integration" in request.url.path:
            return httpx.Response(response.status_code, content=body)
        return httpx.Response(response.status_code, content=self._corrupt(body))

    def _corrupt(self, body: bytes) -> bytes:
        if self._cut is not None:
            return body[: self._cut % (len(body) + 1)]
        data = json.loads(body)
        found = paths(data)
        return json.dumps(replaced(data, found[self._place % len(found)], self._value)).encode()


def paths(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places in ``data``, of long lists only the first few."""
    if isinstance(data, dict):
        items = list(data.items())
    else:
        items = list(enumerate(data[:3])) if isinstance(data, list) else []
    return [here, *(path for key, value in items for path in paths(value, (*here, key)))]


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    found = copy.copy(data)
    found[path[0]] = replaced(data[path[0]], path[1:], value)
    return found


async def read_all(target: Target, transport: Corrupted, clock: VirtualClock) -> list[str]:
    """Read every query; return the messages of their errors; any other exception is raised."""
    errors: list[str] = []
    now_ms = clock.now_ms()
    sending = Transport(transport)
    api = replace(target, requests_per_second=0).client(sending, clock)
    window = Window(floor_to(now_ms, HOUR_MS) - 2 * HOUR_MS, now_ms)
    for query in target.queries:
        ask = PollRequest(window, now_ms, first=False, watermark_ms=now_ms - 600_000, epoch_ms=0)
        try:
            async for reading in query.read(api, ask):
                assert isinstance(reading, Reading)
        except ProviderError as error:
            errors.append(str(error))
    return errors


@pytest.mark.parametrize("provider", sorted(VENDORS))
@EFFORT
@given(
    place=st.integers(0, 200),
    value=st.sampled_from(ODD),
    cut=st.one_of(st.none(), st.none(), st.none(), st.integers(0, 5_000)),
)
def test_a_corrupted_answer_is_an_error_at_most(
    provider: str, place: int, value: Any, cut: int | None
) -> None:
    bench = Bench(case_of(provider), per_hour=2)
    corrupted = Corrupted(bench.service, place, value, cut)

    errors = run_virtual(read_all(bench.target, corrupted, bench.clock), bench.clock)

    assert all(errors)
    assert not [error for error in errors if "C4n4ry" in error]
