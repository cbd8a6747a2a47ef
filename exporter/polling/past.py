"""Reads one slice of a query's past at low priority, and applies it under the query's claim."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import partial

import structlog

from exporter.errors import ClaimLost, LedgerError, ProviderError, Refused, TimedOut
from exporter.format import stamp
from exporter.ledger.rows import Claim
from exporter.ledger.rules import past_window
from exporter.model.query import Past, PastMode, PollRequest
from exporter.model.samples import SECOND_MS
from exporter.polling.poll import COUNTED, PollContext, ScheduledQuery, program_error

HIDDEN = "shown once it is read; to end it now, lower initial_lookback and reload"

log = structlog.get_logger(__name__)


async def read_slice(context: PollContext, scheduled: ScheduledQuery, claim: Claim) -> None:
    """Read the slice of ``claim`` and commit the outcome; raises only if cancelled.

    It does not affect whether the query is up: only live polls do.
    """
    if claim.past is None:
        return
    with suppress(ClaimLost):
        try:
            await context.offload(await _ending(context, scheduled, claim, claim.past))
        except LedgerError as error:
            log.warning("slice not recorded", target=claim.target, error=str(error))


async def _ending(
    context: PollContext, scheduled: ScheduledQuery, claim: Claim, past: Past
) -> Callable[[], None]:
    """Read and apply the slice; return the call that records the outcome."""
    spec, ledger = scheduled.query.spec, context.ledger
    limit_s = spec.deadline_ms / SECOND_MS
    try:
        async with asyncio.timeout(limit_s) as limit:
            await _read(context, scheduled, claim, past, limit)
        return partial(ledger.end_slice, claim)
    except TimeoutError:
        if past_window(spec, past, context.clock.now_ms()).length_ms > spec.granularity_ms:
            return partial(ledger.give_way, claim)
        slow = TimedOut(f"{spec.name}: one bucket is not read within {limit_s:g} s")
        return _failing(context, scheduled, claim, past, slow)
    except Refused as error:
        log.info("the past ends here", target=spec.target, query=spec.name, error=str(error))
        return partial(ledger.end_past, claim)
    except ClaimLost:
        raise
    except (ProviderError, LedgerError) as error:
        return _failing(context, scheduled, claim, past, error)
    except Exception as bug:  # noqa: BLE001 - as in a poll
        return _failing(
            context, scheduled, claim, past, program_error(spec, bug, first=not past.backoff_ms)
        )


async def _read(
    context: PollContext,
    scheduled: ScheduledQuery,
    claim: Claim,
    past: Past,
    limit: asyncio.Timeout,
) -> None:
    spec, started_ms = scheduled.query.spec, context.clock.now_ms()
    request = PollRequest(
        window=past_window(spec, past, started_ms),
        now_ms=started_ms,
        first=not past.audits,
        epoch_ms=claim.epoch_ms,
        memo=claim.memo,
    )
    readings = scheduled.query.read(scheduled.api, request)
    async with aclosing(readings) as each:
        async for reading in each:
            if not reading.more:
                limit.reschedule(None)  # as in a poll
            apply = partial(
                context.ledger.apply, claim, reading, started_ms=started_ms, of_past=True
            )
            async with context.one_slice:
                applied = await context.commit(apply, COUNTED)
            if applied.held:
                return


def _failing(
    context: PollContext,
    scheduled: ScheduledQuery,
    claim: Claim,
    past: Past,
    error: ProviderError | LedgerError,
) -> Callable[[], None]:
    spec = scheduled.query.spec
    retry = context.failed(spec, error, streak=1, backoff_ms=past.backoff_ms)
    if not past.backoff_ms:
        log.warning(
            "slice of the past failed", target=spec.target, query=spec.name,
            reason=error.reason.value, error=str(error),
            missing=f"{stamp(past.from_ms)} to {stamp(past.until_ms)}",
            **({"counters": HIDDEN} if past.mode is PastMode.COUNT else {}),
        )  # fmt: skip
    return partial(context.ledger.fail_slice, claim, retry)
