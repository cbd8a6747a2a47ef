"""A call budget is spent once, whoever asks; a reading of gauges alone leaves counts alone."""

import pytest

from exporter.errors import BudgetSpent, ClaimLost
from exporter.ledger.rows import Retry
from exporter.model.query import Budget
from exporter.model.samples import DAY_MS, HOUR_MS, GaugeRow, Window, floor_to
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

CALL = Budget("account", HOUR_MS, 60_000)
DAILY = ("chatbot_active_users", ("shop", "", "", "day"))


def test_a_call_is_there_once_in_period_and_margin(driver: LedgerDriver) -> None:
    claim = driver.claim()
    driver.ledger.spend(claim, CALL)
    driver.clock.advance((HOUR_MS + 59_999) / 1000)

    with pytest.raises(BudgetSpent) as refused:
        driver.ledger.spend(claim, CALL)
    driver.clock.advance((1) / 1000)
    driver.ledger.spend(claim, CALL)

    assert refused.value.retry_after_s == 0.001


def test_a_spent_call_is_spent_after_a_crash(driver: LedgerDriver) -> None:
    driver.ledger.spend(driver.claim(), CALL)
    driver.reopen()
    driver.clock.advance((60_000) / 1000)

    with pytest.raises(BudgetSpent):
        driver.ledger.spend(driver.claim(), CALL)


def test_a_holder_that_lost_its_claim_cannot_spend(driver: LedgerDriver) -> None:
    lost = driver.claim()
    driver.reopen()
    driver.clock.advance((60_000) / 1000)
    driver.claim()

    with pytest.raises(ClaimLost):
        driver.ledger.spend(lost, CALL)


@pytest.mark.parametrize("step_ms", [-30 * DAY_MS, HOUR_MS + 60_000], ids=["back", "forward"])
def test_a_clock_that_is_set_begins_the_wait_again(driver: LedgerDriver, step_ms: int) -> None:
    claim = driver.claim()
    driver.ledger.spend(claim, CALL)
    driver.clock.step(step_ms)

    with pytest.raises(BudgetSpent) as refused:
        driver.ledger.spend(claim, CALL)
    driver.clock.advance((HOUR_MS + 60_000) / 1000)
    driver.ledger.spend(claim, CALL)

    assert refused.value.retry_after_s == 3660


def test_a_refusal_holds_all_back_who_share_the_budget(driver: LedgerDriver) -> None:
    driver.sync(driver.spec, spec(target="promo"))
    one, other = driver.claim(), driver.claim()
    driver.ledger.spend(one, CALL)
    until_ms = driver.clock.now_ms() + 2 * HOUR_MS
    driver.ledger.fail(one, Retry(START_MS, 0, "closed", until_ms), reason="throttled", budget=CALL)
    driver.clock.advance((HOUR_MS + 60_000) / 1000)

    with pytest.raises(BudgetSpent) as refused:
        driver.ledger.spend(other, CALL)
    driver.clock.advance((HOUR_MS - 60_000) / 1000)
    driver.ledger.spend(other, CALL)

    assert refused.value.retry_after_s == 3540


def test_a_reading_of_gauges_alone_keeps_counts_cursor_and_baseline(driver: LedgerDriver) -> None:
    hour = floor_to(START_MS, HOUR_MS)
    driver.poll({hour: 10})
    driver.poll({hour: 14})
    before = driver.view().state
    today = floor_to(START_MS, DAY_MS)
    day = Window(today - DAY_MS, today)

    daily = [GaugeRow(DAILY, day, 7)]
    driver.poll(window=day, gauges_only=True, daily=True, buckets=daily, memo={"day": 1})

    after = driver.view().state
    assert driver.counter() == 4
    assert driver.shown("chatbot_active_users") == {DAILY[1]: 7}
    assert (after.cursor_ms, after.epoch_ms) == (before.cursor_ms, before.epoch_ms)
    assert driver.claim().memo == {"day": 1}
