"""One poll, where its answer cannot be kept."""

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from exporter.errors import ClaimLost, SchemaError, Unauthorized
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Reading, Readings
from exporter.polling.past import read_slice
from exporter.polling.poll import PollContext, PollResult, ScheduledQuery, poll
from exporter.providers.base.plugin import CustomQuery
from exporter.telemetry.counters import Telemetry
from tests.support.builders import received, spec
from tests.support.driver import LedgerDriver, recorded
from tests.support.virtual import inline, run_virtual

T = TypeVar("T")


Read = Callable[[ApiClient, PollRequest], Readings]


async def lost(call: Callable[[], T]) -> T:
    del call
    raise ClaimLost("shop/hourly: another holder has the query")


async def nothing(_key: tuple[str, str]) -> None:
    return None


Run = Callable[[PollContext, ScheduledQuery], Awaitable[T]]


def ran(
    driver: LedgerDriver, read: Read, run: Run[T], offload: Any = inline
) -> tuple[T, Telemetry]:
    """Return what ``run`` does with a query that reads with ``read``, and what was counted."""
    telemetry = Telemetry()

    async def main() -> T:
        wire = Transport()
        api = ApiClient(
            base_url="https://vendor.test",
            sign=dict,
            transport=wire,
            clock=driver.clock,
            requests_per_second=0,
        )
        rng = random.Random(1)  # noqa: S311 - the same each time
        context = PollContext(driver.ledger, driver.clock, rng, telemetry, offload, nothing)
        query = ScheduledQuery(CustomQuery(driver.spec, read), api)
        return await run(context, query)

    return run_virtual(main(), driver.clock), telemetry


def polled(driver: LedgerDriver, read: Read, offload: Any = inline) -> tuple[str, Telemetry]:
    """Return the outcome of one poll whose query reads with ``read``, and what was counted."""

    async def once(context: PollContext, query: ScheduledQuery) -> str:
        return (await poll(context, query, driver.claim())).outcome

    return ran(driver, read, once, offload)


def slices_read(driver: LedgerDriver, read: Read) -> int:
    """Return how many slices of the past are read until there is none."""

    async def every(context: PollContext, query: ScheduledQuery) -> int:
        number = 0
        while claim := driver.ledger.claim_slice():
            await read_slice(context, query, claim)
            number += 1
        return number

    return ran(driver, read, every)[0]


async def cut_off(
    context: PollContext, run: Callable[[PollContext], Coroutine[Any, Any, object]]
) -> None:
    """Cancel ``run`` during its first call of the ledger, which the thread ends all the same."""
    loop = asyncio.get_running_loop()

    def cutting(call: Callable[[], T]) -> asyncio.Future[T]:
        result: asyncio.Future[T] = loop.create_future()

        def end() -> None:
            try:
                found = call()
            except ClaimLost as lost:
                result.set_exception(lost)
                return
            if not result.cancelled():
                result.set_result(found)

        loop.call_soon(end)
        task.cancel()
        return result

    task = asyncio.create_task(run(replace(context, offload=cutting)))
    await asyncio.wait([task])
    await context.clock.sleep(1)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LedgerDriver]:
    with LedgerDriver(tmp_path) as driver:
        yield driver


def test_a_read_that_is_given_up_is_closed_before_its_poll_ends(driver: LedgerDriver) -> None:
    done: list[str] = []

    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        try:
            yield Reading(ask.window, more=True)
            yield Reading(ask.window)
        finally:
            done.append("closed")

    done.append(polled(driver, read, lost)[0])

    assert done == ["closed", "claim_lost"]


def test_samples_cursor_and_schedule_are_committed_together(driver: LedgerDriver) -> None:
    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        yield Reading(ask.window)

    claim = driver.claim()

    async def once(context: PollContext, query: ScheduledQuery) -> str:
        return (await poll(context, query, claim)).outcome

    with recorded() as done:
        outcome, _ = ran(driver, read, once)

    state, now_ms = driver.view().state, driver.clock.now_ms()
    assert (outcome, [what for what, _ in done].count("COMMIT")) == ("ok", 1)
    assert (state.epoch_ms, state.last_success_ms) == (now_ms, now_ms)
    assert state.next_poll_ms > now_ms


