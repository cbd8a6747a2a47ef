"""Past a cap nothing is lost: what has no place is counted in ``other``."""

import pytest

from exporter.ledger.rules import overflow
from exporter.model.families import ACTIVE_USERS, FLOW_TRIGGERS, INTERACTIONS
from exporter.model.samples import (
    HOUR_MS,
    Family,
    GaugeRow,
    MetricType,
    Window,
    floor_to,
)
from tests.ledger.conftest import Start
from tests.support.builders import spec
from tests.support.virtual import START_MS

CAMPAIGN_LABELS = ("provider", "target", "project", "campaign", "source")
CAMPAIGNS = Family("campaigns_total", MetricType.COUNTER, "", CAMPAIGN_LABELS, 1)
HOUR = floor_to(START_MS, HOUR_MS)
FAMILIES = {family.name: family for family in (INTERACTIONS, FLOW_TRIGGERS, CAMPAIGNS)}


def test_the_overflow_is_other_in_what_lies_beyond_base() -> None:
    assert overflow((FLOW_TRIGGERS.name, ("shop", "main")), FLOW_TRIGGERS) == (
        FLOW_TRIGGERS.name,
        ("other", "main"),
    )
    assert overflow((CAMPAIGNS.name, ("shop", "spring", "mail")), CAMPAIGNS) == (
        CAMPAIGNS.name,
        ("shop", "other", "other"),
    )


def test_a_new_series_past_the_cap_of_all_targets_is_counted_in_other(start: Start) -> None:
    driver = start(total_cap=2)
    driver.poll({("web", HOUR): 1.0, ("sms", HOUR): 1.0})
    driver.sync(spec(target="promo", total_cap=2))

    driver.poll({("web", HOUR): 1.0, ("app", HOUR): 2.0})
    driver.poll({("web", HOUR): 4.0, ("app", HOUR): 7.0})

    assert driver.counters() == {"other": 8}
    assert driver.dropped() == {"total_limit"}


def test_a_series_that_has_its_place_keeps_it(start: Start) -> None:
    driver = start(total_cap=1)
    driver.poll({("web", HOUR): 1.0})

    driver.poll({("web", HOUR): 5.0, ("sms", HOUR): 1.0})

    assert driver.counters() == {"web": 4, "other": 1}


def test_the_overflow_of_another_query_stops_no_poll(start: Start) -> None:
    bots = ("a", "b", "c")
    traits = {"caps": {FLOW_TRIGGERS.name: 1}, "fields": {FLOW_TRIGGERS.name: "count"}}
    specs = [spec(name=f"events/{bot}", **traits) for bot in bots]
    driver = start(name=specs[0].name, **traits)
    driver.sync(*specs)

    for number in (5.0, 7.0):
        for bot in bots:
            (claim,) = [found for found in [driver.claim()] if found.query == f"events/{bot}"]
            row = ((FLOW_TRIGGERS.name, (bot, "")), HOUR, number)
            driver.poll(claim=claim, counts=[row])

    driver.confirm_zero_scraped()
    shown = [driver.shown(FLOW_TRIGGERS.name, each) for each in specs]
    assert shown == [{("a", ""): 2}, {("other", ""): 2}, {("c", ""): 2}]
    assert driver.dropped() == {"family_limit"}


@pytest.mark.parametrize("cap", ["target_cap", "total_cap"])
def test_counters_and_gauges_of_a_target_share_its_places(start: Start, cap: str) -> None:
    driver = start(**{cap: 3})
    users = [
        GaugeRow((ACTIVE_USERS.name, ("shop", "", name, "hour")), Window(HOUR - HOUR_MS, HOUR), 1.0)
        for name in ("web", "sms", "app")
    ]

    driver.poll({("web", HOUR): 1.0, ("sms", HOUR): 1.0}, levels=users)
    driver.poll({("web", HOUR): 1.0, ("fax", HOUR): 1.0}, levels=users)

    assert len(driver.shown(ACTIVE_USERS.name)) == 1
    assert driver.counters().keys() == {"web", "sms", "other"}
    assert driver.dropped() == {f"{cap.removesuffix('_cap')}_limit"}
