"""In any 3,600 s at most one statistics request of an account leaves, come what may."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import app
from exporter.ledger import engine
from exporter.model.samples import HOUR_MS
from exporter.simulator.server import LoggedRequest
from exporter.status import State
from tests.providers.xenioo.account import Account, closest_ms, is_statistics
from tests.support.driver import Killed, LedgerDriver, recorded, scratch
from tests.support.examples import examples
from tests.support.running import exporter
from tests.support.vendors import Vendors, read
from tests.support.virtual import VirtualClock, run_virtual

FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("throttled", {"retry_after": 5}),
    ("throttled", {"retry_after": 3 * 3600}),
    ("forbidden", {}),
    ("unauthorized", {}),
    ("revoked", {}),
    ("refused", {"status": 400}),
    ("refused", {"status": 404}),
    ("refused", {"status": 409}),
    ("server_error", {}),
    ("unavailable", {"retry_after": 5}),
    ("html_200", {}),
    ("truncated", {}),
    ("reset", {}),
    ("slow", {"seconds": 90}),
    ("hang_after", {}),
)

STEPS = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 180)),
    st.tuples(st.just("killed"), st.integers(0, 40)),
    st.tuples(st.just("cut"), st.integers(0, 119)),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS)),
    st.tuples(st.just("settings"), st.sampled_from(("Value", None))),
    st.tuples(st.just("targets"), st.sampled_from((("a",), ("a", "b"), ("b", "c")))),
    st.tuples(st.just("restart"), st.none()),
)


def counted(account: Account) -> list[LoggedRequest]:
    """Return the calls that Xenioo counts: not those whose token it did not accept."""
    return [seen for seen in account.statistics if seen.status != 401]


def take(account: Account, step: str, what: Any) -> None:
    match step:
        case "run":
            account.run(what)
        case "killed":
            die(account, what)
        case "cut":
            cut(account, what)
        case "fault":
            account.service.faults.on(what[0], times=1, when=is_statistics, **what[1])
        case "settings":
            account.configure([target.name for target in account.targets], value_field=what)
            account.restart()
        case "targets":
            account.configure(what)
            account.restart()
        case _:
            account.restart()


def die(account: Account, statement: int) -> None:
    """Kill the exporter at one of its ledger statements within two hours, and start it again."""
    try:
        with recorded(kill_at=statement):
            account.run(120)
    except BaseExceptionGroup:
        account.driver.kill()


def cut(account: Account, seconds: int) -> None:
    """Kill the exporter while it waits for an answer, and start it again."""
    account.service.faults.on("hang_after", times=1, when=is_statistics)

    async def main() -> None:
        due_ms = account.ledger.next_due_ms() or 0
        await account.clock.sleep(max(0, due_ms - account.clock.now_ms()) / 1000)
        try:
            async with asyncio.timeout(seconds):
                await account.drive(account.ledger, account.clock.now_ms() + HOUR_MS)
        except TimeoutError:
            pass

    run_virtual(main(), account.clock)
    account.driver.kill()


@settings(examples(25), deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=10))
def test_at_most_one_call_leaves_in_an_hour(steps: list[tuple[str, Any]]) -> None:
    call_at_most_once_an_hour(steps)


@pytest.mark.slow
@settings(examples(3), deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=10))
def test_at_most_one_call_leaves_in_an_hour_on_postgresql(
    emptied: Callable[[], str], steps: list[tuple[str, Any]]
) -> None:
    call_at_most_once_an_hour(steps, emptied())


def call_at_most_once_an_hour(steps: list[tuple[str, Any]], url: str | None = None) -> None:
    with scratch() as folder:
        account = Account(folder, ("a", "b"), postgresql=url)

        for step, what in steps:
            take(account, step, what)

        assert closest_ms(counted(account)) >= HOUR_MS
        refused_by_itself = [
            one for one in account.statistics if one.status == 429 and not one.faults
        ]
        assert not refused_by_itself
        account.driver.close()


@settings(examples(8), deadline=None)
@given(st.lists(STEPS, max_size=4))
def test_calls_go_on_after_all_that(steps: list[tuple[str, Any]]) -> None:
    with scratch() as folder:
        account = Account(folder)
        for step, what in steps:
            take(account, step, what)
        for name in account.service.faults.names:
            account.service.faults.off(name)
        before = len(account.statistics)

        account.run(60 * 6)

        assert len(account.statistics) >= before + 4
        account.driver.close()


@pytest.fixture
def without_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file be opened twice, with claims that expire, as on a database server."""
    monkeypatch.setattr(engine, "_lock", lambda _path, **_options: None)


@pytest.fixture
def account(tmp_path: Path, without_lock: None) -> Iterator[Account]:
    del without_lock
    made = Account(tmp_path, ("a", "b"))
    yield made
    made.driver.close()


@pytest.mark.parametrize("fault", [("none", {}), *FAULTS], ids=lambda fault: str(fault[0]))
def test_two_replicas_share_the_call(
    account: Account, fault: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    other = LedgerDriver(tmp_path, *account.specs, clock=account.clock, families=account.families)
    if fault[0] != "none":
        account.service.faults.on(fault[0], skip=1, times=2, when=is_statistics, **fault[1])

    account.run(60 * 9, other.ledger)

    assert closest_ms(counted(account)) >= HOUR_MS
    assert len(counted(account)) >= 5
    other.close()


@pytest.mark.slow
def test_targets_that_take_turns_are_up_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "TICK_S", 60)
    clock = VirtualClock()
    vendors = Vendors(clock)
    account = next(t for t in vendors.document()["targets"] if t["provider"] == "xenioo")
    targets = [account | {"name": name} for name in "abcde"]
    url = f"sqlite:///{tmp_path}/ledger.db"
    asked = read(vendors.document() | {"targets": targets, "ledger": {"url": url}})

    async def main() -> set[tuple[str, State]]:
        async with exporter(asked, clock, vendors) as running:
            await clock.sleep(6 * 3600)  # until then each had its first turn
            found = set[tuple[str, State]]()
            for _ in range(6 * 6):
                await clock.sleep(600)
                shown = running.status().targets
                found |= {(each.name, query.state) for each in shown for query in each.queries}
            return found

    assert run_virtual(main(), clock) == {(name, State.OK) for name in "abcde"}
    seen = [each for each in vendors.services["xenioo"].requests if is_statistics(each)]
    assert len(seen) >= 10
    assert closest_ms(seen) >= HOUR_MS


def test_a_killed_exporter_leaves_what_the_tests_take_it_to_leave(tmp_path: Path) -> None:
    account = Account(tmp_path)
    with pytest.raises(BaseExceptionGroup) as died, recorded(kill_at=12):
        account.run(5)

    account.driver.kill()

    assert died.value.subgroup(Killed) is not None
    account.driver.close()
