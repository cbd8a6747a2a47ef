"""What a change of settings does to counters that live on (specification: counting.md)."""

import pytest
import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger.rows import Claim
from exporter.ledger.tables import series
from exporter.model.query import LabelRule
from exporter.model.samples import HOUR_MS, Reading, Window
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
    book.ledger.sync_queries([book.spec, spec(name="hourly/test")])
    claim = other(book)

    with pytest.raises(SchemaError, match="already fed by another query"):
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

    book.confirm_zero_scraped()
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


def test_hours_from_before_a_renaming_are_not_read_as_growth(open_book: OpenBook) -> None:
    hours = {("web", at(hour)): 50.0 for hour in range(5, 11)}
    book = open_book(ELEVEN, spec(lookback_ms=6 * HOUR_MS))
    book.poll(hours)
    book.poll(hours | {("web", at(10)): 57.0})
    assert book.counter("web") == 7

    site = {"channel": LabelRule({"web": "site"})}
    renamed = {("site", start_ms): value for (_, start_ms), value in hours.items()}
    book.reopen(spec(lookback_ms=2 * HOUR_MS, label_rules=site))
    book.poll({key: value for key, value in renamed.items() if key[1] >= at(9)})
    book.reopen(spec(lookback_ms=6 * HOUR_MS, label_rules=site))
    book.poll(renamed | {("site", at(10)): 52.0})

    assert book.counter("site") == 2
    assert book.counted("chatbot_exporter_retracted_total") == 0


def test_the_day_of_a_renaming_is_not_shown_in_part(open_book: OpenBook) -> None:
    book = open_book(at(0, 5), spec(lookback_ms=2 * HOUR_MS))
    book.poll({})
    days = []
    for hour in range(1, 50):
        book.clock.step(HOUR_MS)
        if hour == 12:
            book.reopen(
                spec(lookback_ms=2 * HOUR_MS, label_rules={"channel": LabelRule({"web": "site"})})
            )
        channel = "web" if hour < 12 else "site"
        book.poll({(channel, at(0) + (hour - back) * HOUR_MS): 10.0 for back in range(3)})
        shown = book.shown("chatbot_period_messages_received")
        days.append({value for labels, value in shown.items() if labels[-1] == "day"})

    assert set().union(*days) == {240.0}


def test_the_parts_of_a_poll_after_a_renaming_all_count_from_the_first(
    open_book: OpenBook,
) -> None:
    book = open_book(ELEVEN, spec(lookback_ms=4 * HOUR_MS))
    book.poll({("web", at(hour)): 50.0 for hour in range(7, 11)})
    book.reopen(spec(lookback_ms=4 * HOUR_MS, label_rules={"channel": LabelRule({"web": "site"})}))
    claim = book.claim()
    for start, more in ((7, True), (9, False)):
        counts = [(received("site"), at(hour), 50.0) for hour in (start, start + 1)]
        window = Window(at(start), at(start + 2))
        reading = Reading(window, counts=counts, more=more)
        book.ledger.apply(claim, reading, started_ms=book.clock.now_ms())
    book.ledger.succeed(claim, next_poll_ms=book.clock.now_ms() + 1)

    book.poll({("site", at(hour)): 51.0 for hour in range(7, 11)})

    assert book.counter("site") == 4


def test_a_label_that_a_family_got_later_is_empty_in_an_older_ledger(open_book: OpenBook) -> None:
    book = open_book(ELEVEN, spec(name="hourly/main"))
    book.poll({at(10): 50.0})
    book.poll({at(10): 57.0})
    with book.ledger._engine.begin() as tx:
        tx.execute(
            sa.update(series).values(labels=sa.func.json_remove(series.c.labels, "$.channel"))
        )

    book.reopen(spec(name="hourly/main", known=(received(),)))
    shown = [each for each in book.view().shown if each.family == RECEIVED]
    book.reopen(spec(name="hourly"))
    book.poll({at(10): 60.0})
    book.poll({at(10): 61.0})

    assert len(shown) == 1
    assert book.counter() == 8


def other(book: Book) -> Claim:
    claim = book.ledger.claim(lambda _target, _name: book.clock.now_ms() + 1)
    assert claim is not None
    assert claim.query == "hourly/test"
    return claim
