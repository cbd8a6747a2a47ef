"""``limits.series_total``: what all targets together may have; past it nothing is lost."""

from exporter.model.samples import HOUR_MS, GaugeRow, Window, floor_to
from tests.ledger.conftest import OpenLedger
from tests.support.builders import spec
from tests.support.driver import LedgerDriver
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)
DAY_BEFORE = Window(HOUR - HOUR_MS, HOUR)
DROPPED = "chatbot_exporter_dropped_series_total"


def reasons(driver: LedgerDriver) -> set[str]:
    labels = [dict(key) for name, key in driver.ledger.self_counts() if name == DROPPED]
    return {each["reason"] for each in labels}


def test_a_new_series_past_the_cap_of_all_targets_is_counted_in_other(
    open_ledger: OpenLedger,
) -> None:
    shop = open_ledger(START_MS, spec(total_cap=2))
    shop.poll({("web", HOUR): 1.0, ("sms", HOUR): 1.0})
    other = spec(target="promo", total_cap=2)
    shop.sync(other)

    shop.poll({("web", HOUR): 1.0, ("app", HOUR): 2.0})
    shop.poll({("web", HOUR): 4.0, ("app", HOUR): 7.0})
    shop.confirm_zero_scraped()

    assert shop.shown() == {("shop", "", "other"): 8}
    assert reasons(shop) == {"total_limit"}


def test_a_series_that_has_its_place_keeps_it(open_ledger: OpenLedger) -> None:
    driver = open_ledger(START_MS, spec(total_cap=1))
    driver.poll({("web", HOUR): 1.0})

    driver.poll({("web", HOUR): 5.0, ("sms", HOUR): 1.0})

    assert driver.counter("web") == 4
    assert driver.counter("other") == 1


def test_a_raised_cap_of_all_targets_counts_no_history(open_ledger: OpenLedger) -> None:
    driver = open_ledger(START_MS, spec(total_cap=1))
    driver.poll({("web", HOUR): 100.0, ("sms", HOUR): 50.0})

    driver.reopen(spec(total_cap=10))
    driver.poll({("web", HOUR): 100.0, ("sms", HOUR): 50.0})
    driver.poll({("web", HOUR): 101.0, ("sms", HOUR): 52.0})

    assert (driver.counter("web"), driver.counter("sms")) == (1, 2)


def test_a_gauge_past_the_cap_is_dropped(open_ledger: OpenLedger) -> None:
    driver = open_ledger(START_MS, spec(total_cap=1))
    rows = [
        GaugeRow(("chatbot_active_users", ("shop", "", channel, "hour")), DAY_BEFORE, 1)
        for channel in ("web", "sms")
    ]

    driver.poll({HOUR: 1}, levels=rows)

    assert len(driver.shown("chatbot_active_users")) == 1
    assert reasons(driver) == {"total_limit"}