@pytest.mark.parametrize("part", ["poll", "slice"])
def test_the_deadline_ends_no_poll_whose_last_answer_waits_for_the_ledger(
    tmp_path: Path, part: str
) -> None:
    async def busy(call: Callable[[], T]) -> T:
        done = asyncio.ensure_future(inline(call))
        await driver.clock.sleep(driver.spec.deadline_ms / 1000)
        return await done

    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        await driver.clock.sleep(1)
        yield Reading(ask.window)

    async def once(context: PollContext, query: ScheduledQuery) -> None:
        await (read_slice if part == "slice" else poll)(context, query, claim)

    traits = {"initial_lookback_ms": 3 * DAY_MS, "slice_ms": HOUR_MS}
    with LedgerDriver(tmp_path, spec(**traits)) as driver, capture_logs() as logged:
        if part == "slice":
            driver.poll()
        given = driver.ledger.claim_slice() if part == "slice" else driver.claim()
        assert given is not None
        claim = given
        _, telemetry = ran(driver, read, once, busy)
        state = driver.view().state

    counts = telemetry.counts.get("shop", {}).items()
    failures = [key for key, n in counts if n and "poll_failures" in key[0]]
    warned = [line for line in logged if line["log_level"] == "warning"]
    assert (failures, warned) == ([], [])
    assert state.last_success_ms is not None


@pytest.mark.parametrize("part", ["poll", "slice", "failure"])
def test_what_the_ledger_counts_for_a_poll_that_is_cut_off_is_counted_here_too(
    tmp_path: Path, part: str
) -> None:
    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        if part == "failure":
            raise SchemaError("no rows", "missing")
        yield Reading(ask.window, drift={"missing": 3})

    async def once(context: PollContext, query: ScheduledQuery) -> None:
        run = read_slice if part == "slice" else poll
        await cut_off(context, lambda cut: run(cut, query, claim))

    with LedgerDriver(tmp_path, spec(initial_lookback_ms=3 * DAY_MS)) as driver:
        if part == "slice":
            driver.poll()
        given = driver.ledger.claim_slice() if part == "slice" else driver.claim()
        assert given is not None
        claim = given
        _, telemetry = ran(driver, read, once)
        counted = driver.ledger.self_counts()

    assert counted
    assert {key: telemetry.counts["shop"].get(key) for key in counted} == counted


def test_a_commit_that_fails_after_its_poll_was_cut_off_is_nobodys_error(
    driver: LedgerDriver,
) -> None:
    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        yield Reading(ask.window)

    async def once(context: PollContext, query: ScheduledQuery) -> list[object]:
        reported = list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, about: reported.append(about))
        claim = replace(driver.claim(), token=0)  # another replica has taken the query
        await cut_off(context, lambda cut: poll(cut, query, claim))
        gc.collect()
        return reported

    assert ran(driver, read, once)[0] == []


def test_rows_of_a_poll_are_all_that_was_read(driver: LedgerDriver) -> None:
    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        active = GaugeRow(("chatbot_active_users", ("shop", "", "", "trailing_7d")), ask.window, 5)
        yield Reading(ask.window, counts=[(received(), ask.window.start_ms, 3.0)], more=True)
        yield Reading(ask.window, lists=[active], lists_of=frozenset({active.series[0]}))

    async def once(context: PollContext, query: ScheduledQuery) -> PollResult:
        return await poll(context, query, driver.claim())

    assert ran(driver, read, once)[0].rows == 2


def test_a_query_that_promises_a_reading_and_has_none_has_a_bug(driver: LedgerDriver) -> None:
    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        yield Reading(ask.window, more=True)

    assert polled(driver, read)[0] == "bug"
    assert driver.view().state.last_success_ms is None


