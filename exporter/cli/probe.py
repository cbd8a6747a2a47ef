"""``check-config --probe``: one real read of each target, and in words what came of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from exporter.api import REQUESTS_PER_PROCESS, TIMEOUT, Api
from exporter.clock import MILLISECONDS, Clock
from exporter.errors import BudgetSpent, ProviderError, Reason, Refused, TimedOut
from exporter.provider import Query, Target
from exporter.query import Ask
from exporter.samples import HOUR_MS, Reading, Window, ceil_to, floor_to
from exporter.web.words import span

DEADLINE_S = 90.0

HINTS = {
    Reason.AUTH: "check that the key is whole, not revoked, and of this account and project",
    Reason.THROTTLED: "the provider wants less; the key may well be right, ask again later",
    Reason.TIMEOUT: "no answer in time; check base_url and whatever is between here and there",
    Reason.NETWORK: "check base_url, name resolution, proxy and firewall",
    Reason.SERVER: "the provider has trouble of its own; ask again later",
    Reason.CLIENT: "check project, environments, aliases and ids, and what the plan includes",
    Reason.SCHEMA: "is base_url the API's own, or does a page or proxy answer there?",
    Reason.TRUNCATED: "the provider did not give everything; ask again later",
}
UNKNOWN_THERE = "a project, environment, bot, team or alias is unknown there, or the plan lacks it"
NOT_IN_PLAN = "the account's plan does not include this"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target's probe: ``words`` for a person, and whether all was well."""

    target: str
    good: bool
    words: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.target}: {'ok' if self.good else 'FAILED'}: {self.words}"


def cheapest(target: Target) -> Query:
    """Return the query of ``target`` that takes the fewest calls."""
    return min(target.queries, key=lambda query: query.spec.cost.calls)


def announcement(targets: Sequence[Target]) -> list[str]:
    """Return what probing ``targets`` will cost, to be said before it is done."""
    lines = []
    for target in targets:
        spec = cheapest(target).spec
        cost = f"{target.name}: one read of {spec.name} ({spec.request})"
        if spec.budget is not None:
            period = span(spec.budget.period_ms / MILLISECONDS)
            cost += (
                f"; this SPENDS the account's one call per {period}: an exporter that runs on it "
                "is refused its next one and waits"
            )
        lines.append(cost)
    return lines


async def probe(
    targets: Sequence[Target], clock: Clock, transport: httpx.AsyncBaseTransport | None = None
) -> list[Outcome]:
    """Read each target once, at the same time; no ledger is touched."""
    spent: set[str] = set()
    gate = asyncio.Semaphore(REQUESTS_PER_PROCESS)
    async with (
        httpx.AsyncClient(transport=transport, timeout=TIMEOUT, follow_redirects=False) as client,
        asyncio.TaskGroup() as group,
    ):
        tasks = [
            group.create_task(_probe(target, _api(target, client, clock, gate), clock, spent))
            for target in targets
        ]
    return [task.result() for task in tasks]


def _api(target: Target, client: httpx.AsyncClient, clock: Clock, gate: asyncio.Semaphore) -> Api:
    return Api(
        base_url=target.base_url,
        sign=target.sign,
        client=client,
        clock=clock,
        requests_per_second=target.requests_per_second,
        gate=gate,
    )


async def _probe(target: Target, api: Api, clock: Clock, spent: set[str]) -> Outcome:
    query = cheapest(target)
    started = clock.monotonic()
    try:
        async with asyncio.timeout(DEADLINE_S):
            rows = await _first_rows(query.read(api, _ask(query, clock, spent)))
    except TimeoutError:
        return _failed(target, TimedOut(f"not done within {DEADLINE_S:g} s"))
    except BudgetSpent:
        words = "the key is accepted; not read, because another target spent the account's call"
        return Outcome(target.name, good=True, words=words)
    except ProviderError as error:
        return _failed(target, error)
    took = span(clock.monotonic() - started)
    found = f"{rows} rows" if rows else "no rows: quiet, or the wrong project or bot"
    return Outcome(target.name, good=True, words=f"{query.spec.name} answered in {took}, {found}")


async def _first_rows(readings: AsyncIterator[Reading]) -> int:
    """Return how many rows the first reading that was asked of the provider has."""
    rows = 0
    async with aclosing(readings) as each:  # type: ignore[type-var]
        async for reading in each:
            rows = sum(
                len(part)
                for part in (
                    reading.counts, reading.buckets, reading.levels, reading.lists, reading.events
                )
            )  # fmt: skip
            break
    return rows


def _ask(query: Query, clock: Clock, spent: set[str]) -> Ask:
    """Return the question of a first poll, for the newest bucket only."""
    now_ms = clock.now_ms()
    step_ms = query.spec.granularity_ms or HOUR_MS
    return Ask(
        window=Window(floor_to(now_ms, step_ms), ceil_to(now_ms + 1, step_ms)),
        now_ms=now_ms,
        spend=_spending(query, spent),
    )


def _spending(query: Query, spent: set[str]) -> Callable[[], Awaitable[None]]:
    async def spend() -> None:
        budget = query.spec.budget
        if budget is None:
            return
        if budget.name in spent:
            raise BudgetSpent("another target spent the account's call")
        spent.add(budget.name)

    return spend


def _failed(target: Target, error: ProviderError) -> Outcome:
    return Outcome(target.name, good=False, words=f"{error}; {_hint(error)}")


def _hint(error: ProviderError) -> str:
    match error:
        case Refused(status=HTTPStatus.NOT_FOUND):
            return UNKNOWN_THERE
        case Refused(status=HTTPStatus.PAYMENT_REQUIRED):
            return NOT_IN_PLAN
        case _:
            return HINTS[error.reason]
