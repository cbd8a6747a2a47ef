"""P11: of two holders of one claim at most one commits, whatever it writes and whoever is first."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ClaimLost
from exporter.ledger.claims import CLAIM_MS
from exporter.ledger.rows import Claim, Retry
from exporter.model.query import Budget
from exporter.model.samples import HOUR_MS, Reading, floor_to
from tests.support.builders import received
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

ACCOUNT = Budget("account", HOUR_MS, margin_ms=60_000)
COUNTS = [(received(), floor_to(START_MS, HOUR_MS), 5.0)]


def apply(driver: LedgerDriver, claim: Claim, **ending: int) -> None:
    driver.apply(claim, Reading(driver.window(claim), counts=COUNTS), **ending)


WRITES: dict[str, Callable[[LedgerDriver, Claim], Any]] = {
    "apply": apply,
    "apply the last": partial(apply, next_poll_ms=START_MS),
    "end": lambda driver, claim: driver.ledger.end_poll(claim, next_poll_ms=START_MS),
    "fail": lambda driver, claim: driver.ledger.fail(
        claim, Retry(START_MS, 0, "open"), reason="auth"
    ),
    "spend": lambda driver, claim: driver.ledger.spend(claim, ACCOUNT),
}


def rows(folder: Path) -> list[str]:
    """Return every row of the ledger's file."""
    with closing(sqlite3.connect(folder / "ledger.db")) as file:
        return list(file.iterdump())


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LedgerDriver]:
    with LedgerDriver(tmp_path) as driver:
        yield driver


@pytest.mark.parametrize("lost_by", ["an older token", "another holder"])
@pytest.mark.parametrize("late", [False, True], ids=["before the new holder", "after it"])
@pytest.mark.parametrize("write", WRITES)
def test_only_the_new_holder_of_a_claim_commits(
    driver: LedgerDriver,
    write: str,
    late: bool,
    lost_by: str,
    tmp_path: Path,
) -> None:
    commit = partial(WRITES[write], driver)
    expired = driver.claim()
    driver.clock.step(CLAIM_MS)
    held = driver.claim()
    lost = replace(held, holder="another process") if lost_by == "another holder" else expired

    if late:
        commit(held)
    before = rows(tmp_path)
    with pytest.raises(ClaimLost):
        commit(lost)
    assert driver.ledger.renew([lost]) == []
    assert rows(tmp_path) == before

    if not late:
        commit(held)
        assert rows(tmp_path) != before
