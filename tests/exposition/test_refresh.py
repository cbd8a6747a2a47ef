"""What is published while parts of it are read, while replicas write, and after a failover.

Many queries are read in parts: what befalls a later part loses nothing of an earlier one. R10: a
view that cannot be verified within 2 s counts as unverified, until it is.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from exporter.errors import LedgerError
from exporter.exposition import publisher
from exporter.exposition.follower import AWAIT_S, Failover, Follower
from exporter.exposition.page import MetricsPage
from exporter.exposition.publisher import Publisher
from exporter.ledger.replicas import Changes
from exporter.ledger.rows import QueryState, View
from exporter.model.query import Budget, QueryKey
from exporter.telemetry.counters import FAMILIES, Telemetry
from exporter.web import app
from tests.support.builders import spec
from tests.support.virtual import VirtualClock

FIRST, SECOND, THIRD = KEYS = [("shop", name) for name in ("first", "second", "third")]
ACCOUNT = Budget("account", 60_000)
SPECS = {key: spec(name=key[1]) for key in KEYS}
SHARED = SPECS | {key: replace(SPECS[key], budget=ACCOUNT) for key in (FIRST, THIRD)}


class Unused:
    """What a publisher asks of rooms that have no part here."""

    failing = False

    def note(self, *_keys: QueryKey) -> None:
        pass

    def restart(self, _specs: object) -> None:
        pass

    def tick(self) -> None:
        pass


UNUSED: Any = Unused()


class Parts:
    """A publisher that reads one query at a time, of a ledger that is made up.

    Where ``fails_at`` is read next, the ledger fails; where ``reloads_at``, a reload leaves that
    query alone. It answers after ``seconds``, and is then shared; in ``error``, it has no changes.
    """

    server = 1

    def __init__(self, clock: VirtualClock, seconds: float = 0.0) -> None:
        self.seconds, self.shared, self.error = seconds, seconds > 0, False
        self.clock = clock
        self.states = {
            key: QueryState(
                *key, "flowxo", 0, 0, 0, 0, 0, 0, None, None, 0, "closed", quarantined=False
            )
            for key in KEYS
        }
        self.pending: dict[QueryKey, tuple[tuple[int, int], ...]] = {}
        self.read: list[QueryKey] = []
        self.confirmed: list[int] = []
        self.fails_at: QueryKey | None = None
        self.reloads_at: QueryKey | None = None
        families = {family.name: family for family in FAMILIES}
        self.page = MetricsPage(families)
        self.publisher = Publisher(
            ledger=cast("Any", self), writes=UNUSED, clock=self.clock, page=self.page,
            telemetry=Telemetry("test"), families=families, engagement=UNUSED,
            offload=self.offload, reading=self.offload,
        )  # fmt: skip
        self.follower = Follower(
            replica=cast("Any", self), publisher=self.publisher, page=self.page, clock=self.clock,
            telemetry=Telemetry("test"), offload=self.offload, reading=self.offload, abandon=UNUSED,
        )  # fmt: skip

    async def offload(self, call: Any) -> Any:
        await self.clock.sleep(self.seconds)
        asked = call.args[0] if getattr(call, "func", None) == self.views else ()
        if self.fails_at in asked:
            self.fails_at = None
            raise LedgerError("gone")
        if self.reloads_at is not None and self.reloads_at in asked:
            left, self.reloads_at = self.reloads_at, None
            await self.publisher.restart({left: SPECS[left]})
        return call()

    def changes(self, _since: object) -> Changes:
        if self.error:
            raise LedgerError("gone")
        return Changes({}, {}, self.server)

    def resume_claims(self) -> None:
        pass

    def views(self, keys: Sequence[QueryKey]) -> dict[QueryKey, View]:
        self.read += keys
        found = [key for key in keys if key in self.states]
        return {key: View(self.states[key], (), self.pending.get(key, ())) for key in found}

    def confirm_zero_scraped(self, numbers: list[int]) -> None:
        self.confirmed += numbers

    def maintain(self) -> tuple[frozenset[QueryKey], dict[Any, float]]:
        return frozenset(), {}

    def compact(self) -> None:
        pass

    def sizes(self) -> tuple[int, int, dict[str, int]]:
        return 0, 0, {}

    async def refresh_failing(self, *keys: QueryKey) -> None:
        """Refresh ``keys``, where the ledger fails at the last one; then let a tick follow."""
        self.fails_at = keys[-1]
        with pytest.raises(LedgerError):
            await self.publisher.refresh(*keys)
        self.read.clear()
        self.publisher.show_liveness()
        await self.publisher.tick()

    async def verified_after(self, *instants: float) -> list[bool]:
        """Return whether the view was verified at these seconds after one check began."""
        checking, found = asyncio.create_task(self.follower.verify()), []
        for at_s in instants:
            await self.clock.sleep(at_s - self.clock.monotonic())
            found.append(self.follower.verified)
        assert await checking == found[-1]
        return found


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, clock: VirtualClock) -> Parts:
    monkeypatch.setattr(publisher, "CONFIRMED_AT_ONCE", 1)
    return Parts(clock)


async def test_a_reload_may_remove_a_query_of_a_part_that_was_read(parts: Parts) -> None:
    await parts.publisher.restart(SHARED)
    parts.reloads_at = SECOND
    await parts.publisher.refresh(FIRST, SECOND)

    assert [state.query for state, _ in parts.publisher.states] == ["second"]


async def test_what_shares_a_budget_is_read_though_a_later_part_fails(parts: Parts) -> None:
    await parts.publisher.restart(SHARED)
    await parts.refresh_failing(FIRST, SECOND)

    assert {*parts.read} == {SECOND, THIRD}


async def test_who_waits_for_the_target_is_read_anew_though_an_earlier_part_read_it(
    parts: Parts,
) -> None:
    await parts.publisher.restart(SPECS)
    asked = replace(parts.states[SECOND], last_reason="throttled", next_poll_ms=900_000)
    parts.states[SECOND] = asked
    parts.read.clear()
    await parts.publisher.refresh(FIRST, SECOND)

    assert sorted(parts.read) == [FIRST, FIRST, SECOND, THIRD]


async def test_a_target_is_published_though_a_later_part_fails(parts: Parts) -> None:
    other = ("store", "first")
    await parts.publisher.restart(SPECS | {other: spec(target="store", name="first")})
    parts.states[FIRST] = replace(parts.states[FIRST], last_success_ms=77_000)
    await parts.refresh_failing(FIRST, other)

    page = b"".join(parts.page.scrape(openmetrics=False, gzip=False)).decode()
    assert [line for line in page.splitlines() if line.endswith(" 77")]


async def test_new_series_of_a_query_that_is_gone_keep_back_no_others(parts: Parts) -> None:
    parts.pending = {FIRST: ((1, 0),), SECOND: ((2, 0),)}
    await parts.publisher.restart(SPECS)
    parts.page.scrape(openmetrics=False, gzip=False)
    del parts.states[FIRST]  # such as by newer settings of another replica
    for _ in range(3):
        await parts.publisher.tick()

    assert 2 in parts.confirmed


async def test_a_query_is_down_until_a_poll_is_committed_here_or_by_another_replica(
    parts: Parts,
) -> None:
    found = []
    polled = replace(parts.states[FIRST], last_success_ms=parts.clock.now_ms() - 60_000)
    parts.states[FIRST] = polled
    await parts.publisher.restart({FIRST: SPECS[FIRST]})
    claimed = replace(polled, last_attempt_ms=parts.clock.now_ms())
    other = replace(claimed, last_success_ms=parts.clock.now_ms())
    parts.publisher.not_committed(FIRST, polled.last_outcome)
    for state in (claimed, claimed, other):
        parts.states[FIRST] = state
        await parts.publisher.refresh(FIRST)
        found += [up for _, up in parts.publisher.states]
    parts.publisher.not_committed(FIRST, polled.last_outcome)  # of before the other's poll
    found += [up for _, up in parts.publisher.states]

    assert found == [False, False, True, True]


@pytest.mark.parametrize(
    ("takes_s", "verified"), [(1.7, [False, True, True]), (9.0, [False, False, False])]
)
async def test_a_view_is_unverified_before_scrapes_give_it_up(
    takes_s: float, verified: list[bool], clock: VirtualClock
) -> None:
    assert await Parts(clock, takes_s).verified_after(1.6, 1.9, 9.1) == verified


async def test_a_view_that_was_verified_counts_for_less_than_two_seconds(
    clock: VirtualClock,
) -> None:
    slow = Parts(clock, 0.1)

    assert await slow.follower.verify()
    slow.seconds = 9.0
    assert await slow.verified_after(1.8, app.VERIFY_S, 9.2) == [True, False, False]
    slow.seconds = 0.1
    assert await slow.follower.verify()


async def test_who_waits_for_two_checks_has_no_answer_though_each_is_in_time(
    clock: VirtualClock,
) -> None:
    """A scrape that comes while a check is under way waits for the next one, and gives up."""
    slow = Parts(clock, 1.2)

    first = asyncio.create_task(slow.follower.verify())
    await slow.clock.sleep(0.1)
    second = asyncio.create_task(slow.follower.verify())
    verified = []
    for at_s in (1.3, 0.1 + app.VERIFY_S, 2.5):
        await slow.clock.sleep(at_s - slow.clock.monotonic())
        verified.append(slow.follower.verified)

    assert await first
    assert not await second
    assert verified == [True, False, False]


async def test_a_ledger_that_fails_leaves_the_view_unverified(clock: VirtualClock) -> None:
    slow = Parts(clock, 0.1)
    slow.error = True

    assert await slow.verified_after(0.2) == [False]


def found(server: int, *, went_back: bool = False, alive: str = "", missing: str = "") -> Changes:
    return Changes({}, {}, server, went_back, frozenset(alive.split()), frozenset(missing.split()))


def test_pages_wait_for_replicas_that_were_alive_before() -> None:
    failover = Failover(VirtualClock())
    assert failover.is_over(found(1, alive="b c", missing="killed-yesterday"))

    failover.notice(found(2))
    over = [failover.is_over(found(2, alive=alive, missing=alive)) for alive in ("b c", "c", "")]
    ended = failover.is_over(found(2, alive="b", missing="killed-yesterday"))

    assert over == [False, False, True]
    assert ended


def test_a_replica_that_does_not_answer_is_waited_for_only_so_long() -> None:
    clock = VirtualClock()
    failover = Failover(clock)
    clock.advance(3600)
    assert failover.is_over(found(1, alive="b"))

    failover.notice(found(2))
    clock.advance(AWAIT_S - 1)
    early = failover.is_over(found(2, missing="b"))
    clock.advance(1)

    assert (early, failover.is_over(found(2, missing="b"))) == (False, True)


def test_a_replica_that_starts_waits_for_those_that_live() -> None:
    failover = Failover(VirtualClock())

    assert not failover.is_over(found(2, alive="b", missing="b"))
    assert failover.is_over(found(2, alive="b"))


def test_what_was_lost_is_known_until_the_server_is_confirmed() -> None:
    failover = Failover(VirtualClock())
    first = found(2, went_back=True)

    noticed = [failover.notice(each) for each in (first, found(2), found(3, alive="b"), found(3))]

    assert noticed[:2] == [first, first]
    assert noticed[2] == noticed[3] == found(3, went_back=True, alive="b")
