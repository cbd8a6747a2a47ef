"""Old rows go in small bites, and no statement of everyday work reads a whole large table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from exporter.ledger import maintenance
from exporter.ledger.tables import bucket, query
from exporter.model.samples import DAY_MS, HOUR_MS, Event, floor_to
from tests.ledger.conftest import OpenBook
from tests.support.builders import Book, received, spec
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)
Asked = list[tuple[str, Sequence[Any]]]


@contextmanager
def statements(book: Book) -> Iterator[Asked]:
    """Collect what is asked of the database meanwhile, with one set of parameters each."""
    asked: Asked = []

    def note(*given: Any) -> None:
        _, _, statement, parameters, _, many = given
        asked.append((statement, parameters[0] if many else parameters))

    sa.event.listen(book.ledger._engine, "before_cursor_execute", note)
    yield asked
    sa.event.remove(book.ledger._engine, "before_cursor_execute", note)


def scans(book: Book, asked: Asked) -> list[str]:
    """Return what the database would do from end to end for those statements."""
    found: list[str] = []
    with book.ledger._engine.begin() as tx:
        for statement, parameters in asked:
            if statement.split()[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"}:
                plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
                found += [row[3] for row in plan if row[3].startswith("SCAN")]
    return found


def everyday(book: Book) -> Asked:
    """Poll with growth, a fall, a gauge and nothing new; show, tend, sweep and forget."""
    with statements(book) as asked:
        for figure in (10.0, 14.0, 12.0, 12.0):
            book.poll({("web", HOUR): figure, ("sms", HOUR - HOUR_MS): figure})
        book.confirm_zero_scraped()
        book.ledger.maintain()
        book.ledger.compact()
        book.clock.step(40 * DAY_MS)
        book.poll({("web", HOUR + 40 * DAY_MS): 1.0})
        book.ledger.compact()
        book.ledger.sync_queries([])
        book.clock.step(100 * DAY_MS)
        book.ledger.compact()
    return asked


def test_no_statement_reads_all_buckets_or_events(open_book: OpenBook) -> None:
    book = open_book(START_MS, spec())

    asked = everyday(book)

    assert any(statement.startswith("DELETE FROM bucket") for statement, _ in asked)
    assert not [scan for scan in scans(book, asked) if "bucket" in scan or "seen_event" in scan]


def test_no_statement_of_a_stream_reads_all_events(open_book: OpenBook) -> None:
    book = open_book(START_MS, spec(stream=True, lookback_ms=HOUR_MS))
    book.apply(book.claim(), watermark_ms=START_MS)
    events = [Event(bytes([n]) * 16, START_MS + n, (received("web"),)) for n in range(9)]

    with statements(book) as asked:
        book.apply(book.claim(), events=events, watermark_ms=START_MS + HOUR_MS)
        book.apply(book.claim(), events=events, watermark_ms=START_MS + HOUR_MS)

    assert any("seen_event" in statement for statement, _ in asked)
    assert not [scan for scan in scans(book, asked) if "bucket" in scan or "seen_event" in scan]


def test_a_ledger_near_its_size_keeps_only_what_is_still_read(open_book: OpenBook) -> None:
    book = open_book(START_MS, spec())
    book.poll({HOUR: 1.0})
    book.poll({HOUR: 5.0})
    book.clock.step(10 * DAY_MS)
    newest = HOUR + 10 * DAY_MS
    book.poll({HOUR: 5.0, newest: 2.0})
    book.ledger.compact()
    roomy = book.ledger.sizes()[2]["bucket"]

    book.ledger.max_bytes = 50_000
    with capture_logs() as said:
        book.ledger.compact()
        book.ledger.compact()

    assert (roomy, book.ledger.sizes()[2]["bucket"]) == (2, 1)
    assert [line["max_bytes"] for line in said] == [50_000]
    book.poll({newest: 3.0})
    assert book.counter() == 7


def test_a_ledger_with_room_says_nothing_and_keeps_all(open_book: OpenBook) -> None:
    book = open_book(START_MS, spec())
    book.poll({HOUR: 1.0})
    book.clock.step(10 * DAY_MS)
    book.poll({HOUR + 10 * DAY_MS: 2.0})

    book.ledger.max_bytes = 2**30
    with capture_logs() as said:
        book.ledger.compact()

    assert (book.ledger.sizes()[2]["bucket"], said) == (2, [])


def test_a_target_gone_for_long_is_forgotten_bite_by_bite(
    open_book: OpenBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "BATCH_ROWS", 2)
    book = open_book(START_MS, spec())
    book.poll({HOUR - n * HOUR_MS: 1.0 for n in range(5)})
    book.ledger.sync_queries([])
    book.clock.step(91 * DAY_MS)
    left = []

    for _ in range(4):
        with book.ledger._engine.begin() as tx:
            maintenance.delete_removed(tx, book.clock.now_ms())
            left.append(
                tuple(
                    tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                    for table in (bucket, query)
                )
            )

    assert left == [(3, 1), (1, 1), (0, 1), (0, 0)]


def test_a_target_that_comes_back_half_forgotten_counts_on(
    open_book: OpenBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "BATCH_ROWS", 2)
    book = open_book(START_MS, spec(lookback_ms=200 * DAY_MS))
    book.poll({HOUR - n * HOUR_MS: 1.0 for n in range(5)})
    book.poll({HOUR - n * HOUR_MS: 2.0 for n in range(5)})
    book.ledger.sync_queries([])
    book.clock.step(91 * DAY_MS)
    with book.ledger._engine.begin() as tx:
        maintenance.delete_removed(tx, book.clock.now_ms())

    book.reopen()
    book.poll({HOUR - n * HOUR_MS: 3.0 for n in range(3)})

    assert book.counter() == 8


def test_a_sweep_forgets_what_is_due(open_book: OpenBook) -> None:
    book = open_book(START_MS, spec())
    book.poll({HOUR: 1.0})
    book.ledger.sync_queries([])
    book.clock.step(91 * DAY_MS)

    book.ledger.compact()

    rows = book.ledger.sizes()[2]
    assert (rows["query"], rows["series"], rows["bucket"]) == (0, 0, 0)
