"""One poll of one claimed query: ask, apply each reading, decide what follows (C.3, D.2)."""

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from exporter.clock import MILLISECONDS, Clock
from exporter.errors import (
    BudgetSpent,
    ClaimLost,
    LedgerError,
    ProviderError,
    Reason,
    SchemaError,
    TimedOut,
)
from exporter.http_client.client import ApiClient
from exporter.ledger.offload import Offload
from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.model.query import PollRequest, QueryKey, QuerySpec
from exporter.model.samples import SelfCount, Window, ceil_to, floor_to
from exporter.polling import schedule
from exporter.polling.hints import advice
from exporter.providers.base.plugin import Query
from exporter.telemetry.counters import PREFIX, Telemetry

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ScheduledQuery:
    """One query as the poller knows it: what to ask, and through which way out."""

    query: Query
    api: ApiClient


@dataclass(frozen=True, slots=True)
class PollResult:
    """One poll that ended, for the page: ``outcome`` is ``ok``, ``held``, ``budget`` or a reason."""

    key: QueryKey
    at_ms: int
    seconds: float
    outcome: str
    rows: int


@dataclass(frozen=True, slots=True)
class PollContext:
    """What every poll needs. ``published`` is awaited after each commit that shows something."""

    ledger: Ledger
    clock: Clock
    rng: random.Random
    telemetry: Telemetry
    offload: Offload
    published: Callable[[QueryKey], Awaitable[None]]

    def count(self, spec: QuerySpec, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a self counter of the query."""
        own = {"provider": spec.provider, "query": spec.name}
        self.telemetry.count(name, amount, target=spec.target, **own, **labels)

    def ledger_failed(self, error: LedgerError) -> None:
        """Count and log that the ledger refused."""
        self.telemetry.ledger_failed("commit")
        log.error("ledger failed", fault=str(error))


async def poll(desk: PollContext, line: ScheduledQuery, claim: Claim) -> PollResult:
    """Poll once and commit the outcome, whatever happens; only cancelling it raises."""
    spec = line.query.spec
    started_ms, started = desk.clock.now_ms(), desk.clock.monotonic()
    desk.count(spec, "polls_total")
    missed = schedule.slots_between(spec, claim.due_ms, started_ms)
    if missed and claim.last_read_ms is not None:
        desk.count(spec, "polls_skipped_total", missed, reason="overlap")
    try:
        outcome, rows = await _attempt(desk, line, claim, started_ms)
    except asyncio.CancelledError:
        desk.count(spec, "poll_failures_total", reason=Reason.CANCELLED)
        raise
    seconds = desk.clock.monotonic() - started
    desk.telemetry.polled(spec.provider, seconds)
    log.debug("polled", target=spec.target, query=spec.name, outcome=outcome, rows=rows)
    return PollResult((claim.target, claim.query), started_ms, seconds, outcome, rows)


async def _attempt(
    desk: PollContext, line: ScheduledQuery, claim: Claim, started_ms: int
) -> tuple[str, int]:
    spec = line.query.spec
    limit_s = spec.deadline_ms / MILLISECONDS
    try:
        async with asyncio.timeout(limit_s):
            rows, outcome = await _read(desk, line, claim, started_ms)
        await _finish(desk, spec, claim, outcome)
    except TimeoutError:
        slow = TimedOut(f"{spec.name}: not done within {limit_s:g} s")
        return await _fail(desk, spec, claim, slow), 0
    except BudgetSpent as error:
        return await _skip(desk, spec, claim, error), 0
    except ProviderError as error:
        return await _fail(desk, spec, claim, error), 0
    except LedgerError as error:
        return _lose(desk, spec, error), 0
    except Exception as bug:  # noqa: BLE001 - one provider's bug must not stop its neighbours
        fault = SchemaError(f"{spec.name}: {type(bug).__name__} at {_innermost(bug)}")
        return await _fail(desk, spec, claim, fault), 0
    return outcome, rows


async def _read(
    desk: PollContext, line: ScheduledQuery, claim: Claim, started_ms: int
) -> tuple[int, str]:
    """Apply each reading as it comes; return how many rows were counted, and the outcome."""
    spec, rows = line.query.spec, 0
    ask = _ask(desk, spec, claim, started_ms)
    readings = line.query.read(line.api, ask)
    async with aclosing(readings) as each:  # type: ignore[type-var] # generators, all of them
        async for reading in each:
            apply = partial(desk.ledger.apply, claim, reading, started_ms=started_ms)
            applied = await desk.offload(apply)
            desk.telemetry.add(applied.counted)
            rows += applied.rows
            if applied.held:
                return rows, "held"
            if reading.more:
                await desk.published((claim.target, claim.query))
    return rows, "ok"


def _ask(desk: PollContext, spec: QuerySpec, claim: Claim, now_ms: int) -> PollRequest:
    async def spend() -> None:
        if spec.budget is not None:
            purse = spec.budget
            await desk.offload(lambda: desk.ledger.spend(claim, purse))
            await _show_spent(desk, claim)

    return PollRequest(
        window=poll_window(spec, claim, now_ms),
        now_ms=now_ms,
        first=claim.epoch_ms is None,
        epoch_ms=claim.epoch_ms,
        watermark_ms=claim.watermark_ms,
        last_success_ms=claim.last_success_ms,
        memo=claim.memo,
        spend=spend,
    )


async def _show_spent(desk: PollContext, claim: Claim) -> None:
    """Show that the call is spent; a ledger that cannot be read now must not waste it."""
    try:
        await desk.published((claim.target, claim.query))
    except LedgerError as error:
        desk.ledger_failed(error)


async def _finish(desk: PollContext, spec: QuerySpec, claim: Claim, outcome: str) -> None:
    next_ms = schedule.next_slot_ms(spec, desk.clock.now_ms(), desk.rng)
    end = desk.ledger.hold if outcome == "held" else desk.ledger.succeed
    await desk.offload(lambda: end(claim, next_poll_ms=next_ms))
    recovered = claim.fail_streak > 0 and outcome == "ok"
    if recovered or outcome == "held":
        said = "recovered" if recovered else "a collapse is held back until it is confirmed"
        log.info(said, target=spec.target, query=spec.name)


async def _skip(desk: PollContext, spec: QuerySpec, claim: Claim, error: BudgetSpent) -> str:
    """End a poll whose call is not due yet: no verdict on the provider, which was not asked."""
    desk.count(spec, "polls_skipped_total", reason="budget")
    next_ms = desk.clock.now_ms() + round((error.retry_after_s or 0) * MILLISECONDS)
    try:
        await desk.offload(lambda: desk.ledger.hold(claim, next_poll_ms=next_ms))
    except LedgerError as fault:
        return _lose(desk, spec, fault)
    return "budget"


async def _fail(desk: PollContext, spec: QuerySpec, claim: Claim, error: ProviderError) -> str:
    now_ms, said = desk.clock.now_ms(), f"{error}; {advice(error)}"
    verdict = schedule.after_failure(
        spec,
        error,
        streak=claim.fail_streak + 1,
        backoff_ms=claim.backoff_ms,
        now_ms=now_ms,
        rng=desk.rng,
    )
    desk.count(spec, "poll_failures_total", reason=error.reason)
    drift = _drift(spec, error)
    if error.reason is Reason.THROTTLED:
        desk.telemetry.count("throttled_total", target=spec.target, provider=spec.provider)
    skipped = schedule.slots_between(spec, now_ms, verdict.next_poll_ms - 1)
    if verdict.circuit == "open" and skipped:
        desk.count(spec, "polls_skipped_total", skipped, reason="circuit_open")
    if claim.fail_streak == 0 or verdict.circuit != claim.circuit:
        log.warning(
            "poll failed", target=spec.target, query=spec.name, reason=error.reason.value,
            fault=said, circuit=verdict.circuit,
        )  # fmt: skip
    try:
        await desk.offload(
            lambda: desk.ledger.fail(
                claim,
                next_poll_ms=verdict.next_poll_ms,
                backoff_ms=verdict.backoff_ms,
                circuit=verdict.circuit,
                last_reason=error.reason.value,
                last_error=said,
                postpone_target_ms=verdict.hold_target_ms,
                budget=spec.budget,
                counted=drift,
            )
        )
        desk.telemetry.add(drift)
    except LedgerError as fault:
        return _lose(desk, spec, fault)
    return error.reason.value


def _drift(spec: QuerySpec, error: ProviderError) -> dict[SelfCount, float]:
    """Return the drift that a refused answer counts as; persisted, like that of accepted ones."""
    if not isinstance(error, SchemaError):
        return {}
    own = {"provider": spec.provider, "target": spec.target, "query": spec.name}
    labels = tuple(sorted((own | {"kind": error.kind}).items()))
    return {(f"{PREFIX}schema_drift_total", labels): 1.0}


def _lose(desk: PollContext, spec: QuerySpec, error: LedgerError) -> str:
    """Count a poll whose result could not be committed; the next one reads it all again."""
    desk.count(spec, "poll_failures_total", reason=error.reason)
    if isinstance(error, ClaimLost):
        desk.telemetry.claim_lost()
    else:
        desk.ledger_failed(error)
    return error.reason.value


def _innermost(bug: Exception) -> str:
    """Return file and line where ``bug`` arose; its text may hold what the vendor sent."""
    frames = traceback.extract_tb(bug.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"


def poll_window(spec: QuerySpec, claim: Claim, now_ms: int) -> Window:
    """Return what a poll reads: from the oldest unsettled bucket, at least the lookback, to now.

    Never from before the first range, whose older rows belong to no counter; never further back
    than the API reaches. A stream goes on where it stands, and never before its epoch.
    """
    if spec.stream:
        since_ms = now_ms if claim.watermark_ms is None else claim.watermark_ms - spec.lookback_ms
        return Window(min(max(since_ms, claim.epoch_ms or since_ms), now_ms), now_ms)
    step = spec.granularity_ms or 1
    start_ms = floor_to(now_ms - spec.lookback_ms, step)
    if claim.cursor_ms is not None:
        start_ms = min(start_ms, claim.cursor_ms)
    if spec.reach_ms is not None:
        start_ms = max(start_ms, ceil_to(now_ms - spec.reach_ms, step))
    if claim.floor_ms is not None and claim.epoch_ms is not None:
        start_ms = max(start_ms, ceil_to(claim.floor_ms, step))
    return Window(start_ms, ceil_to(now_ms + 1, step))
