"""What is done to the ledger of a stopped exporter: counters are raised, a target is forgotten."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from exporter.clock import SystemClock
from exporter.errors import BudgetSpent, LedgerError
from exporter.ledger import engine, repair, transfer
from exporter.ledger.rows import Shown
from exporter.ledger.store import Ledger
from exporter.ledger.tables import metadata
from exporter.model.families import NORMALISED
from exporter.model.query import Budget, QuerySpec
from exporter.model.samples import HOUR_MS, Reading, Window, floor_to
from exporter.telemetry.counters import FAMILIES
from tests.ledger.test_replicas import count, shown
from tests.support.builders import RECEIVED, received, spec
from tests.support.postgresql import PostgreSQL

CLOCK = SystemClock()
ACCOUNT = Budget("account", HOUR_MS, margin_ms=60_000)
SPEC = replace(spec(), fields={RECEIVED: "received"}, budget=ACCOUNT)
OTHER = replace(SPEC, target="docs")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a ledger that shows 4, on each engine."""
    if request.param == "sqlite":
        place = f"sqlite:///{tmp_path}/ledger.db"
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        place = server.url(server.database())
    with opened(place) as ledger:
        count(ledger, 5)
        count(ledger, 9)
    return place


@contextmanager
def opened(url: str, *specs: QuerySpec) -> Iterator[Ledger]:
    """Open a ledger as an exporter does."""
    ledger = Ledger(url, clock=engine.clock_of(url, CLOCK), families=NORMALISED)
    try:
        ledger.sync_queries(specs or [SPEC])
        yield ledger
    finally:
        ledger.close()


def scraped(value: float, **changed: str) -> Shown:
    """Return the newest sample of a counter of the target ``shop``."""
    labels = {"provider": "flowxo", "target": "shop", "project": "shop"} | changed
    return Shown(RECEIVED, (*labels.values(), "", ""), value)


def test_counters_are_raised_and_what_was_counted_since_is_not_counted_again(url: str) -> None:
    last = [scraped(10), scraped(3, project="new"), scraped(7, target="gone")]

    raised = repair.raise_counters(url, [SPEC], NORMALISED, last, CLOCK)

    assert raised == 2
    assert transfer.check(url, CLOCK) == []
    with opened(url) as ledger:
        shown(ledger)
        assert sorted(shown(ledger)) == [3, 10]
        count(ledger, 15)  # as many as had been counted when it was scraped
        assert sorted(shown(ledger)) == [3, 10]
        count(ledger, 16)
        assert sorted(shown(ledger)) == [3, 11]
    repair.raise_counters(url, [SPEC], NORMALISED, [scraped(2)], CLOCK)  # which is lower
    with opened(url) as ledger:
        assert sorted(shown(ledger)) == [3, 11]


def test_a_call_that_the_older_ledger_does_not_know_is_not_made_again(url: str) -> None:
    repair.raise_counters(url, [SPEC], NORMALISED, [], CLOCK)

    with opened(url) as ledger:
        claim = ledger.claim()
        assert claim is not None
        with pytest.raises(BudgetSpent):
            ledger.spend(claim, ACCOUNT)


def test_the_exporters_own_counters_are_raised_where_the_ledger_has_them(url: str) -> None:
    with opened(url) as ledger:
        count(ledger, 8)  # one less
    labels = ("flowxo", "shop", "hourly")
    families = NORMALISED | {each.name: each for each in FAMILIES}
    names = ["chatbot_exporter_retracted_total", "chatbot_exporter_provider_resets_total"]

    repair.raise_counters(url, [SPEC], families, [Shown(each, labels, 8) for each in names], CLOCK)

    with opened(url) as ledger:
        found = {name: n for (name, _), n in ledger.self_counts().items() if name in names}
    assert found == {names[0]: 8}


def test_a_running_exporter_keeps_its_ledger(url: str) -> None:
    with opened(url):
        with pytest.raises(LedgerError, match="exporter runs on"):
            repair.raise_counters(url, [SPEC], NORMALISED, [scraped(10)], CLOCK)
        with pytest.raises(LedgerError, match="exporter runs on"):
            repair.delete_target(url, "shop", CLOCK)


def test_nothing_is_left_of_a_target_that_is_forgotten(url: str, tmp_path: Path) -> None:
    with opened(url, SPEC, OTHER) as ledger:
        while (claim := ledger.claim()) and claim.target == "shop":
            ledger.end_poll(claim, next_poll_ms=CLOCK.now_ms() + HOUR_MS)
        assert claim is not None
        window = Window(floor_to(CLOCK.now_ms(), HOUR_MS), CLOCK.now_ms())
        counts = [(received(project="docs"), window.start_ms, 5.0)]
        ledger.apply(claim, Reading(window, counts=counts), started_ms=CLOCK.now_ms())
    before = rows(url)

    deleted = repair.delete_target(url, "shop", CLOCK)

    assert deleted["series"] == 1
    assert deleted["bucket"] > 0
    assert not [each for each in rows(url) if "shop" in each]
    of_docs = [each for each in before if "docs" in each]
    assert [each for each in rows(url) if "docs" in each] == of_docs != []
    assert all(b"shop" not in file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    with opened(url) as ledger:
        count(ledger, 20)
        assert shown(ledger) == [0]


def test_a_file_that_has_no_room_to_be_rewritten_is_named_and_its_target_forgotten(
    tmp_path: Path,
) -> None:
    file = tmp_path / "ledger.db"
    with opened(f"sqlite:///{file}") as ledger:
        count(ledger, 5)
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE pad AS SELECT zeroblob(4000000)")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, unlimited[1]))
    try:
        with pytest.raises(LedgerError, match=r"deleted, but .*ledger\.db VACUUM"):
            repair.delete_target(f"sqlite:///{file}", "shop", CLOCK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    assert not [each for each in rows(f"sqlite:///{file}") if "shop" in each]


def rows(url: str) -> list[str]:
    """Return every row of a ledger as text."""
    made = engine.create_engine(url)
    with made.connect() as tx:
        found = [
            f"{name} {row}"
            for name, table in metadata.tables.items()
            for row in tx.execute(sa.select(table))
        ]
    made.dispose()
    return sorted(found)


def test_a_series_is_raised_whatever_its_query_is_called(url: str) -> None:
    main, dev = replace(SPEC, name="hourly/shop/main"), replace(SPEC, name="hourly/shop/dev")
    with opened(url, main, replace(dev, meaning={"v": 2})):
        pass  # the label of the environment is its id

    raised = repair.raise_counters(url, [main, dev], NORMALISED, [scraped(10)], CLOCK)

    assert raised == 1
    assert transfer.check(url, CLOCK) == []


def test_a_series_that_the_ledger_lacks_is_raised_by_the_slashes_of_its_names(url: str) -> None:
    one, two = replace(SPEC, name="hourly/shop/eu"), replace(SPEC, name="hourly/shop/us")
    with opened(url, one, replace(two, meaning={"v": 2})):
        pass

    last = [scraped(10, project="shop/us")]

    assert repair.raise_counters(url, [one, two], NORMALISED, last, CLOCK) == 1
