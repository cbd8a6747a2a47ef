"""Several ledgers on one PostgreSQL: one poll at a time, one clock, one settings' meaning."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from exporter.clock import DatabaseClock, SystemClock
from exporter.errors import BudgetSpent, ClaimLost, LedgerError
from exporter.ledger import claims, engine
from exporter.ledger.store import Ledger
from exporter.ledger.tables import metadata, query
from exporter.model.families import NORMALISED
from exporter.model.query import Budget, LabelRule, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window, floor_to
from tests.support.builders import received, spec
from tests.support.driver import shown_by
from tests.support.postgresql import PostgreSQL

CLOCK = SystemClock()
AHEAD_MS = 90_000
ACCOUNT = Budget("account", HOUR_MS, margin_ms=60_000)
Open = Callable[..., Ledger]
State = dict[sa.Table, list[dict[str, Any]]]
T = TypeVar("T")


class WrongClock(SystemClock):
    """A machine's clock that is ``ahead_ms`` ahead."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms


@pytest.fixture
def replica(postgresql_server: PostgreSQL) -> Iterator[Open]:
    """Return what opens one more replica on the same database, with its machine's clock wrong."""
    url = postgresql_server.url(postgresql_server.database())
    with ExitStack() as opened:

        def open_one(*specs: QuerySpec, ahead_ms: int = 0) -> Ledger:
            clock = DatabaseClock(WrongClock(ahead_ms))
            ledger = Ledger(url, clock=clock, families=NORMALISED)
            opened.callback(ledger.close)
            if specs:
                ledger.sync_queries(specs)
            return ledger

        yield open_one


def begun(call: Callable[[], T]) -> "Future[T]":
    """Return what ``call()`` will return on a thread of its own, once that has begun."""
    started = threading.Event()
    executor = ThreadPoolExecutor(max_workers=1)

    def run() -> T:
        started.set()
        return call()

    result = executor.submit(run)
    started.wait()
    executor.shutdown(wait=False)
    return result


def count(ledger: Ledger, n: float, *, name: str = "hourly") -> None:
    """Poll once: ``n`` messages in this hour."""
    claim = ledger.claim()
    assert claim is not None
    assert claim.query == name
    now_ms = CLOCK.now_ms()
    hour_ms = floor_to(now_ms, HOUR_MS)
    reading = Reading(
        Window(hour_ms - HOUR_MS, hour_ms + HOUR_MS), counts=[(received(), hour_ms, n)]
    )
    ledger.apply(claim, reading, started_ms=now_ms, next_poll_ms=now_ms)


def shown(ledger: Ledger, target: str = "shop") -> list[float]:
    key = target, "hourly"
    ledger.confirm_zero_scraped([number for number, _ in shown_by(ledger, key).pending])
    return [each.value for each in shown_by(ledger, key).shown if "_total" in each.family]


def test_two_claims_at_one_moment_are_of_two_targets(replica: Open) -> None:
    ledger = replica(spec(), spec(name="daily"), spec(target="promo"))
    now_ms = CLOCK.now_ms()

    with ledger._opened.engine.begin() as one, ledger._opened.engine.begin() as other:
        first = claims.claim_due(one, "a", now_ms, 1)
        second = claims.claim_due(other, "b", now_ms, 1)
        third = claims.claim_due(other, "b", now_ms, 1)

    assert first is not None
    assert second is not None
    assert {first.target, second.target} == {"shop", "promo"}
    assert third is None


