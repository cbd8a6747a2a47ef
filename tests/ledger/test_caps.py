"""Past a cap nothing is lost: what has no place is counted in ``other``."""

from collections import Counter
from collections.abc import Collection, Sequence

import pytest

from exporter.ledger.rules import ALL, TARGET, Room, overflow, place, sum_counts
from exporter.model.families import ACTIVE_USERS, FLOW_TRIGGERS, INTERACTIONS
from exporter.model.samples import (
    HOUR_MS,
    CountRow,
    Family,
    GaugeRow,
    MetricType,
    Series,
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


def interactions(kind: str) -> tuple[str, tuple[str, ...]]:
    return INTERACTIONS.name, ("shop", "main", kind)


def room_for(known: Collection[Series], of_family: int, in_target: int) -> Room:
    left = {INTERACTIONS.name: of_family, TARGET: in_target, ALL: 1_000}
    return Room(known, lambda: Counter(left))


def placed(rows: Sequence[CountRow], room: Room) -> dict[Series, dict[int, float]]:
    places = place(rows, FAMILIES, room)
    names = dict(enumerate(places.values()))
    found = sum_counts(rows, places, {series: number for number, series in names.items()})
    return {names[number]: {start_ms: value} for (number, start_ms), value in found.items()}


def test_past_the_cap_rows_are_summed_in_other() -> None:
    room = room_for({interactions("a")}, 1, 10)
    rows = [
        (interactions(kind), 0, value) for kind, value in {"a": 1, "b": 2, "c": 4, "d": 8}.items()
    ]

    counted = placed(rows, room)

    assert counted == {
        interactions("a"): {0: 1},
        interactions("b"): {0: 2},
        interactions("other"): {0: 12},
    }
    assert room.dropped == {(INTERACTIONS.name, "family_limit"): 2}


def test_a_full_target_admits_nothing_new() -> None:
    room = room_for((), 5, 0)

    counted = placed([(interactions("a"), 0, 3.0)], room)

    assert counted == {interactions("other"): {0: 3}}
    assert room.dropped == {(INTERACTIONS.name, "target_limit"): 1}


def test_what_is_counted_is_what_lies_beyond_base() -> None:
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
    specs = [spec(name=f"events/{bot}", caps={FLOW_TRIGGERS.name: 1}) for bot in bots]
    driver = start(name=specs[0].name, caps=specs[0].caps)
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
