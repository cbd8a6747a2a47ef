"""The worked examples of the specification (docs/specification/counting.md), poll by poll."""

import datetime as dt

import pytest

from exporter.errors import SchemaError
from exporter.model.samples import HOUR_MS
from tests.ledger.conftest import OpenBook
from tests.support.builders import RECEIVED, Book, received, spec


def at(hour: int, minute: int = 0, day: int = 3) -> int:
    return round(dt.datetime(2026, 3, day, hour, minute, tzinfo=dt.UTC).timestamp() * 1000)


def book_at(open_book: OpenBook, hour: int, minute: int, **changes: object) -> Book:
    return open_book(at(hour, minute), spec(**changes))


def go_to(book: Book, instant_ms: int) -> None:
    book.clock.step(instant_ms - book.clock.now_ms())


def numbers(book: Book) -> tuple[float, float]:
    return book.counter(), book.view().state.overhang["chatbot_messages_received_total"]


def test_late_data_and_a_small_retraction_cost_no_accuracy(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20)
    polls = [
        ((10, 20), {9: 100, 10: 30}, (0, 0)),
        ((10, 40), {9: 100, 10: 55}, (25, 0)),
        ((11, 10), {9: 104, 10: 80, 11: 12}, (66, 0)),
        ((11, 15), {9: 104, 10: 78, 11: 14}, (66, 0)),
        ((11, 20), {9: 104, 10: 70, 11: 15}, (66, 7)),
        ((12, 5), {9: 104, 10: 70, 11: 40, 12: 3}, (87, 0)),
    ]

    seen = []
    for clock, hours, _ in polls:
        go_to(book, at(*clock))
        book.poll({at(hour): value for hour, value in hours.items()})
        seen.append(numbers(book))

    assert seen == [expected for _, _, expected in polls]


def test_a_large_retraction_is_written_off_after_six_hours(open_book: OpenBook) -> None:
    book = book_at(open_book, 1, 0, history=True)
    book.poll({at(0): 1000})
    book.counter()
    seen = []

    for hour in range(8):
        go_to(book, at(2 + hour, 0))
        hours = {at(0): 600} | {at(2 + h): 20.0 for h in range(hour)}
        book.poll(hours)
        seen.append((hour, *numbers(book)))

    assert [seen[0], *seen[5:]] == [(0, 1000, 400), (5, 1000, 300), (6, 1000, 0), (7, 1020, 0)]
    assert book.counted("chatbot_exporter_written_off_total") == 280


def test_an_outage_inside_the_window_loses_nothing(open_book: OpenBook) -> None:
    book = book_at(open_book, 9, 50)
    book.poll({at(8): 500})
    go_to(book, at(10, 10))
    book.poll({at(8): 1000, at(10): 22})
    assert book.counter() == 522

    go_to(book, at(15, 10))
    hours = {8: 1000, 10: 80, 11: 90, 12: 70, 13: 60, 14: 65, 15: 9}
    book.poll({at(hour): value for hour, value in hours.items()})

    assert book.counter() == 874


def test_history_is_counted_when_asked_for(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20, history=True)

    book.poll({at(7): 50, at(8): 60, at(9): 70, at(10): 30})

    assert book.counter() == 210


def test_a_channel_that_appears_later_counts_from_nothing(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20)
    book.poll({("web", at(10)): 30.0})

    book.poll({("web", at(10)): 31.0, ("sms", at(10)): 4.0})

    assert (book.counter("web"), book.counter("sms")) == (1, 4)


def test_a_late_row_of_an_hour_before_the_first_poll_counts(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20)
    book.poll({at(9): 5.0})

    book.poll({at(9): 5.0, at(8): 3.0})

    assert book.counter() == 3


def test_rows_older_than_the_first_range_never_count(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20, lookback_ms=2 * HOUR_MS)
    book.poll({at(9): 5.0})
    book.reopen(spec(lookback_ms=9 * HOUR_MS))

    book.poll({at(9): 6.0, at(3): 1000.0})

    assert book.counter() == 1


def test_an_hour_that_is_no_longer_mentioned_is_zero(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20, history=True)
    book.poll({at(9): 50.0, at(10): 10.0})

    book.poll({at(10): 12.0})

    assert numbers(book) == (60, 48)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_new_series_is_zero_until_that_was_scraped(open_book: OpenBook, restarts: bool) -> None:  # noqa: FBT001
    book = book_at(open_book, 10, 20, history=True)
    book.poll({at(10): 40.0})
    assert book.shown() == {("shop", "", ""): 0}

    if restarts:
        book.reopen()
        assert book.shown() == {("shop", "", ""): 0}
    book.confirm_zero_scraped()

    assert book.shown() == {("shop", "", ""): 40}
    if restarts:
        book.reopen()
        assert book.shown() == {("shop", "", ""): 40}


def test_a_family_that_could_not_be_read_stays_as_it_was(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20)
    book.poll({at(10): 5.0})
    book.poll({at(10): 9.0})

    book.poll({}, kept=frozenset({RECEIVED}))
    book.poll({at(10): 10.0})

    assert numbers(book) == (5, 0)


def test_a_first_read_must_be_whole(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20)

    with pytest.raises(SchemaError, match="a first read must be whole"):
        book.poll({}, kept=frozenset({RECEIVED}))


def test_a_series_that_the_settings_name_is_zero_before_the_first_poll(open_book: OpenBook) -> None:
    book = book_at(open_book, 10, 20, known=(received("web"),))
    before = book.shown()

    book.poll({("web", at(10)): 30.0})
    book.poll({("web", at(10)): 31.0})

    assert (before, book.counter("web")) == ({("shop", "", "web"): 0}, 1)