def test_a_claim_that_another_has_just_committed_is_respected(replica: Open) -> None:
    one, other = replica(spec(), spec(name="daily")), replica(spec(), spec(name="daily"))

    def storm(ledger: Ledger, rounds: int = 40) -> list[tuple[int, int]]:
        held = []
        for _ in range(rounds):
            claim = ledger.claim()
            if claim is not None:
                began_ms = ledger._clock.now_ms()
                threading.Event().wait(0.002)
                held.append((began_ms, ledger._clock.now_ms()))
                ledger.end_poll(claim, next_poll_ms=0)
        return held

    results = [begun(partial(storm, ledger)) for ledger in (one, other)]
    spans = sorted(span for result in results for span in result.result(60))

    assert len(spans) > 10
    assert all(before[1] <= after[0] + 1 for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("ahead_ms", [-AHEAD_MS, AHEAD_MS])
def test_a_replica_with_a_wrong_clock_takes_no_claim(replica: Open, ahead_ms: int) -> None:
    right, wrong = replica(spec()), replica(spec(), ahead_ms=ahead_ms)

    claim = right.claim()

    assert claim is not None
    assert wrong.claim() is None
    assert right.renew([claim]) == [claim]
    assert abs((wrong.next_due_ms() or 0) - CLOCK.now_ms() - claims.CLAIM_MS) < 1000


def test_the_first_call_of_a_budget_is_spent_once(replica: Open) -> None:
    specs = [spec(budget=ACCOUNT), spec(target="promo", budget=ACCOUNT)]
    one, other = replica(*specs), replica(*specs)
    held = [one.claim(), other.claim()]
    barrier = threading.Barrier(2)

    def spend(number: int) -> bool:
        claim = held[number]
        assert claim is not None
        barrier.wait()
        try:
            (one, other)[number].spend(claim, ACCOUNT)
        except BudgetSpent:
            return False
        return True

    results = [begun(partial(spend, number)) for number in (0, 1)]

    assert sorted(bool(result.result(30)) for result in results) == [False, True]


def test_replicas_that_sync_the_same_new_target_at_once_both_start(replica: Open) -> None:
    ledgers = [replica() for _ in range(3)]
    specs = [spec(target=f"shop-{n}", known=(received(),)) for n in range(20)]
    barrier = threading.Barrier(3)

    def sync(ledger: Ledger) -> None:
        barrier.wait()
        ledger.sync_queries(specs)

    for result in [begun(partial(sync, ledger)) for ledger in ledgers]:
        result.result(30)

    with ledgers[0]._opened.engine.begin() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(query)).scalar_one() == 20


def test_what_one_replica_commits_another_is_told_to_read(replica: Open) -> None:
    one, other = replica(spec(), spec(target="promo")), replica(spec(), spec(target="promo"))
    version = other.replica.changes({}).version
    assert other.replica.changes(version).marks == {}

    count(one, 5)
    changes = other.replica.changes(version)

    assert set(changes.marks) == {("shop", "hourly")}
    assert changes.marks["shop", "hourly"] == shown_by(other, ("shop", "hourly")).mark
    assert other.replica.changes(changes.version).marks == {}
    assert not changes.went_back


def test_a_replica_that_starts_with_the_settings_in_force_gives_others_nothing_to_read(
    replica: Open,
) -> None:
    one = replica(spec())
    seen = one.replica.changes({}).version

    replica(spec())
    same = one.replica.changes(seen)
    replica(spec(meaning={"v": 2}))

    assert same.marks == {}
    assert one.replica.changes(same.version).marks.keys() == {("shop", "hourly")}


