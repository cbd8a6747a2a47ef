"""Claims due queries, polls them and commits the results, for any provider."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from exporter.clock import StepDetector
from exporter.errors import ClaimLost, LedgerError
from exporter.ledger.claims import CLAIM_MS
from exporter.ledger.rows import Claim
from exporter.ledger.settings import digest
from exporter.model.query import QueryKey
from exporter.model.samples import SECOND_MS
from exporter.polling.past import read_slice
from exporter.polling.poll import PollContext, PollResult, ScheduledQuery, poll

RENEW_EVERY_S = 10.0
LEASE_S = CLAIM_MS / SECOND_MS - 1
"""Requests are neither sent nor continued once another replica could soon take the claim."""
LEASE_CHECK_S = 0.5
IDLE_S = 5.0
SHARED_IDLE_S = 1.0
"""The same with other replicas: when a query that they poll is due next is only known later."""
GRACE_S = 5.0
LONGEST_BACKOFF_S = 30.0
SLICES_AT_ONCE = 8
LOOK_EVERY_S = 60.0
"""How often to look for slices that have waited too long."""

SUPERSEDED = "another replica has newer settings and polls these queries; reload this one"

log = structlog.get_logger(__name__)


class Poller:
    """Polls until it is stopped, with one poll per target at a time.

    ``ended`` receives every result; ``blocked`` is called when no due query can be claimed because
    the ledger takes no writes, ``clock_corrected`` when times in the ledger were corrected. After a
    stop, running polls have ``grace_s`` to end. ``superseded`` are the queries that a replica with
    newer settings polls.
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
        self._set_forward = self._set_back = False
        self._turned_s = self._look_s = context.clock.monotonic()
        self._starved = False

    def assign(self, queries: Mapping[QueryKey, ScheduledQuery]) -> None:
        """Poll ``queries`` from now on; polls under way finish with the settings they began with.

        Polls of queries that are gone or have another meaning are cancelled: their claims have
        ended, and a target has only one stream of requests at a time.
        """
        before, self._queries = self._queries, dict(queries)
        self._cancel(
            claim
            for claim in self._running()
            if _meaning(queries, claim) != _meaning(before, claim)
        )
        self._woken.set()

    async def run(self) -> None:
        """Poll whatever is due until ``stop``, then give running polls time to end."""
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
        """Return the seconds since the loop last turned; at most 30 s while it is healthy."""
        return self._context.clock.monotonic() - self._turned_s

    def wake(self) -> None:
        """Check for due queries now."""
        self._woken.set()

    def stop(self) -> None:
        """Start no more polls, and let ``run`` return."""
        self._stopping.set()
        self._woken.set()

    async def abandon(self) -> None:
        """Cancel the polls under way and wait until they have ended."""
        running = [*self._tasks, *self._slices]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _follow_clock(self) -> None:
        """Count steps of the wall clock; correct times written while it was ahead."""
        step_s = self._steps.step_s()
        if step_s:
            self._context.telemetry.increment("clock_steps_total")
            log.warning("the wall clock was set", seconds=round(step_s, 3))
        self._set_forward |= step_s > 0
        if self._set_forward:  # by the new time claims may have expired; their polls go on
            await self._context.offload(partial(self._context.ledger.renew, self._running()))
            self._set_forward = False
        self._set_back |= step_s < 0
        if self._set_back:
            await self.abandon()  # their claims end now, and another replica may poll the vendor
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
        """Start everything that can be claimed while there are fewer than ``most`` tasks."""
        while not self._stopping.is_set() and len(tasks) < most:
            claimed_s, server = self._context.clock.monotonic(), self._context.ledger.replica.server
            claim = await self._context.offload(claim_next)
            self._turned_s = self._context.clock.monotonic()
            if claim is None:
                return
            scheduled = self._queries.get(claim.key)
            if scheduled is None:  # a reload under way, or another replica's settings
                end = partial(self._context.ledger.end_poll, claim, next_poll_ms=claim.due_ms)
                with suppress(ClaimLost):
                    await self._context.offload(end)
                return
            task = group.create_task(run(scheduled, claim), name=f"{claim.target}/{claim.query}")
            tasks[task] = claim
            self._renewed_s[claim.key] = claimed_s
            if self._context.ledger.shared:
                scheduled.api.may_send = partial(self._check_lease, claim, server)
            task.add_done_callback(partial(self._done, tasks))

    def _lease_is_over(self, claim: Claim) -> bool:
        """Return whether another replica may have claimed the target by now."""
        return self._context.clock.monotonic() - self._renewed_s[claim.key] >= LEASE_S

    def _check_lease(self, claim: Claim, server: int) -> None:
        if self._lease_is_over(claim) or server != self._context.ledger.replica.server:
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
        """Cancel slices of targets with a due query, so that no live poll waits for them."""
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
            with suppress(ClaimLost):  # the slice has ended meanwhile
                await self._context.offload(partial(ledger.give_way, claim))

    async def _idle(self) -> None:
        """Wait until something may be due: the next slot, or the end of a poll."""
        yielding = [each.target for each in self._slices.values() if not each.ahead]
        look = partial(self._context.ledger.next_due_ms, yielding)
        due_ms = await self._context.offload(look)
        wait_s = IDLE_S if due_ms is None else (due_ms - self._context.clock.now_ms()) / SECOND_MS
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
            with suppress(LedgerError):  # the claims expire, and their queries are free again
                held = await self._context.offload(partial(self._context.ledger.renew, claims))
                self._context.telemetry.set("claims", len(held))
                self._renewed_s |= dict.fromkeys((claim.key for claim in held), renewed_s)
                if self._context.ledger.shared:
                    self._cancel(claim for claim in claims if claim not in held)
                    await self._follow_settings()

    async def _end_leases(self) -> None:
        """Cancel polls whose claims were not renewed, before other replicas send requests, too."""
        while True:
            await self._context.clock.sleep(LEASE_CHECK_S)
            self._cancel(claim for claim in self._running() if self._lease_is_over(claim))

    async def _follow_settings(self) -> None:
        """Report the queries that are left to other replicas with newer settings."""
        found = await self._context.offload(self._context.ledger.replica.superseded)
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
        with suppress(LedgerError):  # the next tick that can read it shows it
            await self._context.published(claim.key)


def _meaning(queries: Mapping[QueryKey, ScheduledQuery], claim: Claim) -> bytes:
    found = queries.get(claim.key)
    return digest([found.query.spec]) if found else b""
