"""Claims due queries, polls, commits; knows no provider."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from exporter.clock import MILLISECONDS, StepDetector
from exporter.errors import ClaimLost, LedgerError
from exporter.ledger.claims import CLAIM_MS
from exporter.ledger.rows import Claim
from exporter.ledger.settings import digest
from exporter.model.query import QueryKey
from exporter.polling.past import read_slice
from exporter.polling.poll import PollContext, PollResult, ScheduledQuery, poll

RENEW_EVERY_S = 10.0
LEASE_S = CLAIM_MS / MILLISECONDS - 1
"""No request leaves or goes on when the claim is nearly as old as where another replica takes it."""
LEASE_CHECK_S = 0.5
IDLE_S = 5.0
SHARED_IDLE_S = 1.0
"""The same where other replicas end polls: when what they poll is due next, is not known before."""
GRACE_S = 5.0
LONGEST_BACKOFF_S = 30.0
SLICES_AT_ONCE = 8
LOOK_EVERY_S = 60.0
"""How often to look for slices that have waited too long."""

SUPERSEDED = "another replica has newer settings: these queries are left to it; reload this one"

log = structlog.get_logger(__name__)


class Poller:
    """Polls until it is stopped; one poll at a time of each target.

    ``ended`` receives every result; ``blocked`` is called when no due query can be claimed, since
    the ledger takes no writes, ``clock_corrected`` when instants in the ledger were corrected.
    Polls that run have ``grace_s`` to end once it is stopped. ``superseded`` are queries that a
    replica with newer settings has.
    """

    def __init__(
        self,
        context: PollContext,
        *,
        ended: Callable[[PollResult], None] = lambda _ended: None,
        blocked: Callable[[], None] = lambda: None,
        clock_corrected: Callable[[], None] = lambda: None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._context = context
        self._ended = ended
        self._blocked = blocked
        self._clock_corrected = clock_corrected
        self._grace_s = grace_s
        self._queries: Mapping[QueryKey, ScheduledQuery] = {}
        self._tasks: dict[asyncio.Task[None], Claim] = {}
        self._slices: dict[asyncio.Task[None], Claim] = {}
        self._renewed_s: dict[QueryKey, float] = {}
        self.superseded: list[QueryKey] = []
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._steps = StepDetector(context.clock)
        self._set_back = False
        self._turned_s = self._look_s = context.clock.monotonic()
        self._starved = False

    def assign(self, queries: Mapping[QueryKey, ScheduledQuery]) -> None:
        """Poll ``queries`` from now on; polls under way end as they began.

        Those of queries that are gone or mean something else are cancelled: their claims have
        ended, and there is one request stream at a time.
        """
        before, self._queries = self._queries, dict(queries)
        self._cancel(
            claim
            for claim in self._running()
            if _meaning(queries, claim) != _meaning(before, claim)
        )
        self._woken.set()

    async def run(self) -> None:
        """Poll whatever is due, until ``stop``; then give running polls their grace."""
        backoff_s = 0.0
        async with asyncio.TaskGroup() as group:
            keeping = [group.create_task(self._keep_claims())]
            if self._context.ledger.shared:
                keeping.append(group.create_task(self._end_leases()))
            while not self._stopping.is_set():
                self._turned_s = self._context.clock.monotonic()
                try:
                    await self._follow_clock()
                    await self._start_due(group)
                    await self._idle()
                    backoff_s = 0.0
                except LedgerError:
                    self._blocked()
                    backoff_s = min(max(1.0, 2 * backoff_s), LONGEST_BACKOFF_S)
                    await self._wait(self._stopping, backoff_s)
            await self._finish_polls()
            for task in keeping:
                task.cancel()

    def idle_s(self) -> float:
        """Return for how many seconds the loop has not turned: half a minute at most, in health."""
        return self._context.clock.monotonic() - self._turned_s

    def wake(self) -> None:
        """Look for due queries now."""
        self._woken.set()

    def stop(self) -> None:
        """Start no poll any more, and let ``run`` return."""
        self._stopping.set()
        self._woken.set()

    async def abandon(self) -> None:
        """Cancel the polls under way, and return when they have ended."""
        running = [*self._tasks, *self._slices]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _follow_clock(self) -> None:
        """Count steps of the wall clock; correct what it wrote while it was ahead."""
        step_s = self._steps.step_s()
        if step_s:
            self._context.telemetry.increment("clock_steps_total")
            log.warning("the wall clock was set", seconds=round(step_s, 3))
        self._set_back |= step_s < 0
        if self._set_back:
            await self.abandon()  # their claims end now, and another replica may ask the vendor
            await self._context.offload(self._context.ledger.correct_clock)
            self._set_back = False
            self._clock_corrected()

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        await self._give_way()
        ledger = self._context.ledger
        slices = self._read_slice, self._slices, SLICES_AT_ONCE
        if self._turned_s >= self._look_s:
            self._look_s = self._turned_s + LOOK_EVERY_S
            self._starved = await self._context.offload(ledger.starved)
        if self._starved:
            await self._start(group, partial(ledger.claim_slice, ahead=True), *slices)
        await self._start(group, ledger.claim, self._poll, self._tasks)
        await self._start(group, ledger.claim_slice, *slices)

    async def _start(
        self,
        group: asyncio.TaskGroup,
        claim_next: Callable[[], Claim | None],
        run: Callable[[ScheduledQuery, Claim], Coroutine[Any, Any, None]],
        tasks: dict[asyncio.Task[None], Claim],
        most: float = math.inf,
    ) -> None:
        """Start whatever can be claimed, while there are fewer than ``most`` tasks."""
        while not self._stopping.is_set() and len(tasks) < most:
            claimed_s, server = self._context.clock.monotonic(), self._context.ledger.server
            claim = await self._context.offload(claim_next)
            self._turned_s = self._context.clock.monotonic()
            if claim is None:
                return
            scheduled = self._queries.get(claim.key)
            if scheduled is None:
                continue  # a reload removed it meanwhile, and its claim with it
            task = group.create_task(run(scheduled, claim), name=f"{claim.target}/{claim.query}")
            tasks[task] = claim
            self._renewed_s[claim.key] = claimed_s
            if self._context.ledger.shared:
                scheduled.api.may_send = partial(self._check_lease, claim, server)
            task.add_done_callback(partial(self._done, tasks))

    def _lease_is_over(self, claim: Claim) -> bool:
        """Say whether another replica may have the target by now."""
        return self._context.clock.monotonic() - self._renewed_s[claim.key] >= LEASE_S

    def _check_lease(self, claim: Claim, server: int) -> None:
        if self._lease_is_over(claim) or server != self._context.ledger.server:
            raise ClaimLost(f"{claim.target}/{claim.query}: another replica may have the target")

    def _running(self) -> list[Claim]:
        return [*self._tasks.values(), *self._slices.values()]

    def _cancel(self, claims: Iterable[Claim]) -> None:
        lost = list(claims)
        for task, claim in (self._tasks | self._slices).items():
            if claim in lost:
                task.cancel()

    def _done(self, tasks: dict[asyncio.Task[None], Claim], task: asyncio.Task[None]) -> None:
        del tasks[task]
        self._woken.set()

    async def _give_way(self) -> None:
        """Break off slices of targets of which a query is due: a live poll waits for none."""
        yielding = {task: claim for task, claim in self._slices.items() if not claim.ahead}
        if not yielding:
            return
        ledger, targets = self._context.ledger, [each.target for each in yielding.values()]
        due = await self._context.offload(partial(ledger.due_targets, targets))
        for task, claim in yielding.items():
            if claim.target not in due:
                continue
            task.cancel()
            await asyncio.wait([task])
            with suppress(ClaimLost):  # it has ended meanwhile
                await self._context.offload(partial(ledger.give_way, claim))

    async def _idle(self) -> None:
        """Return when something may be due: at the next slot, or when a poll has ended."""
        yielding = [each.target for each in self._slices.values() if not each.ahead]
        look = partial(self._context.ledger.next_due_ms, yielding)
        due_ms = await self._context.offload(look)
        wait_s = (
            IDLE_S if due_ms is None else (due_ms - self._context.clock.now_ms()) / MILLISECONDS
        )
        longest_s = SHARED_IDLE_S if self._context.ledger.shared else IDLE_S
        await self._wait(self._woken, min(max(wait_s, 0.05), longest_s))
        self._woken.clear()

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    async def _finish_polls(self) -> None:
        for task in list(self._slices):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._grace_s)
        for task in list(self._tasks):
            task.cancel()

    async def _keep_claims(self) -> None:
        while True:
            await self._context.clock.sleep(RENEW_EVERY_S)
            claims = self._running()
            renewed_s = self._context.clock.monotonic()
            with suppress(LedgerError):  # the claims expire, and their queries go on
                held = await self._context.offload(partial(self._context.ledger.renew, claims))
                self._context.telemetry.set("claims", len(held))
                self._renewed_s |= dict.fromkeys((claim.key for claim in held), renewed_s)
                if self._context.ledger.shared:
                    self._cancel(claim for claim in claims if claim not in held)
                    await self._follow_settings()

    async def _end_leases(self) -> None:
        """Cancel polls whose claims could not be renewed: their requests would go on beside others'."""
        while True:
            await self._context.clock.sleep(LEASE_CHECK_S)
            self._cancel(claim for claim in self._running() if self._lease_is_over(claim))

    async def _follow_settings(self) -> None:
        """Show which queries other replicas have newer settings of; those are left to them."""
        found = await self._context.offload(self._context.ledger.superseded)
        self._context.telemetry.set("superseded_queries", len(found))
        if found and found != self.superseded:
            log.warning(SUPERSEDED, queries=["/".join(key) for key in found])
        if self.superseded and not found:
            log.info("these settings are in force again")
        self.superseded = found

    async def _read_slice(self, scheduled: ScheduledQuery, claim: Claim) -> None:
        await read_slice(self._context, scheduled, claim)
        with suppress(LedgerError):
            await self._context.published(claim.key)

    async def _poll(self, scheduled: ScheduledQuery, claim: Claim) -> None:
        self._ended(await poll(self._context, scheduled, claim))
        with suppress(LedgerError):  # shown by the next tick that can read it
            await self._context.published(claim.key)


def _meaning(queries: Mapping[QueryKey, ScheduledQuery], claim: Claim) -> bytes:
    found = queries.get(claim.key)
    return digest([found.query.spec]) if found else b""
