"""Polls one claimed query: sends requests, applies each reading, decides what follows."""

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Literal, TypeVar

import structlog

from exporter.clock import Clock
from exporter.errors import (
    BudgetSpent,
    ClaimLost,
    LedgerError,
    ProgramError,
    ProviderError,
    Reason,
    SchemaError,
    TimedOut,
)
from exporter.http_client.client import ApiClient
from exporter.ledger.offload import Offload
from exporter.ledger.rows import Claim, LastOutcome, Retry, self_count
from exporter.ledger.store import Ledger
from exporter.model.query import PollRequest, QueryKey, QuerySpec
from exporter.model.samples import SECOND_MS, SelfCount, Window
from exporter.polling import schedule, windows
from exporter.polling.hints import hint_for
from exporter.providers.base.plugin import Query
from exporter.telemetry.counters import Telemetry

log = structlog.get_logger(__name__)

T = TypeVar("T")
Outcome = Literal["ok", "held", "budget"] | Reason
"""How a poll ended: applied, held back, without a call of its budget, or why it failed."""

COUNTED = attrgetter("counted")
QUARANTINED = "response quarantined: counts collapsed, waiting for two confirming polls"


@dataclass(frozen=True, slots=True)
class ScheduledQuery:
    """One query and the client to poll it with."""

    query: Query
    api: ApiClient


@dataclass(frozen=True, slots=True)
class PollResult:
    """One finished poll, for the page; ``before`` is the last outcome when it began."""

    key: QueryKey
    at_ms: int
    seconds: float
    outcome: Outcome
    rows: int
    before: LastOutcome


