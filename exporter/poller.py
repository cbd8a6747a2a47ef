"""Claims due queries, polls, commits; knows no provider (``semantics.md`` C.3, D.2)."""

import asyncio
import random
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import structlog

from exporter import schedule
from exporter.api import Api
from exporter.clock import MILLISECONDS, Clock
from exporter.errors import ClaimLost, LedgerError, ProviderError, Reason, SchemaFault, TimedOut
from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.provider import Query
from exporter.query import Ask, QuerySpec
from exporter.samples import Window, ceil_to, floor_to
from exporter.telemetry import Telemetry

T = TypeVar("T")
QueryKey = tuple[str, str]

log = structlog.get_logger(__name__)

POLLS_AT_A_TIME = 64
RENEW_EVERY_S = 10.0
IDLE_S = 5.0
GRACE_S = 5.0


class Offload(Protocol):
    """Runs a blocking ledger call somewhere it blocks nobody."""

    def __call__(self, call: Callable[[], T]) -> Awaitable[T]:
        """Return what ``call()`` returns."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """One query as the poller knows it: what to ask, and through which way out."""

    query: Query
    api: Api


@dataclass(frozen=True, slots=True)
class Ended:
    """One poll that ended, for the page: ``outcome`` is ``ok``, ``held`` or a reason."""

    key: QueryKey
    at_ms: int
    seconds: float
    outcome: str
    rows: int


class Poller:
    """Polls until it is told to stop; one poll at a time of each target.

    ``published`` is called after every commit that changed what a query shows, ``ended`` after
    every poll.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        rng: random.Random,
        telemetry: Telemetry,
        offload: Offload,
        published: Callable[[QueryKey], Awaitable[None]],
        ended: Callable[[Ended], None] = lambda _ended: None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._rng = rng
        self._telemetry = telemetry
        self._offload = offload
        self._published = published
        self._ended = ended
        self._lines: Mapping[QueryKey, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._stopping = False

    def assign(self, lines: Mapping[QueryKey, Line]) -> None:
        """Poll ``lines`` from now on; polls under way end as they began."""
        self._lines = dict(lines)
        self._woken.set()

    async def run(self) -> None:
        """Poll whatever is due, until ``stop``; then give running polls five seconds."""
        async with asyncio.TaskGroup() as group:
            heartbeat = group.create_task(self._keep_claims())
            while not self._stopping:
                await self._start_due(group)
                await self._idle()
            await self._wind_up()
            heartbeat.cancel()

    def stop(self) -> None:
        """Start no poll any more, and let ``run`` return."""
        self._stopping = True
        self._woken.set()

    async def _start_due(self, group: asyncio.TaskGroup) -> None:
        while not self._stopping and len(self._tasks) < POLLS_AT_A_TIME:
            try:
                claim = await self._offload(lambda: self._ledger.claim(self._slot_after_now))
            except LedgerError as error:
                self._ledger_failed(error)
                return
            if claim is None:
                return
            task = group.create_task(self._poll(claim), name=f"{claim.target}/{claim.query}")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._woken.set()

    async def _idle(self) -> None:
        """Return when something may be due: at the next slot, or when a poll has ended."""
        try:
            due_ms = await self._offload(self._ledger.next_due_ms)
        except LedgerError as error:
            self._ledger_failed(error)
            due_ms = None
        wait_s = IDLE_S if due_ms is None else (due_ms - self._clock.now_ms()) / MILLISECONDS
        try:
            async with asyncio.timeout(min(max(wait_s, 0.05), IDLE_S)):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    async def _wind_up(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_S)
        for task in self._tasks:
            task.cancel()

    async def _keep_claims(self) -> None:
        while True:
            await self._clock.sleep(RENEW_EVERY_S)
            try:
                held = await self._offload(self._ledger.renew)
                self._telemetry.gauges["claims"].set(held)
            except LedgerError as error:
                self._ledger_failed(error)

    def _slot_after_now(self, target: str, name: str) -> int:
        return schedule.next_slot_ms(self._spec((target, name)), self._clock.now_ms(), self._rng)

    def _spec(self, key: QueryKey) -> QuerySpec:
        return self._lines[key].query.spec

    def _ledger_failed(self, error: LedgerError) -> None:
        self._telemetry.ledger_failed("commit")
        log.error("ledger failed", fault=str(error))

    async def _poll(self, claim: Claim) -> None:
        key = (claim.target, claim.query)
        line = self._lines[key]
        spec = line.query.spec
        started_ms, started = self._clock.now_ms(), self._clock.monotonic()
        self._count(spec, "polls_total")
        self._count_late(spec, claim, started_ms)
        rows = 0
        try:
            async with asyncio.timeout(spec.deadline_ms / MILLISECONDS):
                rows, outcome = await self._read(line, claim, started_ms)
            await self._finish(spec, claim, outcome)
        except TimeoutError:
            outcome = await self._failed(
                spec, claim, TimedOut(f"{spec.name}: not done within {spec.deadline_ms // 1000} s")
            )
        except ProviderError as error:
            outcome = await self._failed(spec, claim, error)
        except LedgerError as error:
            outcome = self._lost(spec, error)
        except asyncio.CancelledError:
            self._count(spec, "poll_failures_total", reason=Reason.CANCELLED)
            raise
        except Exception as bug:  # noqa: BLE001 - one provider's bug must not stop its neighbours
            outcome = await self._failed(
                spec, claim, SchemaFault(f"{type(bug).__name__} in the provider")
            )
            log.error("bug", target=spec.target, query=spec.name, where=_innermost(bug))
        seconds = self._clock.monotonic() - started
        self._telemetry.polls.labels(spec.provider).observe(seconds)
        self._ended(Ended(key, started_ms, seconds, outcome, rows))
        await self._show(key)

    async def _read(self, line: Line, claim: Claim, started_ms: int) -> tuple[int, str]:
        """Apply each reading as it comes; return how many rows were counted, and the outcome."""
        spec, rows = line.query.spec, 0
        ask = self._ask(spec, claim, started_ms)
        async for reading in line.query.read(line.api, ask):
            poll_id = uuid.UUID(int=self._rng.getrandbits(128)).hex
            apply = partial(
                self._ledger.apply, claim, reading, started_ms=started_ms, poll_id=poll_id
            )
            applied = await self._offload(apply)
            self._telemetry.add(applied.counted)
            rows += applied.rows
            if applied.held:
                return rows, "held"
            if reading.more:
                await self._published((claim.target, claim.query))
        return rows, "ok"

    def _ask(self, spec: QuerySpec, claim: Claim, now_ms: int) -> Ask:
        async def spend() -> None:
            if spec.budget is not None:
                purse = spec.budget
                await self._offload(lambda: self._ledger.spend(claim, purse))

        return Ask(
            window=poll_window(spec, claim, now_ms),
            now_ms=now_ms,
            first=claim.epoch_ms is None,
            epoch_ms=claim.epoch_ms,
            watermark_ms=claim.watermark_ms,
            last_success_ms=claim.last_success_ms,
            memo=claim.memo,
            spend=spend,
        )

    async def _finish(self, spec: QuerySpec, claim: Claim, outcome: str) -> None:
        next_ms = schedule.next_slot_ms(spec, self._clock.now_ms(), self._rng)
        end = self._ledger.hold if outcome == "held" else self._ledger.succeed
        await self._offload(lambda: end(claim, next_poll_ms=next_ms))
        recovered = claim.fail_streak > 0 and outcome == "ok"
        if recovered or outcome == "held":
            said = "recovered" if recovered else "a collapse is held back until it is confirmed"
            log.info(said, target=spec.target, query=spec.name)

    async def _failed(self, spec: QuerySpec, claim: Claim, error: ProviderError) -> str:
        now_ms = self._clock.now_ms()
        verdict = schedule.after_failure(
            spec,
            error,
            streak=claim.fail_streak + 1,
            backoff_ms=claim.backoff_ms,
            now_ms=now_ms,
            rng=self._rng,
        )
        self._count(spec, "poll_failures_total", reason=error.reason)
        if error.reason is Reason.THROTTLED:
            self._telemetry.count("throttled_total", target=spec.target, provider=spec.provider)
        skipped = schedule.slots_between(spec, now_ms, verdict.next_poll_ms - 1)
        if verdict.circuit == "open" and skipped:
            self._count(spec, "polls_skipped_total", skipped, reason="circuit_open")
        if claim.fail_streak == 0 or verdict.circuit != claim.circuit:
            log.warning(
                "poll failed", target=spec.target, query=spec.name, reason=error.reason.value,
                fault=str(error), circuit=verdict.circuit,
            )  # fmt: skip
        try:
            await self._offload(
                lambda: self._ledger.fail(
                    claim,
                    next_poll_ms=verdict.next_poll_ms,
                    backoff_ms=verdict.backoff_ms,
                    circuit=verdict.circuit,
                    last_reason=error.reason.value,
                    last_fault=str(error),
                    postpone_target_ms=verdict.hold_target_ms,
                )
            )
        except LedgerError as fault:
            return self._lost(spec, fault)
        return error.reason.value

    def _lost(self, spec: QuerySpec, error: LedgerError) -> str:
        """Count a poll whose result could not be committed; the next one reads it all again."""
        self._count(spec, "poll_failures_total", reason=error.reason)
        if isinstance(error, ClaimLost):
            self._telemetry.claim_lost()
        else:
            self._ledger_failed(error)
        return error.reason.value

    async def _show(self, key: QueryKey) -> None:
        try:
            await self._published(key)
        except LedgerError as error:
            self._ledger_failed(error)

    def _count_late(self, spec: QuerySpec, claim: Claim, now_ms: int) -> None:
        missed = schedule.slots_between(spec, claim.due_ms, now_ms)
        if missed and claim.last_read_ms is not None:
            self._count(spec, "polls_skipped_total", missed, reason="overlap")

    def _count(self, spec: QuerySpec, name: str, amount: float = 1, **labels: str) -> None:
        own = {"provider": spec.provider, "query": spec.name}
        self._telemetry.count(name, amount, target=spec.target, **own, **labels)


def _innermost(bug: Exception) -> str:
    """Return file and line where ``bug`` arose; its text may hold what the vendor sent."""
    frames = traceback.extract_tb(bug.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"


def poll_window(spec: QuerySpec, claim: Claim, now_ms: int) -> Window:
    """Return what a poll reads: from the oldest unsettled bucket, at least the lookback, to now.

    Never from before the first range, whose older rows belong to no counter; never further back
    than the API reaches.
    """
    step = spec.granularity_ms or 1
    start_ms = floor_to(now_ms - spec.lookback_ms, step)
    if claim.cursor_ms is not None:
        start_ms = min(start_ms, claim.cursor_ms)
    if spec.reach_ms is not None:
        start_ms = max(start_ms, ceil_to(now_ms - spec.reach_ms, step))
    if claim.floor_ms is not None and claim.epoch_ms is not None:
        start_ms = max(start_ms, ceil_to(claim.floor_ms, step))
    return Window(start_ms, ceil_to(now_ms + 1, step))