def test_a_key_that_cannot_be_read_here_is_not_blamed_on_the_vendor(driver: LedgerDriver) -> None:
    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        yield Reading(ask.window, more=True)
        raise Unauthorized("the secret cannot be read: no such file")

    outcome, _ = polled(driver, read)

    expected = (
        "the secret cannot be read: no such file; "
        "correct the setting, the variable or the file that holds the key"
    )
    assert (outcome, driver.view().state.last_error) == ("auth", expected)


@pytest.mark.parametrize("error", [KeyError, ValueError, ZeroDivisionError, AttributeError])
def test_a_programming_error_is_not_blamed_on_the_vendor(
    driver: LedgerDriver, error: type[Exception]
) -> None:
    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        yield Reading(ask.window, more=True)
        raise error("what the vendor sent")

    with capture_logs() as logged:
        outcome, telemetry = polled(driver, read)

    (trace,) = [line["exc_info"] for line in logged if line["event"] == "a bug ended a poll"]
    state = driver.view().state
    assert isinstance(trace, error)
    assert (outcome, state.last_reason) == ("bug", "bug")
    assert state.last_error is not None
    assert state.last_error.startswith(f"hourly: {error.__name__} at polling/test_poll.py:")
    assert "what the vendor sent" not in state.last_error
    assert "report" in state.last_error
    counts = telemetry.counts["shop"].items()
    failures = [(dict(key[1])["reason"], n) for key, n in counts if "poll_failures" in key[0]]
    assert failures == [("bug", 1)]
    assert driver.counted("schema_drift_total") == 0


def test_slots_that_pass_while_a_poll_runs_are_counted_as_skipped(tmp_path: Path) -> None:
    seconds = iter((0, 200))

    with LedgerDriver(tmp_path, spec(interval_ms=60_000, deadline_ms=600_000)) as driver:

        async def read(_api: ApiClient, ask: PollRequest) -> Readings:
            await driver.clock.sleep(next(seconds))
            yield Reading(ask.window)

        polled(driver, read)
        _, telemetry = polled(driver, read)

    counts = telemetry.counts["shop"].items()
    skipped = {dict(key[1])["reason"]: n for key, n in counts if "polls_skipped" in key[0]}
    assert skipped == {"overlap": 3}


def test_a_bucket_of_the_past_that_takes_too_long_is_read_again_after_a_back_off(
    tmp_path: Path,
) -> None:
    asked: list[tuple[int, int]] = []

    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        asked.append((driver.clock.now_ms(), ask.window.length_ms // HOUR_MS))
        await asyncio.Event().wait()
        yield Reading(ask.window)

    async def often(context: PollContext, query: ScheduledQuery) -> None:
        while driver.clock.now_ms() < until_ms:
            if claim := driver.ledger.claim_slice():
                await read_slice(context, query, claim)
            else:
                await context.clock.sleep(10)

    with LedgerDriver(tmp_path, spec(initial_lookback_ms=3 * DAY_MS)) as driver:
        claim = driver.claim()
        until_ms = driver.clock.now_ms() + 6 * HOUR_MS
        driver.apply(claim, Reading(driver.window(claim)), next_poll_ms=until_ms)
        ran(driver, read, often)
        history = driver.view().state.history

    hours = [length for _, length in asked]
    assert hours == sorted(hours, reverse=True)
    assert 20 <= hours.count(1) <= 90  # without a pause, 2 minutes each, it were 175
    assert history is not None
    assert history.failing


def test_history_is_asked_for_as_a_first_poll_is_and_an_audit_is_not(tmp_path: Path) -> None:
    asked: list[bool] = []

    async def read(_api: ApiClient, ask: PollRequest) -> Readings:
        asked.append(ask.first)
        yield Reading(ask.window)

    with LedgerDriver(tmp_path, spec(initial_lookback_ms=3 * DAY_MS)) as driver:
        polled(driver, read)
        history = slices_read(driver, read)
        driver.clock.step(2 * DAY_MS)
        polled(driver, read)
        audits = slices_read(driver, read)

    assert history
    assert audits
    assert asked == [True, *[True] * history, False, *[False] * audits]