@dataclass(frozen=True, slots=True)
class PollContext:
    """Shared by all polls. ``published`` is awaited after each commit that shows something.

    ``one_slice`` makes slices apply one at a time, so that a live poll waits for at most one of
    them at the ledger.
    """

    ledger: Ledger
    clock: Clock
    rng: random.Random
    telemetry: Telemetry
    offload: Offload
    published: Callable[[QueryKey], Awaitable[None]]
    one_slice: asyncio.Lock = field(default_factory=asyncio.Lock)

    def count(self, spec: QuerySpec, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a self counter of the query."""
        own = {"provider": spec.provider, "query": spec.name}
        self.telemetry.count(name, amount, target=spec.target, **own, **labels)

    async def commit(
        self, call: Callable[[], T], counted: Callable[[T], Mapping[SelfCount, float]]
    ) -> T:
        """Run ``call`` of the ledger and add what it ``counted``, even if cancelled meanwhile.

        The ledger's thread commits all the same.
        """

        async def committing() -> T:
            done = await self.offload(call)
            self.telemetry.add(counted(done))
            return done

        commit = asyncio.ensure_future(committing())
        commit.add_done_callback(_retrieve)
        return await asyncio.shield(commit)

    def failed(
        self, spec: QuerySpec, error: ProviderError | LedgerError, *, streak: int, backoff_ms: int
    ) -> Retry:
        """Count a throttled read; return when to try again after ``error``."""
        if error.reason is Reason.THROTTLED:
            self.telemetry.count("throttled_total", target=spec.target, provider=spec.provider)
        now_ms, rng = self.clock.now_ms(), self.rng
        return schedule.after_failure(
            spec, error, streak=streak, backoff_ms=backoff_ms, now_ms=now_ms, rng=rng
        )


def _retrieve(commit: asyncio.Future[T]) -> None:
    """Take the exception of a commit, for which a cancelled poll does not wait."""
    if not commit.cancelled():
        commit.exception()


async def poll(context: PollContext, scheduled: ScheduledQuery, claim: Claim) -> PollResult:
    """Poll once and commit the outcome, whatever happens; raises only if cancelled."""
    spec = scheduled.query.spec
    started_ms, started = context.clock.now_ms(), context.clock.monotonic()
    context.count(spec, "polls_total")
    try:
        outcome, rows = await _attempt(context, scheduled, claim, started_ms)
    except asyncio.CancelledError:
        context.count(spec, "poll_failures_total", reason=Reason.CANCELLED)
        raise
    missed = schedule.slots_between(spec, claim.due_ms, context.clock.now_ms())
    if missed and claim.last_read_ms is not None:
        context.count(spec, "polls_skipped_total", missed, reason="overlap")
    seconds = context.clock.monotonic() - started
    context.telemetry.observe("poll_duration_seconds", seconds, spec.provider)
    log.debug("polled", target=spec.target, query=spec.name, outcome=str(outcome), rows=rows)
    return PollResult(claim.key, started_ms, seconds, outcome, rows, claim.last_outcome)


async def _attempt(
    context: PollContext, scheduled: ScheduledQuery, claim: Claim, started_ms: int
) -> tuple[Outcome, int]:
    spec = scheduled.query.spec
    limit_s = spec.deadline_ms / SECOND_MS
    try:
        async with asyncio.timeout(limit_s) as limit:
            rows, outcome = await _read(context, scheduled, claim, started_ms, limit)
        if outcome == "held":
            await _hold(context, spec, claim)
        elif claim.fail_streak > 0:
            log.info("recovered", target=spec.target, query=spec.name)
    except TimeoutError:
        slow = TimedOut(f"{spec.name}: not done within {limit_s:g} s")
        return await _fail(context, spec, claim, slow), 0
    except BudgetSpent as error:
        return await _skip(context, spec, claim, error), 0
    except ClaimLost as error:
        context.count(spec, "poll_failures_total", reason=error.reason)
        return _not_recorded(context, error), 0
    except (ProviderError, LedgerError) as error:
        return await _fail(context, spec, claim, error), 0
    except Exception as bug:  # noqa: BLE001 - a bug in one provider must not stop the others
        first = claim.fail_streak == 0
        return await _fail(context, spec, claim, program_error(spec, bug, first=first)), 0
    return outcome, rows


async def _read(
    context: PollContext,
    scheduled: ScheduledQuery,
    claim: Claim,
    started_ms: int,
    limit: asyncio.Timeout,
) -> tuple[int, Outcome]:
    """Apply each reading as it arrives; return the number of rows read, and the outcome."""
    spec, rows = scheduled.query.spec, 0
    window = windows.poll_window(spec, claim, started_ms)
    past = windows.past_with_window(spec, claim, window, started_ms)
    start_ms = window.start_ms if past is None else min(past.start_ms, window.start_ms)
    asked = Window(start_ms, window.end_ms)
    request = _request(context, spec, claim, asked, started_ms)
    readings = scheduled.query.read(scheduled.api, request)
    async with aclosing(readings) as each:
        async for reading in each:
            if not reading.more:
                limit.reschedule(None)  # the vendor has answered; the ledger commits all the same
            for part, older, more in windows.parts(reading, window, past):
                next_ms = None if more else _next_slot_ms(context, spec)
                apply = partial(context.ledger.apply, claim, part, started_ms=started_ms)
                apply = partial(apply, of_past=older, next_poll_ms=next_ms)
                applied = await context.commit(apply, COUNTED)
                rows += applied.rows
                if applied.held and not older:
                    return rows, "held"
            if not reading.more:
                return rows, "ok"
            await context.published(claim.key)
    raise ProgramError(f"{spec.name}: the last reading announces another one")


def _request(
    context: PollContext, spec: QuerySpec, claim: Claim, window: Window, now_ms: int
) -> PollRequest:
    async def spend() -> None:
        if spec.budget is not None:
            budget = spec.budget
            await context.offload(lambda: context.ledger.spend(claim, budget))
            await _show_spent(context, claim)

    return PollRequest(
        window=window,
        now_ms=now_ms,
        first=claim.epoch_ms is None,
        epoch_ms=claim.epoch_ms,
        watermark_ms=claim.watermark_ms,
        memo=claim.memo,
        spend=spend,
    )


async def _show_spent(context: PollContext, claim: Claim) -> None:
    """Show that the call is spent; a ledger that cannot be read must not waste the call."""
    with suppress(LedgerError):
        await context.published(claim.key)


def _next_slot_ms(context: PollContext, spec: QuerySpec) -> int:
    return schedule.next_slot_ms(spec, context.clock.now_ms(), context.rng)


async def _hold(context: PollContext, spec: QuerySpec, claim: Claim) -> None:
    next_ms = _next_slot_ms(context, spec)
    await context.offload(lambda: context.ledger.end_poll(claim, next_poll_ms=next_ms))
    log.info(QUARANTINED, target=spec.target, query=spec.name)


async def _skip(context: PollContext, spec: QuerySpec, claim: Claim, error: BudgetSpent) -> Outcome:
    """End a poll that has no call yet, without a verdict on the provider, which was not called."""
    context.count(spec, "polls_skipped_total", reason="budget")
    next_ms = context.clock.now_ms() + round((error.retry_after_s or 0) * SECOND_MS)
    try:
        await context.offload(lambda: context.ledger.end_poll(claim, next_poll_ms=next_ms))
    except LedgerError as lost:
        context.count(spec, "poll_failures_total", reason=lost.reason)
        return _not_recorded(context, lost)
    return "budget"


async def _fail(
    context: PollContext, spec: QuerySpec, claim: Claim, error: ProviderError | LedgerError
) -> Reason:
    now_ms, message = context.clock.now_ms(), f"{error}; {hint_for(error)}"
    retry = context.failed(spec, error, streak=claim.fail_streak + 1, backoff_ms=claim.backoff_ms)
    context.count(spec, "poll_failures_total", reason=error.reason)
    drift = _drift(spec, error)
    skipped = schedule.slots_between(spec, now_ms, retry.next_poll_ms - 1)
    if retry.circuit == "open" and skipped:
        context.count(spec, "polls_skipped_total", skipped, reason="circuit_open")
    if claim.fail_streak == 0 or retry.circuit != claim.circuit:
        log.warning(
            "poll failed", target=spec.target, query=spec.name, reason=error.reason.value,
            error=message, circuit=retry.circuit,
        )  # fmt: skip
    try:
        fail = partial(
            context.ledger.fail,
            claim,
            retry,
            reason=error.reason.value,
            error=message,
            budget=spec.budget,
            counted=drift,
        )
        await context.commit(fail, lambda counted: counted)
    except LedgerError as lost:
        return _not_recorded(context, lost)
    return error.reason


def _drift(spec: QuerySpec, error: ProviderError | LedgerError) -> dict[SelfCount, float]:
    """Return the drift of a rejected response, persisted like that of accepted ones."""
    if not isinstance(error, SchemaError):
        return {}
    return dict(self_count(spec, "schema_drift_total", query=spec.name, kind=error.kind))


def _not_recorded(context: PollContext, error: LedgerError) -> Reason:
    """Return the outcome of a poll that was not recorded; the next one reads everything again."""
    if isinstance(error, ClaimLost):
        context.telemetry.increment("claims_lost_total")
    return error.reason


def program_error(spec: QuerySpec, bug: Exception, *, first: bool) -> ProgramError:
    """Return type and place of ``bug``, without its text, which may have vendor data.

    It is logged if it is the ``first`` failure in a row.
    """
    if first:
        log.error("a bug ended a poll", target=spec.target, query=spec.name, exc_info=bug)
    *_, last = traceback.extract_tb(bug.__traceback__)
    at = f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno}"
    return ProgramError(f"{spec.name}: {type(bug).__name__} at {at}")
