"""What a change of settings does to counters that live on (``semantics.md`` B.4)."""

import pytest

from exporter.errors import SchemaFault
from exporter.ledger.rows import Claim
from tests.ledger.conftest import OpenBook
from tests.ledger.test_worked_examples import at
from tests.support.builders import RECEIVED, Book, received, spec

ELEVEN = at(11, 5)


def test_a_query_under_another_name_goes_on_with_the_series_of_the_old(open_book: OpenBook) -> None:
    book = open_book(ELEVEN, spec(name="hourly/main"))
    book.poll({at(10): 50.0})
    book.poll({at(10): 57.0})
    book.counter()

    book.reopen(spec(name="hourly"))
    book.poll({at(10): 60.0})
    book.poll({at(10): 61.0})

    assert book.counter() == 8


def test_two_queries_cannot_feed_one_series(open_book: OpenBook) -> None:
    book = open_book(ELEVEN, spec(name="hourly/main"))
    book.poll({at(10): 50.0})
    book.ledger.enrol([book.spec, spec(name="hourly/test")])
    claim = other(book)

    with pytest.raises(SchemaFault, match="already fed by another query"):
        book.apply(claim, counts=[(received(), at(10), 1.0)])


def test_a_raised_cap_counts_no_history(open_book: OpenBook) -> None:
    names = [f"c{number}" for number in range(3)]
    capped = spec(caps={RECEIVED: 2})
    book = open_book(ELEVEN, capped)
    book.poll({(name, at(10)): 100.0 for name in names})
    book.poll({(name, at(10)): 101.0 for name in names})
    assert book.counter("other") == 1

    book.reopen(spec(caps={RECEIVED: 10}))
    book.poll({(name, at(10)): 102.0 for name in names})
    book.poll({(name, at(10)): 103.0 for name in names})

    book.reveal()
    assert book.shown() == {
        ("shop", "", "c0"): 3,
        ("shop", "", "c1"): 3,
        ("shop", "", "c2"): 1,
        ("shop", "", "other"): 1,
    }


def test_a_raised_target_cap_counts_no_history(open_book: OpenBook) -> None:
    book = open_book(ELEVEN, spec(target_cap=1))
    book.poll({("web", at(10)): 100.0, ("sms", at(10)): 50.0})

    book.reopen(spec(target_cap=10))
    book.poll({("web", at(10)): 100.0, ("sms", at(10)): 50.0})
    book.poll({("web", at(10)): 101.0, ("sms", at(10)): 52.0})

    assert sum(book.counter(channel) for channel in ("web", "sms")) == 3


def other(book: Book) -> Claim:
    claim = book.ledger.claim(lambda _target, _name: book.clock.now_ms() + 1)
    assert claim is not None
    assert claim.query == "hourly/test"
    return claim
