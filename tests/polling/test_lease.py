"""A claim on a shared ledger that is not renewed ends its poll before another replica can take it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from exporter.errors import ClaimLost, LedgerError
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.ledger.claims import CLAIM_MS
from exporter.ledger.rows import Claim
from exporter.model.query import PollRequest, QueryKey
from exporter.model.samples import HOUR_MS, Reading, Readings
from exporter.polling.poll import PollContext, ScheduledQuery
from exporter.polling.poller import Poller
from exporter.providers.base.plugin import CustomQuery
from exporter.telemetry.counters import Telemetry
from tests.support.builders import spec
from tests.support.virtual import VirtualClock, inline

CLAIM = Claim(
    1, "shop", "hourly", "a", 1, 0, None, None, None, None, None, None, 0, 0, "closed", {}
)  # fmt: skip


class CutOff:
    """A shared ledger that gives one claim, and cannot be reached from an instant on."""

    shared = True
    server = 1

    def __init__(self, clock: VirtualClock, from_s: float) -> None:
        self._clock = clock
        self._from_s = from_s
        self._claims = [CLAIM]
        self.replica = self
        self.correct_clock: Callable[[], Any] = bool
        self.given_back: list[Claim] = []

    def claim(self) -> Claim | None:
        return self._claims.pop() if self._claims else None

    def renew(self, held: Sequence[Claim]) -> list[Claim]:
        if self._clock.monotonic() >= self._from_s:
            raise LedgerError("no answer")
        return list(held)

    def end_poll(self, claim: Claim, *, next_poll_ms: int) -> None:
        assert next_poll_ms == claim.due_ms
        self.given_back.append(claim)

    def superseded(self) -> list[QueryKey]:
        return []

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class Held:
    """A poller with one poll that never ends."""

    def __init__(self, clock: VirtualClock, from_s: float) -> None:
        self.ended: list[float] = []
        self._clock = clock
        self.ledger = CutOff(clock, from_s)
        self._api = ApiClient(
            base_url="http://vendor",
            sign=dict,
            transport=Transport(),
            clock=clock,
            requests_per_second=0,
        )
        context = PollContext(
            ledger=cast("Any", self.ledger),
            clock=clock,
            rng=random.Random(1),  # noqa: S311 - no secret
            telemetry=Telemetry(),
            offload=inline,
            published=lambda _key: clock.sleep(0),
        )
        self.poller = Poller(context)
        query = CustomQuery(spec(deadline_ms=10_000_000), self._read)
        self.poller.assign({CLAIM.key: ScheduledQuery(query, self._api)})

    async def _read(self, _client: ApiClient, request: PollRequest) -> Readings:
        try:
            await self._clock.sleep(3600)
        finally:
            self.ended.append(self._clock.monotonic())
        yield Reading(request.window)

    def may_send(self) -> bool:
        try:
            self._api.may_send()
        except ClaimLost:
            return False
        return True


@pytest.mark.parametrize(("from_s", "renewed_s"), [(0, 0), (25, 20)])
async def test_a_poll_ends_before_its_claim_expires(
    from_s: float, renewed_s: float, clock: VirtualClock
) -> None:
    held = Held(clock, from_s)

    running, sent = asyncio.create_task(held.poller.run()), []
    for at_s in (renewed_s + 28, renewed_s + 29, renewed_s + 34):
        await clock.sleep(at_s - clock.monotonic())
        sent.append(held.may_send())
    held.poller.stop()
    await running

    assert sent == [True, False, False]
    assert len(held.ended) == 1
    assert renewed_s + 29 <= held.ended[0] < renewed_s + CLAIM_MS / 1000


async def test_polls_end_before_a_clock_that_was_set_back_ends_their_claims(
    clock: VirtualClock,
) -> None:
    held = Held(clock, from_s=3600)
    ended_at_correction: list[int] = []

    running = asyncio.create_task(held.poller.run())
    await clock.sleep(5)
    held.ledger.correct_clock = lambda: ended_at_correction.append(len(held.ended))
    clock.step(-HOUR_MS)
    await clock.sleep(60)
    held.poller.stop()
    await running
    assert ended_at_correction == [1]


async def test_claims_are_renewed_after_a_forward_step_even_if_the_ledger_refuses_once(
    clock: VirtualClock,
) -> None:
    held = Held(clock, from_s=3600)
    renew, renewed = held.ledger.renew, []

    def refused_once(claims: Sequence[Claim]) -> list[Claim]:
        renewed.append(clock.monotonic())
        if len(renewed) == 1:
            raise LedgerError("database is locked")
        return renew(claims)

    running = asyncio.create_task(held.poller.run())
    await clock.sleep(5)
    held.ledger.renew = refused_once  # type: ignore[assignment, method-assign]
    clock.step(HOUR_MS)
    await clock.sleep(3)  # the usual renewal comes later
    in_time = len(renewed)
    held.poller.stop()
    await running

    assert in_time == 2


async def test_a_claim_of_a_query_that_is_not_known_is_given_back(clock: VirtualClock) -> None:
    held = Held(clock, from_s=3600)
    held.poller.assign({})

    running = asyncio.create_task(held.poller.run())
    await clock.sleep(1)
    held.poller.stop()
    await running
    assert held.ledger.given_back == [CLAIM]
