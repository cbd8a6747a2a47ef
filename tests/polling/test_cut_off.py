"""A poll that is cut off is due at once: after a stop, a crash and a lost claim."""

from pathlib import Path

from exporter.ledger.rows import Retry
from tests.faults.bench import Bench
from tests.support.driver import LedgerDriver

SETTINGS = {"interval": "30m", "slow_interval": "1h", "lookback": "2h", "zero_hold": "1s"}


async def test_what_a_stop_cuts_off_is_polled_as_soon_as_the_exporter_is_back(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, ["flowxo"], SETTINGS)

    async with bench.running():
        await bench.until(bench.all_polled, 60)
        bench.service.faults.on("hang")
        before = len(bench.service.requests)
        await bench.until(lambda: len(bench.service.requests) > before, 4_000)
    bench.service.faults.off("hang")
    cut = {seen.path for seen in bench.service.requests[before:]}
    before = len(bench.service.requests)
    async with bench.running():
        await bench.wait(5)

    assert cut <= {seen.path for seen in bench.service.requests[before:]}


def test_a_claim_of_a_process_that_died_is_due_at_once(tmp_path: Path) -> None:
    driver = LedgerDriver(tmp_path)
    claim = driver.claim()
    driver.ledger._opened.close()  # dies: nothing is released
    driver.open()

    again = driver.ledger.claim()

    assert again is not None
    assert again.token == claim.token + 1
    driver.close()


def test_a_query_that_waits_for_longer_than_its_new_interval_is_due(tmp_path: Path) -> None:
    driver = LedgerDriver(tmp_path)
    driver.ledger.end_poll(driver.claim(), next_poll_ms=driver.clock.now_ms() + 24 * 3_600_000)

    driver.reopen()

    assert driver.ledger.claim() is not None
    driver.close()


def test_a_wait_that_a_failure_explains_is_not_cut_short(tmp_path: Path) -> None:
    driver = LedgerDriver(tmp_path)
    until_ms = driver.clock.now_ms() + 6 * 3_600_000
    driver.ledger.fail(driver.claim(), Retry(until_ms, 0, "closed"), reason="throttled")

    driver.reopen()

    assert driver.ledger.next_due_ms() == until_ms
    driver.close()
