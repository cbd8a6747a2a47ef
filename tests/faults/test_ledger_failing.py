"""A ledger that takes no writes: nothing says "fine", no vendor is polled in vain, nothing is lost."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from exporter.errors import LedgerConflict
from exporter.ledger.rows import Claim
from exporter.ledger.store import Ledger
from exporter.status import State
from tests.faults.bench import Bench

SETTINGS = {"interval": "1m", "slow_interval": "1m", "lookback": "2h", "zero_hold": "1s"}
UP = "chatbot_exporter_target_up"
LAST_COMMIT = "chatbot_exporter_ledger_last_commit_timestamp_seconds"
EXPIRING = ("chatbot_period_messages_received", "chatbot_period_end_timestamp_seconds")
FULL = "CREATE TRIGGER full BEFORE {} ON bucket BEGIN SELECT RAISE(ABORT, 'disk is full'); END"


@contextmanager
def read_only() -> Iterator[None]:
    """Let every transaction that begins in the block refuse writes, as SQLite itself does."""

    def refuse(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only=ON")

    def allow(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only=OFF")

    sa.event.listen(sa.Engine, "begin", refuse)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "begin", refuse)
        sa.event.listen(sa.Engine, "begin", allow, once=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the ledger as another program would, so that no transaction begins in the block."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def states(bench: Bench) -> set[State]:
    return {query.state for target in bench.app.status().targets for query in target.queries}


def up(bench: Bench) -> set[float]:
    return set(bench.values(UP))


async def test_a_query_whose_poll_is_not_recorded_is_down_though_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, ["flowxo", "inkeep"], SETTINGS)
    apply = Ledger.apply

    def conflict(ledger: Ledger, claim: Claim, *args: Any, **kwargs: Any) -> Any:
        if claim.target != "flowxo":
            return apply(ledger, claim, *args, **kwargs)
        raise LedgerConflict("another replica is in the way")

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        with monkeypatch.context() as failing:
            failing.setattr(Ledger, "apply", conflict)
            failing.setattr(Ledger, "fail", conflict)
            await bench.until(lambda: 0 in up(bench), 70)
            for _ in range(20):
                await bench.wait(1)
                assert 0 in bench.values(UP, target="flowxo")
        await bench.until(bench.all_polled, 120)


async def test_while_the_ledger_takes_no_writes_no_signal_says_fine(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        last_commit = bench.values(LAST_COMMIT)[0]
        with read_only():
            await bench.wait(90)
            assert up(bench) == {0.0}
            assert states(bench) == {State.STALLED}
            failing_since_ms = bench.app.status().ledger_failing_since_ms
            assert 0 < bench.clock.now_ms() - (failing_since_ms or 0) <= 90_000
            for query in bench.queries():
                assert bench.own("poll_failures_total", query=query, reason="ledger") >= 1
            await bench.wait(310)
            assert not bench.app.ready()
            assert bench.app.healthy()
            assert bench.values(LAST_COMMIT)[0] - last_commit < 60
        await bench.until(bench.all_polled, 60)
        assert bench.app.ready()
        assert bench.app.status().ledger_failing_since_ms is None


async def test_the_end_of_a_failure_is_noticed_although_no_poll_is_due(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS | {"interval": "1h", "slow_interval": "1h"})

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        await bench.wait(120)
        with locked(tmp_path / "ledger.db"):
            await bench.until(lambda: up(bench) == {0.0}, 60)
        requests = len(bench.service.requests)
        await bench.until(bench.all_polled, 60)
        assert len(bench.service.requests) == requests


@pytest.mark.slow
async def test_writes_that_fail_are_retried_slowly_logged_once_and_lose_nothing(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    with structlog.testing.capture_logs() as events:
        from_ms = bench.vendor.hold()
        async with bench.running():
            await bench.begin()
            await bench.wait(600)
            before = bench.counters()
            with read_only():
                await bench.wait(30)
                errors, requests = bench.own("ledger_errors_total"), len(bench.service.requests)
                await bench.wait(600)
                assert bench.counters() == before
                assert bench.own("ledger_errors_total") - errors < 600 / 5
                assert len(bench.service.requests) == requests
            to_ms = bench.vendor.hold()
            await bench.wait(300)
            truth = bench.truth("flowxo", from_ms, to_ms)
            assert sum(truth.values()) > 5
            assert bench.counted("flowxo", truth) == truth
    assert bench.falls == set()
    assert [each["event"] for each in events if "takes" in each["event"]] == [
        "the ledger takes no writes; nothing is counted until it does",
        "the ledger takes writes again",
    ]


@pytest.mark.slow
async def test_a_query_whose_rows_cannot_be_written_fails_alone_and_backs_off(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    def hours() -> int:
        return sum(seen.path == "/api/insights" for seen in bench.service.requests)

    def change(statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
            ledger.execute(statement)

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        change(FULL.format("INSERT"))
        change(FULL.format("UPDATE").replace("full", "full2", 1))
        await bench.wait(400)
        assert bench.own("target_up", query="hourly") == 0
        assert bench.own("target_up", query="top_flows") == 1
        assert bench.own("poll_failures_total", query="hourly", reason="ledger") >= 2
        before = hours()
        await bench.wait(900)
        assert 2 <= hours() - before <= 8
        assert bench.app.ready()
        change("DROP TRIGGER full")
        change("DROP TRIGGER full2")
        await bench.until(bench.all_polled, 400)


async def test_a_query_that_is_not_polled_any_more_is_not_up_whatever_its_last_poll_was(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
            ledger.execute("UPDATE query SET next_poll_ms = next_poll_ms + 86400000")
        await bench.wait(60)
        assert up(bench) == {1.0}
        await bench.wait(3 * 60 + 120)
        assert up(bench) == {0.0}
        assert states(bench) == {State.STALLED}


async def test_while_the_ledger_takes_no_writes_expired_gauges_are_withdrawn(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        for family in EXPIRING:
            assert bench.values(family)
        with read_only():
            await bench.wait(4 * 3600)
            for family in EXPIRING:
                assert bench.values(family) == []
            assert all(bot.late for bot in bench.app.status().targets[0].bots)
