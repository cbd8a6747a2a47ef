"""A reading that says what the last one said costs little, and counts as any other does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import LedgerError
from exporter.model.samples import HOUR_MS, floor_to
from tests.ledger.conftest import OpenBook
from tests.support.builders import INTERACTIONS, RECEIVED, Book, received, spec
from tests.support.effort import examples
from tests.support.virtual import START_MS, VirtualClock

HOUR = floor_to(START_MS, HOUR_MS)
FORTY_DAYS_H = 24 * 40

Poll = tuple[int, tuple[int, int, int]]
polls = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 30, FORTY_DAYS_H]),
        st.sampled_from([(10, 0, 0), (10, 5, 0), (14, 5, 2), (400, 5, 2), (0, 0, 0)]),
    ),
    min_size=2,
    max_size=12,
)


@pytest.fixture
def book(open_book: OpenBook) -> Book:
    found = open_book(START_MS, spec())
    found.poll({HOUR: 10})
    found.poll({HOUR: 14})
    return found


@contextmanager
def statements(book: Book) -> Iterator[list[str]]:
    """Collect what is asked of the database meanwhile."""
    seen: list[str] = []

    def note(_tx: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    sa.event.listen(book.ledger._engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(book.ledger._engine, "before_cursor_execute", note)


def test_a_reading_that_says_the_same_again_touches_no_bucket(book: Book) -> None:
    with statements(book) as changed:
        book.poll({HOUR: 15})
    with statements(book) as same:
        book.poll({HOUR: 15})

    assert any("bucket" in statement for statement in changed)
    assert not any("bucket" in statement for statement in same)
    assert book.counter() == 5


def test_what_was_not_committed_is_not_taken_for_counted(book: Book) -> None:
    def refuse(_tx: object) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("disk full"))

    claim = book.claim()
    sa.event.listen(book.ledger._engine, "commit", refuse)
    with pytest.raises(LedgerError, match="disk full"):
        book.apply(claim, counts=[(received(), HOUR, 20)])
    sa.event.remove(book.ledger._engine, "commit", refuse)
    book.ledger.fail(claim, next_poll_ms=book.clock.now_ms())

    book.poll({HOUR: 20})

    assert book.counter() == 10


def test_overhang_is_written_off_though_every_poll_says_the_same(book: Book) -> None:
    book.poll({HOUR: 11})

    book.clock.step(7 * HOUR_MS)
    book.poll({HOUR: 11})
    book.poll({HOUR: 12})

    assert (book.counter(), book.counted("chatbot_exporter_written_off_total")) == (5, 3)


def test_another_claim_in_between_ends_the_memory(book: Book) -> None:
    other = book.claim()
    book.ledger.fail(other, next_poll_ms=book.clock.now_ms())

    with statements(book) as seen:
        book.poll({HOUR: 14})

    assert any("FROM bucket" in statement for statement in seen)


def test_a_target_that_was_away_is_compared_again(book: Book) -> None:
    book.ledger.sync_queries([spec(target="promo")])
    book.ledger.sync_queries([book.spec])

    with statements(book) as seen:
        book.poll({HOUR: 14})

    assert any("FROM bucket" in statement for statement in seen)


def test_what_has_no_place_is_counted_at_every_poll(open_book: OpenBook) -> None:
    book = open_book(START_MS, spec(caps={RECEIVED: 1}))
    for _ in range(3):
        book.poll({("web", HOUR): 1.0, ("sms", HOUR): 2.0})

    assert book.counted("chatbot_exporter_dropped_series_total") == 3


def test_what_was_dropped_at_the_edge_is_counted_at_every_poll(book: Book) -> None:
    for _ in range(3):
        book.poll({HOUR: 14}, dropped={(INTERACTIONS, "not_allowlisted"): 2})

    assert book.counted("chatbot_exporter_dropped_series_total") == 6


def played(folder: Path, story: list[Poll], *, forgets: bool) -> list[object]:
    """Return what a ledger shows after each poll; one that ``forgets`` is opened anew for each."""
    book = Book(folder, VirtualClock(START_MS), spec(lookback_ms=2 * HOUR_MS))
    seen: list[object] = []
    for wait_h, figures in story:
        if forgets:
            book.reopen()
        book.clock.step(wait_h * HOUR_MS)
        if wait_h:
            book.ledger.compact()
        newest = floor_to(book.clock.now_ms(), HOUR_MS)
        book.poll({newest - back * HOUR_MS: n for back, n in enumerate(figures)})
        book.confirm_zero_scraped()
        seen.append((book.view().shown, book.view().state.overhang, book.ledger.self_counts()))
    book.ledger.close()
    return seen


@examples(15)
@given(polls)
def test_a_ledger_that_remembers_counts_as_one_that_forgets(story: list[Poll]) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        remembering = played(Path(one), story, forgets=False)
        forgetting = played(Path(other), story, forgets=True)

    assert remembering == forgetting