def test_a_query_that_changes_while_changes_are_read_is_among_them(replica: Open) -> None:
    one, other, reader = (replica(spec()) for _ in range(3))
    version = reader.replica.changes({}).version
    count(one, 5)
    overtaking = iter([partial(count, other, 9)])

    def overtake(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM replica" in statement:
            next(overtaking, lambda: None)()

    sa.event.listen(reader._opened.engine, "after_cursor_execute", overtake)
    first = reader.replica.changes(version)
    second = reader.replica.changes(first.version)

    assert next(overtaking, None) is None
    assert set(first.marks) == set(second.marks) == {("shop", "hourly")}


def test_a_zero_that_one_replica_has_shown_is_confirmed_for_all(replica: Open) -> None:
    one, other = replica(spec()), replica(spec())
    count(one, 5)
    count(other, 9)
    assert next(each.value for each in shown_by(other, ("shop", "hourly")).shown) == 0

    version = other.replica.changes({}).version
    assert shown(one) == [4]

    assert set(other.replica.changes(version).marks) == {("shop", "hourly")}
    assert shown(other) == [4]


def test_a_confirmation_waits_for_the_poll_that_writes_the_series(replica: Open) -> None:
    one, other = replica(spec()), replica(spec())
    count(one, 5)
    claim = one.claim()
    assert claim is not None
    pending = [number for number, _ in shown_by(one, ("shop", "hourly")).pending]

    with one._opened.engine.begin() as tx:
        claims.check(tx, claim)
        confirming = begun(lambda: other.confirm_zero_scraped(pending))
        threading.Event().wait(0.2)
        waited = not confirming.done()
    confirming.result(10)

    assert waited
    assert shown_by(other, ("shop", "hourly")).pending == ()


def test_a_claim_is_handed_over_when_it_expires_or_its_holder_stops(replica: Open) -> None:
    one, other = replica(spec()), replica(spec())
    stopped, killed = one.claim(), None
    assert stopped is not None

    one.close()
    killed = other.claim()
    third = replica(spec())

    assert killed is not None
    assert third.claim() is None
    with other._opened.engine.begin() as tx:
        claims.renew(tx, [killed], CLOCK.now_ms() - claims.CLAIM_MS)
    taken = third.claim()
    assert taken is not None
    with pytest.raises(ClaimLost):
        other.end_poll(killed, next_poll_ms=0)


@pytest.mark.parametrize("ahead_ms", [20_000, 365 * DAY_MS])
def test_a_claim_made_while_the_clock_was_ahead_does_not_outlast_it(
    replica: Open, ahead_ms: int
) -> None:
    killed, other = replica(spec()), replica(spec())
    claim = killed.claim()
    assert claim is not None
    with killed._opened.engine.begin() as tx:
        claims.renew(tx, [claim], CLOCK.now_ms() + ahead_ms)

    other.correct_clock()

    assert other.claim() is None
    due_ms = other.next_due_ms()
    assert due_ms is not None
    assert due_ms <= CLOCK.now_ms() + claims.CLAIM_MS


def test_the_newest_settings_own_a_query_until_their_replicas_are_gone(replica: Open) -> None:
    old, new = spec(meaning={"v": 1}), spec(meaning={"v": 2})
    one, other = replica(old, spec(target="promo")), replica(new, spec(target="promo"))

    restarted = replica(old, spec(target="promo"))

    assert one.replica.superseded() == restarted.replica.superseded() == [("shop", "hourly")]
    assert other.replica.superseded() == []
    assert [claim.target for claim in (one.claim(), one.claim()) if claim] == ["promo"]
    count(other, 5)

    other.close()

    assert restarted.replica.superseded() == []
    count(restarted, 5)


def test_settings_that_are_given_back_are_in_force_on_all_replicas(replica: Open) -> None:
    old, new = spec(meaning={"v": 1}), spec(meaning={"v": 2})
    one, other = replica(old), replica(old)

    one.sync_queries([new])
    before = other.replica.superseded()
    one.sync_queries([old])

    assert before == [("shop", "hourly")]
    assert one.replica.superseded() == other.replica.superseded() == []
    count(other, 5)
    count(one, 6)


@pytest.mark.parametrize(
    ("new", "renames"),
    [(spec(target="store"), {"shop": "store"}), (spec(name="hourly/main"), {})],
    ids=["target", "query"],
)
def test_what_newer_settings_renamed_is_left_to_their_replicas(
    replica: Open, new: QuerySpec, renames: dict[str, str]
) -> None:
    one, other = replica(spec()), replica(spec())
    count(one, 5)

    one.sync_queries([new], renames)

    assert other.claim() is None
    assert other.claim_slice() is None
    assert other.views([spec().key]) == {}
    assert other.replica.superseded() == [spec().key]
    count(one, 6, name=new.name)


def test_a_query_that_newer_settings_removed_is_shown_nowhere(replica: Open) -> None:
    shop, promo = spec(known=(received(),)), spec(target="promo")
    one, other = replica(shop, promo), replica(shop, promo)
    assert other.views([shop.key])[shop.key].shown

    one.sync_queries([promo])

    assert other.views([shop.key, promo.key]).keys() == {promo.key}


def test_a_poll_under_an_old_meaning_keeps_its_target_until_it_notices(replica: Open) -> None:
    one = replica(spec(meaning={"v": 1}))
    claim = one.claim()
    assert claim is not None

    other = replica(spec(meaning={"v": 2}))

    assert other.claim() is None
    assert one.renew([claim]) == []
    with pytest.raises(ClaimLost):
        one.end_poll(claim, next_poll_ms=0)


def test_a_lease_is_kept_however_many_replicas_bring_the_settings_that_ended_its_claim(
    replica: Open,
) -> None:
    one = replica(spec())
    claim = one.claim()
    assert claim is not None

    renamed = spec(label_rules={"channel": LabelRule({"web": "site"})})
    others = [replica(renamed), replica(renamed)]

    assert [other.claim() for other in others] == [None, None]


def test_settings_that_are_not_in_force_may_name_what_there_is_not(replica: Open) -> None:
    replica(spec(), spec(target="added"))
    one = replica(spec())
    replica(spec())

    late = replica(spec(), spec(target="never"))
    early = replica(spec(), spec(target="added"))

    assert late.replica.superseded() == []
    assert early.views([("shop", "daily")]) == {}
    assert one.replica.superseded() == []


def state_of(ledger: Ledger) -> State:
    """Return all rows, as a standby has received them up to now."""
    with ledger._opened.engine.begin() as tx:
        return {
            table: [dict(row) for row in tx.execute(sa.select(table)).mappings()]
            for table in metadata.sorted_tables
        }


def fail_over(ledger: Ledger, older: State) -> None:
    """Let the ledger be in an older state."""
    with ledger._opened.engine.begin() as tx:
        for table in reversed(metadata.sorted_tables):
            tx.execute(sa.delete(table))
        for table, rows in older.items():
            if rows:
                tx.execute(sa.insert(table), rows)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return which servers answered; the last one does now."""
    found = [1]
    monkeypatch.setattr(engine, "server_of", lambda _tx: found[-1])
    return found


def test_on_another_server_nothing_is_read_or_written_before_it_is_confirmed(
    replica: Open, servers: list[int]
) -> None:
    ledger = replica(spec())
    claim = ledger.claim()
    assert claim is not None
    version = ledger.replica.changes({}).version

    servers.append(2)
    refused: list[Callable[[], Any]] = [
        lambda: shown_by(ledger, ("shop", "hourly")),
        ledger.claim,
        partial(ledger.renew, [claim]),
        partial(ledger.end_poll, claim, next_poll_ms=0),
        partial(ledger.sync_queries, [spec()]),
    ]
    for call in refused:
        with pytest.raises(LedgerError, match="another server"):
            call()
    changes = ledger.replica.changes(version)
    ledger.replica.confirm(changes.server, changes.version)

    assert (changes.server, changes.went_back) == (2, False)
    assert ledger.renew([claim]) == []
    with pytest.raises(LedgerError, match="another server"):
        ledger.replica.confirm(1, changes.version)


def test_lost_commits_are_noticed_though_newer_ones_have_followed(
    replica: Open, servers: list[int]
) -> None:
    one, reader = replica(spec()), replica(spec())
    older = state_of(one)
    count(one, 5)
    seen = reader.replica.changes({}).version

    fail_over(one, older)
    servers.append(2)
    changes = one.replica.changes(seen)
    one.replica.confirm(changes.server, changes.version)
    one.replica.resume_claims()
    for n in (5, 9, 9):
        count(one, n)
    found = reader.replica.changes(seen)

    assert changes.went_back
    assert found.version[one._holder] > seen[one._holder]
    assert found.went_back


def test_after_a_failover_nothing_is_claimed_before_others_have_confirmed(
    replica: Open, servers: list[int]
) -> None:
    specs = [spec(budget=ACCOUNT), spec(target="promo", budget=ACCOUNT)]
    one, other = replica(*specs), replica(*specs)
    older, seen, claim = state_of(one), one.replica.changes({}).version, one.claim()
    assert claim is not None
    one.spend(claim, ACCOUNT)

    fail_over(one, older)
    servers.append(2)
    for each in (other, one):
        changes = each.replica.changes(seen)
        each.replica.confirm(changes.server, changes.version)
    waiting = other.claim(), other.claim_slice(), other.next_due_ms()
    other.replica.resume_claims()
    taken = other.claim()

    assert waiting == (None, None, None)
    assert taken is not None
    with pytest.raises(BudgetSpent):  # though the entry of the other replica's call was lost
        other.spend(taken, ACCOUNT)


def test_a_restart_of_the_server_that_lost_nothing_is_no_older_state(
    replica: Open, servers: list[int]
) -> None:
    one, reader, ended = replica(spec()), replica(spec()), replica(spec())
    count(one, 5)
    seen = reader.replica.changes({})
    ended.close()

    servers.append(2)
    one.replica.confirm(2, one.replica.changes({}).version)
    one.replica.resume_claims()
    count(one, 9)
    found = reader.replica.changes(seen.version)

    assert seen.alive == {one._holder, ended._holder}
    assert found.alive == {one._holder}
    assert (found.went_back, found.unconfirmed) == (False, frozenset())
    assert one.replica.changes(seen.version).unconfirmed == {reader._holder}


def test_a_replica_that_stops_before_it_confirmed_a_new_server_is_waited_for(
    replica: Open, servers: list[int]
) -> None:
    one, ended = replica(spec()), replica(spec())

    servers.append(2)
    ended.close()
    found = one.replica.changes({})

    assert found.alive == found.unconfirmed == {ended._holder}


def test_a_replica_that_ended_and_is_forgotten_takes_nothing_back(replica: Open) -> None:
    one, ended = replica(spec()), replica(spec())
    count(ended, 5)
    seen = one.replica.changes({}).version
    ended.close()

    assert list(one.compact())
    found = one.replica.changes(seen)

    assert ended._holder not in found.version
    assert not found.went_back


def test_an_older_state_of_the_ledger_keeps_what_was_shown(replica: Open) -> None:
    ledger = replica(spec())
    for n in (5, 9):
        count(ledger, n)
    assert shown(ledger) == [4]
    older, counted = state_of(ledger), ("chatbot_exporter_revisions_total", (("target", "shop"),))
    count(ledger, 15)
    before, version = shown_by(ledger, ("shop", "hourly")), ledger.replica.changes({}).version
    fail_over(ledger, older)

    assert ledger.replica.changes(version).went_back
    ledger.replica.resync({counted: 7.0})
    ledger.replica.resync({counted: 6.0})
    ledger.replica.raise_counters(("shop", "hourly"), before.shown)
    ledger.replica.confirm(ledger.replica.changes(version).server, version)
    ledger.replica.resume_claims()
    raised = shown_by(ledger, ("shop", "hourly"))
    count(ledger, 15)
    repaid = shown_by(ledger, ("shop", "hourly"))

    assert shown(ledger) == [10]
    assert [list(view.state.overhang.values()) for view in (raised, repaid)] == [[6], [0]]
    assert ledger.self_counts(["shop"])[counted] == 7
    assert not ledger.replica.changes(ledger.replica.changes({}).version).went_back


def test_a_target_that_was_renamed_in_what_was_lost_keeps_its_counters(replica: Open) -> None:
    ledger = replica(spec())
    for n in (5, 9):
        count(ledger, n)
    older, version = state_of(ledger), ledger.replica.changes({}).version
    ledger.sync_queries([spec(target="store")], {"shop": "store"})
    count(ledger, 15)
    before = shown(ledger, "store"), shown_by(ledger, ("store", "hourly"))
    fail_over(ledger, older)

    ledger.replica.resync({})
    ledger.replica.raise_counters(("store", "hourly"), before[1].shown)
    ledger.replica.confirm(ledger.replica.changes(version).server, version)
    ledger.replica.resume_claims()
    count(ledger, 20)

    assert (before[0], shown(ledger, "store")) == ([10], [15])


def test_growth_goes_on_at_once_where_the_first_poll_is_among_what_was_lost(replica: Open) -> None:
    ledger = replica(spec())
    older = state_of(ledger)
    for n in (5, 12):
        count(ledger, n)
    assert shown(ledger) == [7]
    before, version = shown_by(ledger, ("shop", "hourly")), ledger.replica.changes({}).version
    fail_over(ledger, older)
    ledger.replica.resync({})
    ledger.replica.raise_counters(("shop", "hourly"), before.shown)
    ledger.replica.confirm(ledger.replica.changes(version).server, version)
    ledger.replica.resume_claims()

    count(ledger, 14)  # a new baseline: of the two since nobody knows
    began = shown(ledger)
    count(ledger, 17)
    grown = shown_by(ledger, ("shop", "hourly"))

    assert (began, shown(ledger)) == ([7], [10])
    assert list(grown.state.overhang.values()) == [0]


def test_a_standby_is_refused(replica: Open, postgresql_server: PostgreSQL) -> None:
    ledger = replica(spec())
    engine = ledger._opened.engine
    with engine.begin() as tx:  # what a standby would answer
        tx.exec_driver_sql("CREATE SCHEMA fake")
        tx.exec_driver_sql(
            "CREATE FUNCTION fake.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'"
        )
        database = tx.exec_driver_sql("SELECT current_database()").scalar_one()
    postgresql_server.administer(
        f"ALTER DATABASE {database} SET search_path = fake, public, pg_catalog"
    )
    engine.dispose()

    with pytest.raises(LedgerError, match="the server is a standby"):
        ledger.claim()

    postgresql_server.administer(f"ALTER DATABASE {database} RESET search_path")
