"""Claims: who may poll, until when, and that a holder that lost its claim writes nothing."""

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from exporter.errors import ClaimLost
from exporter.ledger import claims
from exporter.ledger.rows import Claim
from exporter.ledger.tables import metadata
from exporter.model.samples import GaugeRow, Reading, Window
from tests.support.builders import received, spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

EXPIRY_MS = 30_000
NEXT_MS = START_MS + 300_000
USERS = GaugeRow(("chatbot_known_users", ("shop", "")), Window(0, START_MS), 3)


@pytest.fixture
def tx(driver: LedgerDriver) -> Iterator[sa.Connection]:
    with driver.transaction() as opened:
        yield opened


def claim(tx: sa.Connection, holder: str, now_ms: int = START_MS) -> Claim | None:
    return claims.claim_due(tx, holder, now_ms, lambda _target, _query: NEXT_MS)


def apply(driver: LedgerDriver, held: Claim) -> None:
    counts = [(received(), START_MS, 5.0)]
    driver.apply(held, Reading(Window(0, START_MS + 1), counts=counts, levels=[USERS]))


def test_one_of_several_claimers_wins(tx: sa.Connection) -> None:
    won = [found for holder in ("a", "b", "c") if (found := claim(tx, holder)) is not None]

    assert [(each.holder, each.query, each.token) for each in won] == [("a", "hourly", 1)]


def test_the_next_slot_is_written_with_the_claim(tx: sa.Connection) -> None:
    first = claim(tx, "a")
    assert first is not None
    claims.release(tx, "a")

    assert claim(tx, "b", NEXT_MS - 1) is None
    assert claims.next_due_ms(tx, NEXT_MS - 1) == NEXT_MS
    assert claim(tx, "b", NEXT_MS) is not None


@pytest.mark.parametrize(("after_ms", "renewed"), [(EXPIRY_MS, False), (EXPIRY_MS + 10_000, True)])
def test_a_claim_can_be_taken_when_it_expires(
    tx: sa.Connection,
    after_ms: int,
    renewed: bool,  # noqa: FBT001
) -> None:
    first = claims.claim_due(tx, "a", START_MS, lambda _target, _query: START_MS)
    assert first is not None
    if renewed:
        assert claims.renew(tx, [first], START_MS + 10_000) == 1

    early = claim(tx, "b", START_MS + after_ms - 1)
    taken = claim(tx, "b", START_MS + after_ms)

    assert early is None
    assert taken is not None
    assert (taken.holder, taken.token) == ("b", first.token + 1)
    assert claims.renew(tx, [first], START_MS + after_ms) == 0
    assert claims.check(tx, taken).holder == "b"
    with pytest.raises(ClaimLost, match="shop/hourly: another holder"):
        claims.check(tx, first)


def test_a_target_is_polled_by_one_at_a_time(driver: LedgerDriver) -> None:
    driver.sync(spec(), spec(name="daily"), spec(target="promo"))

    with driver.transaction() as tx:
        won = [found for holder in ("a", "b", "c") if (found := claim(tx, holder)) is not None]

    assert sorted((each.target, each.query) for each in won) == [
        ("promo", "hourly"),
        ("shop", "hourly"),
    ]


def test_the_same_holder_cannot_use_the_token_of_an_earlier_claim(tx: sa.Connection) -> None:
    old = claim(tx, "a")
    new = claim(tx, "a", NEXT_MS)

    assert old is not None
    assert new is not None
    claims.check(tx, new)
    with pytest.raises(ClaimLost):
        claims.check(tx, old)


@pytest.mark.parametrize("write", [apply, LedgerDriver.end, LedgerDriver.fail])
def test_a_lost_claim_commits_nothing(
    driver: LedgerDriver, write: Callable[[LedgerDriver, Claim], object]
) -> None:
    lost = driver.claim()
    driver.clock.step(EXPIRY_MS)
    held = driver.claim()
    before = everything(driver)

    with pytest.raises(ClaimLost):
        write(driver, lost)

    assert everything(driver) == before
    driver.end(held)


def everything(driver: LedgerDriver) -> dict[str, list[tuple[object, ...]]]:
    with driver.transaction() as tx:
        return {
            name: [tuple(row) for row in tx.execute(sa.select(table))]
            for name, table in metadata.tables.items()
        }
