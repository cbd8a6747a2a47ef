"""A call budget is spent once, whoever asks; a reading of gauges alone leaves counts alone."""

from dataclasses import replace

import pytest

from exporter.errors import BudgetSpent, ClaimLost
from exporter.model.query import Budget
from exporter.model.samples import DAY_MS, HOUR_MS, Window, floor_to
from exporter.polling import schedule
from tests.ledger.conftest import OpenBook
from tests.support.builders import Book, gauges, spec
from tests.support.virtual import START_MS

PURSE = Budget("account", HOUR_MS, 60_000)
DAILY = ("chatbot_active_users", ("shop", "", "", "day"))


@pytest.fixture
def book(open_book: OpenBook) -> Book:
    return open_book(START_MS, spec())


def test_a_call_is_there_once_in_period_and_margin(book: Book) -> None:
    claim = book.claim()
    book.ledger.spend(claim, PURSE)
    book.clock.step(HOUR_MS + 59_999)

    with pytest.raises(BudgetSpent) as refused:
        book.ledger.spend(claim, PURSE)
    book.clock.step(1)
    book.ledger.spend(claim, PURSE)

    assert refused.value.retry_after_s == 0.001


def test_a_spent_call_is_spent_after_a_crash(book: Book) -> None:
    book.ledger.spend(book.claim(), PURSE)
    book.reopen()
    book.clock.step(60_000)

    with pytest.raises(BudgetSpent):
        book.ledger.spend(book.claim(), PURSE)


def test_a_holder_that_lost_its_claim_cannot_spend(book: Book) -> None:
    lost = book.claim()
    book.reopen()
    book.clock.step(60_000)
    book.claim()

    with pytest.raises(ClaimLost):
        book.ledger.spend(lost, PURSE)


def test_a_clock_set_back_begins_the_wait_again(book: Book) -> None:
    claim = book.claim()
    book.ledger.spend(claim, PURSE)
    book.clock.step(-30 * DAY_MS)

    with pytest.raises(BudgetSpent) as refused:
        book.ledger.spend(claim, PURSE)
    book.clock.step(HOUR_MS + 60_000)
    book.ledger.spend(claim, PURSE)

    assert refused.value.retry_after_s == 3660


def test_a_refusal_holds_all_back_who_share_the_budget(book: Book) -> None:
    book.ledger.sync_queries([book.spec, spec(target="promo")])
    one, other = book.claim(), book.claim()
    book.ledger.spend(one, PURSE)
    until_ms = book.clock.now_ms() + 2 * HOUR_MS
    book.ledger.fail(one, next_poll_ms=START_MS, postpone_target_ms=until_ms, budget=PURSE)
    book.clock.step(HOUR_MS + 60_000)

    with pytest.raises(BudgetSpent) as refused:
        book.ledger.spend(other, PURSE)
    book.clock.step(HOUR_MS - 60_000)
    book.ledger.spend(other, PURSE)

    assert refused.value.retry_after_s == 3540


def test_a_reading_of_gauges_alone_keeps_counts_cursor_and_baseline(book: Book) -> None:
    hour = floor_to(START_MS, HOUR_MS)
    book.poll({hour: 10})
    book.poll({hour: 14})
    before = book.view().state
    today = floor_to(START_MS, DAY_MS)
    day = Window(today - DAY_MS, today)

    daily = gauges([(DAILY, day, 7)])
    book.apply(
        book.claim(), window=day, gauges_only=True, daily=True, buckets=daily, memo={"day": 1}
    )

    after = book.view().state
    assert book.counter() == 4
    assert book.shown("chatbot_active_users") == {DAILY[1]: 7}
    assert (after.cursor_ms, after.epoch_ms) == (before.cursor_ms, before.epoch_ms)
    assert book.claim().memo == {"day": 1}


def test_a_budget_has_no_slots_that_a_late_poll_could_miss() -> None:
    plain = spec(interval_ms=HOUR_MS)
    budgeted = replace(plain, budget=PURSE)

    assert schedule.slots_between(plain, START_MS, START_MS + 5 * HOUR_MS) == 5
    assert schedule.slots_between(budgeted, START_MS, START_MS + 5 * HOUR_MS) == 0
