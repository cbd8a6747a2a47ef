"""Past a cap nothing is lost: what has no place is counted in ``other``."""

from exporter.ledger.overflow import Room, fold_counts, keep_gauges, overflow
from exporter.model.families import FLOW_TRIGGERS, INTERACTIONS
from exporter.model.samples import Family, GaugeRow, MetricType, Window

CAMPAIGNS = Family(
    "campaigns_total",
    MetricType.COUNTER,
    "",
    ("provider", "target", "project", "campaign", "source"),
    1,
)
FAMILIES = {family.name: family for family in (INTERACTIONS, FLOW_TRIGGERS, CAMPAIGNS)}


def interactions(kind: str) -> tuple[str, tuple[str, ...]]:
    return INTERACTIONS.name, ("shop", "main", kind)


def test_past_the_cap_rows_are_summed_in_other() -> None:
    room = Room({interactions("a")}, {INTERACTIONS.name: 1}, 10)
    rows = [
        (interactions(kind), 0, value) for kind, value in zip("abcd", (1, 2, 4, 8), strict=True)
    ]

    folded = fold_counts(rows, FAMILIES, room)

    assert folded == {
        interactions("a"): {0: 1},
        interactions("b"): {0: 2},
        interactions("other"): {0: 12},
    }
    assert room.dropped == {(INTERACTIONS.name, "family_limit"): 2}


def test_a_full_target_admits_nothing_new() -> None:
    room = Room((), {INTERACTIONS.name: 5}, 0)

    folded = fold_counts([(interactions("a"), 0, 3.0)], FAMILIES, room)

    assert folded == {interactions("other"): {0: 3}}
    assert room.dropped == {(INTERACTIONS.name, "target_limit"): 1}


def test_what_is_folded_is_what_lies_beyond_base() -> None:
    assert overflow((FLOW_TRIGGERS.name, ("shop", "main")), FLOW_TRIGGERS) == (
        FLOW_TRIGGERS.name,
        ("other", "main"),
    )
    assert overflow((CAMPAIGNS.name, ("shop", "spring", "mail")), CAMPAIGNS) == (
        CAMPAIGNS.name,
        ("shop", "other", "other"),
    )


def test_a_gauge_without_a_place_is_dropped() -> None:
    room = Room((), {INTERACTIONS.name: 1}, 10)
    rows = [GaugeRow(interactions(kind), Window(0, 1), 1.0) for kind in "ab"]

    assert keep_gauges(rows, FAMILIES, room) == rows[:1]
