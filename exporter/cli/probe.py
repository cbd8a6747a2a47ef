"""``check-config --probe``: reads each target once and reports the outcome as text."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from exporter.clock import Clock
from exporter.errors import BudgetSpent, LedgerError, ProviderError, TimedOut
from exporter.format import span
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.ledger.budget import take_at
from exporter.ledger.engine import is_there
from exporter.model.query import Budget, PollRequest, Spend
from exporter.model.samples import SECOND_MS, Readings, Window, ceil_to, floor_to
from exporter.polling.hints import hint_for
from exporter.providers.base.plugin import Query, Target

DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one probe as text, with a hint."""

    target: str
    query: str
    good: bool
    text: str
    hint: str = ""

    def __str__(self) -> str:
        """Return one line."""
        verdict = "ok" if self.good else "FAILED"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.target} {self.query}: {verdict}: {self.text}{hint}"


def chosen(target: Target) -> Query:
    """Return the cheapest query of ``target``; a stream, whose first read shows nothing, if need be."""
    return min(target.queries, key=lambda each: (each.spec.stream, each.spec.cost.calls))


def announcement(targets: Sequence[Target], url: str) -> list[str]:
    """Return what probing ``targets`` will cost, to be shown beforehand.

    ``url`` is that of the ledger in which calls from a budget are recorded.
    """
    noted = is_there(url)
    return [_cost(chosen(target), noted=noted) for target in targets]


def _cost(query: Query, *, noted: bool) -> str:
    spec = query.spec
    cost = f"{spec.target}: one read of {spec.name} ({spec.request})"
    if spec.budget is None:
        return cost
    period = span(spec.budget.period_ms / SECOND_MS)
    if not noted:
        return (
            f"{spec.target}: the key only; the account's one call per {period} is left to the "
            "exporter, because there is no ledger yet to record it in"
        )
    return (
        f"{cost}; this SPENDS the account's one call per {period}, unless the ledger has one on "
        "record: an exporter on the account then waits that long for its next call"
    )


def taking(url: str, clock: Clock) -> Spend:
    """Return a function that takes calls from the budgets in the ledger at ``url``.

    Without a ledger it grants no call, because an exporter could not know about it.
    """

    async def take(budget: Budget | None) -> None:
        if budget is None:
            return
        if not is_there(url):
            raise BudgetSpent("there is no ledger yet to record the account's one call in")
        if wait_ms := take_at(url, budget, clock):
            wait = span(wait_ms / SECOND_MS)
            raise BudgetSpent(f"the account's call is spent: the next in {wait}")

    return take


async def probe(
    targets: Sequence[Target],
    clock: Clock,
    take: Spend,
    network: Transport,
) -> list[Outcome]:
    """Read the ``chosen`` queries of all targets at the same time."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_probe(chosen(target), target.client(network, clock), clock, take))
            for target in targets
        ]
    return [task.result() for task in tasks]


async def _probe(query: Query, api: ApiClient, clock: Clock, take: Spend) -> Outcome:
    name = (query.spec.target, query.spec.name)
    started = clock.monotonic()
    try:
        async with asyncio.timeout(DEADLINE_S):
            rows, unfit = await _first_rows(query.read(api, _first_request(query, clock, take)))
    except BudgetSpent as spent:
        return Outcome(*name, good=True, text=f"the key is accepted; not read: {spent}")
    except (TimeoutError, ProviderError) as raised:
        late = TimedOut(f"not done within {DEADLINE_S:g} s")
        error = raised if isinstance(raised, ProviderError) else late
        return Outcome(*name, good=False, text=str(error), hint=hint_for(error))
    except LedgerError as unknown:
        hint = "it is unknown whether the account has a call left, so none was made"
        return Outcome(*name, good=False, text=str(unknown), hint=hint)
    if unfit:
        return Outcome(*name, good=False, text=f"a first read must be whole: {unfit}")
    took = span(clock.monotonic() - started)
    found = f"{rows} rows" if rows else "no rows: no traffic, or the wrong project or bot"
    return Outcome(*name, good=True, text=f"answered in {took}, {found}")


async def _first_rows(readings: Readings) -> tuple[int, str]:
    """Return the number of rows in the first reading, and why a query cannot begin with it."""
    rows, unfit = 0, ""
    async with aclosing(readings) as each:
        async for reading in each:
            rows, unfit = reading.rows, reading.unfit
            break
    return rows, unfit


def _first_request(query: Query, clock: Clock, take: Spend) -> PollRequest:
    """Return the request of a first poll, for the newest bucket only."""
    now_ms = clock.now_ms()
    step_ms = query.spec.granularity_ms
    return PollRequest(
        window=Window(floor_to(now_ms, step_ms), ceil_to(now_ms + 1, step_ms)),
        now_ms=now_ms,
        spend=partial(take, query.spec.budget),
    )
