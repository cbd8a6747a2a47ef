"""Ledgers that are closed when their test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.model.query import QuerySpec
from tests.support.builders import Book
from tests.support.virtual import VirtualClock

OpenBook = Callable[[int, QuerySpec], Book]


@pytest.fixture
def open_book(tmp_path: Path) -> Iterator[OpenBook]:
    books: list[Book] = []

    def opened(start_ms: int, query: QuerySpec) -> Book:
        books.append(Book(tmp_path, VirtualClock(start_ms), query))
        return books[-1]

    yield opened
    for book in books:
        book.ledger.close()
