"""Claims: who may poll, until when, and that a holder that lost its claim writes nothing."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from exporter.errors import ClaimLost
from exporter.ledger import claims
from exporter.ledger.rows import Retry
from exporter.model.samples import HOUR_MS
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

EXPIRY_MS = 30_000
NEWEST = 9
"""A generation of settings that none is newer than."""


@pytest.fixture
def tx(driver: LedgerDriver) -> Iterator[sa.Connection]:
    with driver.transaction() as opened:
        yield opened


def test_a_query_whose_claim_is_released_is_due_at_once(tx: sa.Connection) -> None:
    assert claims.claim_due(tx, "a", START_MS, NEWEST) is not None
    assert claims.next_due_ms(tx, "a", START_MS, NEWEST) is None

    claims.release(tx, "a")

    assert claims.next_due_ms(tx, "a", START_MS, NEWEST) == START_MS
    assert claims.claim_due(tx, "b", START_MS, NEWEST) is not None


@pytest.mark.parametrize(("after_ms", "renewed"), [(EXPIRY_MS, False), (EXPIRY_MS + 10_000, True)])
def test_a_claim_can_be_taken_when_it_expires(
    tx: sa.Connection,
    after_ms: int,
    renewed: bool,
) -> None:
    first = claims.claim_due(tx, "a", START_MS, NEWEST)
    assert first is not None
    if renewed:
        assert claims.renew(tx, [first], START_MS + 10_000) == [first]

    early = claims.claim_due(tx, "b", START_MS + after_ms - 1, NEWEST)
    taken = claims.claim_due(tx, "b", START_MS + after_ms, NEWEST)

    assert early is None
    assert taken is not None
    assert (taken.holder, taken.token) == ("b", first.token + 1)
    assert claims.renew(tx, [first], START_MS + after_ms) == []
    assert claims.check(tx, taken).holder == "b"
    with pytest.raises(ClaimLost, match="shop/hourly: another holder"):
        claims.check(tx, first)


def test_a_target_is_polled_by_one_at_a_time(driver: LedgerDriver) -> None:
    driver.sync(spec(), spec(name="daily"), spec(target="promo"))

    with driver.transaction() as tx:
        found = [claims.claim_due(tx, holder, START_MS, NEWEST) for holder in "abc"]

    assert found[2] is None
    won = [each for each in found if each]
    assert [(each.holder, each.token) for each in won] == [("a", 1), ("b", 1)]
    assert {each.target for each in won} == {"shop", "promo"}


@pytest.mark.parametrize(("reason", "waits"), [("auth", False), ("throttled", True)])
def test_a_circuit_that_is_closed_breaks_no_quiet_that_was_asked_for(
    driver: LedgerDriver, reason: str, waits: bool
) -> None:
    later_ms = driver.clock.now_ms() + HOUR_MS
    claim = driver.claim()
    retry = Retry(later_ms, backoff_ms=0, circuit="open")
    driver.ledger.fail(claim, retry, reason=reason, error="no")

    driver.ledger.close_circuits()

    state = driver.view().state
    assert (state.circuit, state.next_poll_ms == later_ms) == ("closed", waits)
