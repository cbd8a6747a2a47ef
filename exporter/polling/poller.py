"""Claims due queries, polls, commits; knows no provider."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from exporter.clock import MILLISECONDS
from exporter.errors import LedgerError
from exporter.ledger.rows import Claim
from exporter.model.query import QueryKey
from exporter.polling import schedule
from exporter.polling.poll import PollContext, PollResult, ScheduledQuery, poll

RENEW_EVERY_S = 10.0
IDLE_S = 5.0
GRACE_S = 5.0


class Poller:
    """Polls until it is stopped; one poll at a time of each target.

    ``ended`` receives every result. Those that run have ``grace_s`` to end once it is stopped.
    """

    def __init__(
        self,
        context: PollContext,
        ended: Callable[[PollResult], None] = lambda _ended: None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._context = context
        self._ended = ended
        self._grace_s = grace_s
        self._queries: Mapping[QueryKey, ScheduledQuery] = {}
        self._tasks: dict[asyncio.Task[None], Claim] = {}
        self._woken = asyncio.Event()
        self._stopping = False

    def assign(self, queries: Mapping[QueryKey, ScheduledQuery]) -> None:
        """Poll ``queries`` from now on; polls under way end as they began."""
        self._queries = dict(queries)
        self._woken.set()

    async def run(self) -> None:
        """Poll whatever is due, until ``stop``; then give running polls their grace."""
        async with asyncio.TaskGroup() as group:
            heartbeat = group.create_task(self._keep_claims())
            while not self._stopping:
                await self._start_due(group)
                await self._idle()
            await self._finish_polls()
            heartbeat.cancel()

    def wake(self) -> None:
        """Look for due queries now."""
        self._woken.set()

    def stop(self) -> None:
        """Start no poll any more, and let ``run`` return."""
        self._stopping = True
        self._woken.set()

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        while not self._stopping:
            try:
                claim = await self._context.offload(
                    lambda: self._context.ledger.claim(self._slot_after_now)
                )
            except LedgerError as error:
                self._context.ledger_failed(error)
                return
            if claim is None:
                return
            task = group.create_task(self._poll(claim), name=f"{claim.target}/{claim.query}")
            self._tasks[task] = claim
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._woken.set()

    async def _idle(self) -> None:
        """Return when something may be due: at the next slot, or when a poll has ended."""
        try:
            due_ms = await self._context.offload(self._context.ledger.next_due_ms)
        except LedgerError as error:
            self._context.ledger_failed(error)
            due_ms = None
        wait_s = (
            IDLE_S if due_ms is None else (due_ms - self._context.clock.now_ms()) / MILLISECONDS
        )
        try:
            async with asyncio.timeout(min(max(wait_s, 0.05), IDLE_S)):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _finish_polls(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._grace_s)
        for task in list(self._tasks):
            task.cancel()

    async def _keep_claims(self) -> None:
        while True:
            await self._context.clock.sleep(RENEW_EVERY_S)
            try:
                claims = list(self._tasks.values())
                held = await self._context.offload(partial(self._context.ledger.renew, claims))
                self._context.telemetry.set("claims", held)
            except LedgerError as error:
                self._context.ledger_failed(error)

    def _slot_after_now(self, target: str, name: str) -> int:
        return schedule.next_slot_ms(
            self._context.ledger.spec((target, name)),
            self._context.clock.now_ms(),
            self._context.rng,
        )

    async def _poll(self, claim: Claim) -> None:
        key = (claim.target, claim.query)
        self._ended(await poll(self._context, self._queries[key], claim))
        try:
            await self._context.published(key)
        except LedgerError as error:
            self._context.ledger_failed(error)
