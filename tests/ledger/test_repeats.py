"""A reading that says what the last one said costs little, and counts as any other does."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import LedgerError
from exporter.model.samples import HOUR_MS, floor_to
from tests.ledger.conftest import Start
from tests.support.builders import INTERACTIONS, RECEIVED, spec
from tests.support.driver import LedgerDriver, recorded, scratch
from tests.support.examples import examples
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)
FORTY_DAYS_H = 24 * 40
QUERY = spec(lookback_ms=2 * HOUR_MS)

Poll = tuple[int, tuple[int, int, int]]
polls = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 30, FORTY_DAYS_H]),
        st.sampled_from([(10, 0, 0), (10, 5, 0), (14, 5, 2), (400, 5, 2), (0, 0, 0)]),
    ),
    min_size=2,
    max_size=8,
)


@pytest.fixture
def driver(driver: LedgerDriver) -> LedgerDriver:
    driver.poll({HOUR: 10})
    driver.poll({HOUR: 14})
    return driver


def test_a_reading_that_says_the_same_again_touches_no_bucket(driver: LedgerDriver) -> None:
    with recorded() as changed:
        driver.poll({HOUR: 15})
    with recorded() as same:
        driver.poll({HOUR: 15})

    assert any("bucket" in statement for statement, _ in changed)
    assert not any("bucket" in statement for statement, _ in same)
    assert driver.counter() == 5


def test_what_was_not_committed_is_not_taken_for_counted(driver: LedgerDriver) -> None:
    def refuse(_tx: object) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("disk full"))

    claim = driver.claim()
    sa.event.listen(driver.ledger._opened.engine, "commit", refuse)
    with pytest.raises(LedgerError, match="disk full"):
        driver.poll({HOUR: 20}, claim=claim)
    sa.event.remove(driver.ledger._opened.engine, "commit", refuse)
    driver.fail(claim)

    driver.poll({HOUR: 20})

    assert driver.counter() == 10


def test_overhang_is_written_off_though_every_poll_says_the_same(driver: LedgerDriver) -> None:
    driver.poll({HOUR: 11})

    driver.clock.step(7 * HOUR_MS)
    driver.poll({HOUR: 11})
    driver.poll({HOUR: 12})

    assert (driver.counter(), driver.counted("written_off_total")) == (5, 3)


def test_another_claim_in_between_ends_the_memory(driver: LedgerDriver) -> None:
    driver.fail(driver.claim())

    with recorded() as seen:
        driver.poll({HOUR: 14})

    assert any("FROM bucket" in statement for statement, _ in seen)


def test_a_target_that_was_away_is_compared_again(driver: LedgerDriver) -> None:
    driver.ledger.sync_queries([spec(target="promo")])
    driver.ledger.sync_queries([driver.spec])

    with recorded() as seen:
        driver.poll({HOUR: 14})

    assert any("FROM bucket" in statement for statement, _ in seen)


def test_what_has_no_place_is_counted_at_every_poll(start: Start) -> None:
    driver = start(caps={RECEIVED: 1})
    for _ in range(3):
        driver.poll({("web", HOUR): 1.0, ("sms", HOUR): 2.0})

    assert driver.counted("dropped_series_total") == 3


def test_what_was_dropped_at_the_edge_is_counted_at_every_poll(driver: LedgerDriver) -> None:
    for _ in range(3):
        driver.poll({HOUR: 14}, dropped={(INTERACTIONS, "not_allowlisted"): 2})

    assert driver.counted("dropped_series_total") == 6


def played(story: list[Poll], url: str | None = None, *, forgets: bool) -> list[object]:
    """Return what a ledger shows after each poll; one that ``forgets`` is opened anew for each."""
    with scratch() as folder, LedgerDriver(folder, QUERY, postgresql=url) as driver:
        return [shown_after(driver, *each, forgets=forgets) for each in story]


def shown_after(
    driver: LedgerDriver, wait_h: int, figures: tuple[int, ...], *, forgets: bool
) -> object:
    if forgets:
        driver.reopen()
    driver.clock.step(wait_h * HOUR_MS)
    if wait_h:
        driver.compact()
    newest = floor_to(driver.clock.now_ms(), HOUR_MS)
    driver.poll({newest - back * HOUR_MS: n for back, n in enumerate(figures)})
    driver.confirm_zero_scraped()
    return driver.view().shown, driver.view().state.overhang, driver.ledger.self_counts()


@examples(8)
@given(polls)
def test_a_ledger_that_remembers_counts_as_one_that_forgets(story: list[Poll]) -> None:
    assert played(story, forgets=False) == played(story, forgets=True)


@pytest.mark.slow
@examples(3)
@given(polls)
def test_on_postgresql_one_that_remembers_counts_as_one_that_forgets(
    emptied: Callable[[], str], story: list[Poll]
) -> None:
    remembering = played(story, emptied(), forgets=False)

    assert played(story, emptied(), forgets=True) == remembering
