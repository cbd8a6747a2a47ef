"""What operators change under a running counter never makes it jump (specification: counting.md)."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import HOUR_MS, Reading, Window, floor_to
from tests.support.builders import RECEIVED, Book, gauges, spec
from tests.support.polled import scratch
from tests.support.virtual import START_MS, VirtualClock

NOW = floor_to(START_MS, HOUR_MS)


@pytest.fixture
def book() -> Iterator[Book]:
    with scratch() as folder:
        opened = Book(folder, VirtualClock(START_MS), spec())
        yield opened
        opened.ledger.close()


def renamed(**aliases: str) -> QuerySpec:
    return spec(label_rules={"channel": LabelRule(aliases)})


def test_a_new_name_for_every_channel_is_no_collapse(book: Book) -> None:
    book.poll({("web", NOW): 500.0})
    book.poll({("web", NOW): 900.0})
    book.reopen(renamed(web="site"))

    applied = book.poll({("site", NOW): 950.0})
    book.poll({("site", NOW): 957.0})

    assert not applied.held
    assert book.counter("site") == 7
    assert book.counted("chatbot_exporter_provider_resets_total") == 0
    assert book.counted("chatbot_exporter_retracted_total") == 0


def test_a_channel_that_first_appears_after_a_renaming_of_another_counts(book: Book) -> None:
    book.poll({("web", NOW): 5.0})
    book.reopen(renamed(web="site"))

    book.poll({("site", NOW): 5.0, ("sms", NOW): 3.0})

    assert book.counter("sms") == 3


def test_history_is_counted_once_when_the_meaning_changes(book: Book) -> None:
    book.reopen(spec(history=True))
    book.poll({NOW: 40.0})
    book.reopen(spec(history=True, meaning={"v": 2}))

    book.poll({NOW: 41.0})
    book.poll({NOW: 44.0})

    assert book.counter() == 43


def test_history_may_be_asked_for_until_counting_has_begun(book: Book) -> None:
    book.reopen(spec(history=True))
    book.poll({NOW: 40.0})

    book.reopen()
    book.poll({NOW: 41.0})

    assert book.counter() == 41


def test_a_collapse_in_the_second_part_of_a_poll_is_confirmed_like_any_other(book: Book) -> None:
    early, late = NOW - HOUR_MS, NOW
    rows = {early: 10.0, late: 400.0}
    assert not any(_in_parts(book, rows))
    outcomes = [any(_in_parts(book, {early: 10.0, late: 1.0})) for _ in range(4)]

    assert outcomes == [True, True, False, False]


def test_gauges_follow_a_renamed_target(book: Book) -> None:
    level = ("chatbot_known_users", ("shop", ""))
    hour = Window(NOW - HOUR_MS, NOW)
    book.poll({NOW: 1.0}, levels=gauges([(level, hour, 7.0)]))
    book.spec = replace(spec(), target="store")
    book.ledger.sync_queries([book.spec], {"shop": "store"})

    assert {shown.labels[1] for shown in book.view().shown} == {"store"}


def _in_parts(book: Book, rows: dict[int, float]) -> list[bool]:
    claim = book.claim()
    window = book.window(claim)
    held = []
    for part, more in (
        (Window(window.start_ms, NOW), True),
        (Window(NOW, window.end_ms), False),
    ):
        counts = [((RECEIVED, ("shop", "", "")), at, n) for at, n in rows.items() if part.holds(at)]
        reading = Reading(part, counts=counts, more=more)
        applied = book.ledger.apply(claim, reading, started_ms=book.clock.now_ms())
        held.append(applied.held)
        if applied.held:
            break
    end = book.ledger.hold if held[-1] else book.ledger.succeed
    end(claim, next_poll_ms=book.clock.now_ms() + 1)
    return held
