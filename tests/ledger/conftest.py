"""Ledgers that are closed when their test ends."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.model.query import QuerySpec
from tests.support.builders import Book
from tests.support.postgresql import PostgreSQL, server
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


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    if shutil.which("initdb") is None:
        pytest.skip("no PostgreSQL on this machine")
    with server() as made:
        yield made
