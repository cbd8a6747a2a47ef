"""Old rows go in small bites, and no statement of everyday work reads a whole large table."""

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from exporter.ledger import maintenance
from exporter.ledger.tables import bucket, query
from exporter.model.samples import DAY_MS, HOUR_MS, Event, floor_to
from tests.ledger.conftest import ON_SQLITE, Start
from tests.support.builders import received, spec
from tests.support.driver import LedgerDriver, Statements, recorded
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)


def scans(driver: LedgerDriver, asked: Statements) -> list[str]:
    """Return what the database would do from end to end for those statements."""
    found: list[str] = []
    with driver.transaction() as tx:
        for statement, parameters in asked:
            if statement.split()[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"}:
                plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
                found += [row[3] for row in plan if row[3].startswith("SCAN")]
    return found


def everyday(driver: LedgerDriver) -> Statements:
    """Poll with growth, a fall, a gauge and nothing new; show, tend, sweep and forget."""
    with recorded() as asked:
        for figure in (10.0, 14.0, 12.0, 12.0):
            driver.poll({("web", HOUR): figure, ("sms", HOUR - HOUR_MS): figure})
        driver.confirm_zero_scraped()
        driver.ledger.maintain()
        driver.compact()
        driver.clock.step(40 * DAY_MS)
        driver.poll({("web", HOUR + 40 * DAY_MS): 1.0})
        driver.compact()
        driver.ledger.sync_queries([])
        driver.clock.step(100 * DAY_MS)
        driver.compact()
    return asked


@ON_SQLITE
def test_no_statement_reads_all_buckets_or_events(driver: LedgerDriver) -> None:
    asked = everyday(driver)

    assert any(statement.startswith("DELETE FROM bucket") for statement, _ in asked)
    assert not [scan for scan in scans(driver, asked) if "bucket" in scan or "seen_event" in scan]


@ON_SQLITE
def test_no_statement_of_a_stream_reads_all_events(start: Start) -> None:
    driver = start(stream=True, lookback_ms=HOUR_MS)
    driver.poll(watermark_ms=START_MS)
    events = [Event(bytes([n]) * 16, START_MS + n, (received("web"),)) for n in range(9)]

    with recorded() as asked:
        driver.poll(events=events, watermark_ms=START_MS + HOUR_MS)
        driver.poll(events=events, watermark_ms=START_MS + HOUR_MS)

    assert any("seen_event" in statement for statement, _ in asked)
    assert not [scan for scan in scans(driver, asked) if "bucket" in scan or "seen_event" in scan]


def test_a_ledger_near_its_size_keeps_only_what_is_still_read(driver: LedgerDriver) -> None:
    driver.poll({HOUR: 1.0})
    driver.poll({HOUR: 5.0})
    driver.clock.step(10 * DAY_MS)
    newest = HOUR + 10 * DAY_MS
    driver.poll({HOUR: 5.0, newest: 2.0})
    left = []

    with capture_logs() as said:
        for most in (None, 2**30, 50_000, 50_000):
            driver.ledger.max_bytes = most
            driver.compact()
            left.append((driver.rows(bucket), len(said)))

    assert left == [(2, 0), (2, 0), (1, 1), (1, 1)]
    assert [line["max_bytes"] for line in said] == [50_000]
    driver.poll({newest: 3.0})
    assert driver.counter() == 7


def test_a_target_gone_for_long_is_forgotten_bite_by_bite(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "BATCH_ROWS", 2)
    driver = start()
    driver.poll({HOUR - n * HOUR_MS: 1.0 for n in range(5)})
    driver.ledger.sync_queries([])
    driver.clock.step(91 * DAY_MS)
    left = []

    for _ in range(4):
        with driver.transaction() as tx:
            maintenance.delete_removed(tx, driver.clock.now_ms())
            left.append(
                tuple(
                    tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                    for table in (bucket, query)
                )
            )

    assert left == [(3, 1), (1, 1), (0, 1), (0, 0)]


def test_counters_about_a_target_go_with_its_last_query(start: Start) -> None:
    driver = start()
    driver.sync(spec(), spec(name="daily"), spec(target="docs"))
    for number in (5.0, 4.0):  # one is taken back, which is counted
        for _ in range(3):
            claim = driver.claim()
            driver.poll({(claim.query, HOUR): number}, claim=claim)
    left = []

    for kept in ([spec(target="docs"), spec(name="daily")], [spec(target="docs")]):
        driver.ledger.sync_queries(kept)
        driver.clock.step(91 * DAY_MS)
        driver.compact()
        left.append({dict(labels)["target"] for _, labels in driver.ledger.self_counts()})

    assert left == [{"shop", "docs"}, {"docs"}]


def test_a_target_that_comes_back_half_forgotten_counts_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "BATCH_ROWS", 2)
    driver = start(lookback_ms=200 * DAY_MS)
    driver.poll({HOUR - n * HOUR_MS: 1.0 for n in range(5)})
    driver.poll({HOUR - n * HOUR_MS: 2.0 for n in range(5)})
    driver.ledger.sync_queries([])
    driver.clock.step(91 * DAY_MS)
    with driver.transaction() as tx:
        maintenance.delete_removed(tx, driver.clock.now_ms())

    driver.reopen()
    driver.poll({HOUR - n * HOUR_MS: 3.0 for n in range(3)})

    assert driver.counter() == 8
