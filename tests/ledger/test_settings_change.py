"""What a change of settings does to counters that live on (specification: counting.md)."""

import pytest
import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger.tables import series
from exporter.model.query import LabelRule
from exporter.model.samples import HOUR_MS, Reading, Window
from tests.ledger.conftest import OpenLedger
from tests.ledger.test_worked_examples import at
from tests.support.builders import RECEIVED, received, spec

ELEVEN = at(11, 5)


def test_a_query_under_another_name_goes_on_with_the_series_of_the_old(
    open_ledger: OpenLedger,
) -> None:
    driver = open_ledger(ELEVEN, spec(name="hourly/main"))
    driver.poll({at(10): 50.0})
    driver.poll({at(10): 57.0})
    driver.counter()

    driver.reopen(spec(name="hourly"))
    driver.poll({at(10): 60.0})
    driver.poll({at(10): 61.0})

    assert driver.counter() == 8


def test_two_queries_cannot_feed_one_series(open_ledger: OpenLedger) -> None:
    driver = open_ledger(ELEVEN, spec(name="hourly/main"))
    driver.poll({at(10): 50.0})
    driver.sync(driver.spec, spec(name="hourly/test"))

    with pytest.raises(SchemaError, match="already fed by another query"):
        driver.poll({at(10): 1.0})


def test_a_raised_cap_counts_no_history(open_ledger: OpenLedger) -> None:
    names = [f"c{number}" for number in range(3)]
    capped = spec(caps={RECEIVED: 2})
    driver = open_ledger(ELEVEN, capped)
    driver.poll({(name, at(10)): 100.0 for name in names})
    driver.poll({(name, at(10)): 101.0 for name in names})
    assert driver.counter("other") == 1

    driver.reopen(spec(caps={RECEIVED: 10}))
    driver.poll({(name, at(10)): 102.0 for name in names})
    driver.poll({(name, at(10)): 103.0 for name in names})

    driver.confirm_zero_scraped()
    assert driver.shown() == {
        ("shop", "", "c0"): 3,
        ("shop", "", "c1"): 3,
        ("shop", "", "c2"): 1,
        ("shop", "", "other"): 1,
    }


def test_a_raised_target_cap_counts_no_history(open_ledger: OpenLedger) -> None:
    driver = open_ledger(ELEVEN, spec(target_cap=1))
    driver.poll({("web", at(10)): 100.0, ("sms", at(10)): 50.0})

    driver.reopen(spec(target_cap=10))
    driver.poll({("web", at(10)): 100.0, ("sms", at(10)): 50.0})
    driver.poll({("web", at(10)): 101.0, ("sms", at(10)): 52.0})

    assert sum(driver.counter(channel) for channel in ("web", "sms")) == 3


def test_hours_from_before_a_renaming_are_not_read_as_growth(open_ledger: OpenLedger) -> None:
    hours = {("web", at(hour)): 50.0 for hour in range(5, 11)}
    driver = open_ledger(ELEVEN, spec(lookback_ms=6 * HOUR_MS))
    driver.poll(hours)
    driver.poll(hours | {("web", at(10)): 57.0})
    assert driver.counter("web") == 7

    site = {"channel": LabelRule({"web": "site"})}
    renamed = {("site", start_ms): value for (_, start_ms), value in hours.items()}
    driver.reopen(spec(lookback_ms=2 * HOUR_MS, label_rules=site))
    driver.poll({key: value for key, value in renamed.items() if key[1] >= at(9)})
    driver.reopen(spec(lookback_ms=6 * HOUR_MS, label_rules=site))
    driver.poll(renamed | {("site", at(10)): 52.0})

    assert driver.counter("site") == 2
    assert driver.counted("retracted_total") == 0


def test_the_day_of_a_renaming_is_not_shown_in_part(open_ledger: OpenLedger) -> None:
    driver = open_ledger(at(0, 5), spec(lookback_ms=2 * HOUR_MS))
    driver.poll({})
    days = []
    for hour in range(1, 50):
        driver.clock.step(HOUR_MS)
        if hour == 12:
            driver.reopen(
                spec(lookback_ms=2 * HOUR_MS, label_rules={"channel": LabelRule({"web": "site"})})
            )
        channel = "web" if hour < 12 else "site"
        driver.poll({(channel, at(0) + (hour - back) * HOUR_MS): 10.0 for back in range(3)})
        shown = driver.shown("chatbot_period_messages_received")
        days.append({value for labels, value in shown.items() if labels[-1] == "day"})

    assert set().union(*days) == {240.0}


def test_the_parts_of_a_poll_after_a_renaming_all_count_from_the_first(
    open_ledger: OpenLedger,
) -> None:
    driver = open_ledger(ELEVEN, spec(lookback_ms=4 * HOUR_MS))
    driver.poll({("web", at(hour)): 50.0 for hour in range(7, 11)})
    driver.reopen(
        spec(lookback_ms=4 * HOUR_MS, label_rules={"channel": LabelRule({"web": "site"})})
    )
    claim = driver.claim()
    for start, more in ((7, True), (9, False)):
        counts = [(received("site"), at(hour), 50.0) for hour in (start, start + 1)]
        window = Window(at(start), at(start + 2))
        reading = Reading(window, counts=counts, more=more)
        driver.apply(claim, reading)
    driver.end(claim)

    driver.poll({("site", at(hour)): 51.0 for hour in range(7, 11)})

    assert driver.counter("site") == 4


def test_a_label_that_a_family_got_later_is_empty_in_an_older_ledger(
    open_ledger: OpenLedger,
) -> None:
    driver = open_ledger(ELEVEN, spec(name="hourly/main"))
    driver.poll({at(10): 50.0})
    driver.poll({at(10): 57.0})
    with driver.transaction() as tx:
        tx.execute(
            sa.update(series).values(labels=sa.func.json_remove(series.c.labels, "$.channel"))
        )

    driver.reopen(spec(name="hourly/main", known=(received(),)))
    shown = [each for each in driver.view().shown if each.family == RECEIVED]
    driver.reopen(spec(name="hourly"))
    driver.poll({at(10): 60.0})
    driver.poll({at(10): 61.0})

    assert len(shown) == 1
    assert driver.counter() == 8
