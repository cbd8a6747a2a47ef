"""The simulator of Flow XO against the documented requests and responses."""

from itertools import pairwise
from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import FLOWS, Kind
from exporter.simulator.flowxo import KEY, LEVELS, build
from exporter.simulator.traffic import Traffic
from tests.simulator.vendor import HOUR, NINE, Vendor

TODAY = NINE - 9 * HOUR
RANGE = {"start": "2026-03-02T00:00:00.000Z", "end": "2026-03-03T00:00:00.000Z"}
HOURLY = {"unit": "hour", "offset": "0"}
TWO_HOURS = {"start": "2026-03-03T09:00:00.000Z", "end": "2026-03-03T11:00:00.000Z"}


class FlowXO(Vendor):
    def __init__(self, traffic: Traffic | None = None) -> None:
        super().__init__(build, f"Bearer {KEY}", traffic)

    def get(self, path: str = "", **params: str) -> httpx.Response:
        return self.send("GET", f"/api/insights{path}", params=params)

    def insights(self, **params: str) -> Any:
        return self.get(**HOURLY | RANGE | params).json()

    def metrics(self, **params: str) -> list[dict[str, Any]]:
        return list(self.insights(**params)["metrics"])


@pytest.fixture
def vendor() -> FlowXO:
    return FlowXO()


@pytest.fixture
def busy() -> FlowXO:
    return FlowXO(Traffic(5, per_hour=30))


def test_hours_have_the_documented_shape_and_arithmetic(vendor: FlowXO) -> None:
    vendor.traffic.add(Kind.NEW_USER, NINE, user="u1")
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, NINE, count=11, user="u1")
    vendor.traffic.add(Kind.NEW_USER, NINE + HOUR, user="u2")
    vendor.traffic.add(Kind.FLOW_TRIGGER, NINE + HOUR, count=4)
    vendor.traffic.add(Kind.MESSAGE_SENT, NINE + HOUR, count=5, user="u2")

    nine = {"active_users": 1, "total_users": 1, "new_users": 1, "triggers": 0}
    nine |= {"received_messages": 11, "sent_messages": 0}
    ten = {"active_users": 2, "total_users": 2, "new_users": 1, "triggers": 4}
    ten |= {"received_messages": 0, "sent_messages": 5}
    assert vendor.insights(**TWO_HOURS) == {
        "stats": [{"_id": None, **ten, "new_users": 2, "received_messages": 11}],
        "metrics": [
            {"_id": "2026-03-03T09", "_timestamp": "2026-03-03T09:00:00.000Z", **nine},
            {"_id": "2026-03-03T10", "_timestamp": "2026-03-03T10:00:00.000Z", **ten},
        ],
    }


def test_known_users_rise_by_the_new_ones(busy: FlowXO) -> None:
    for before, after in pairwise(busy.metrics()):
        assert after["total_users"] == before["total_users"] + after["new_users"]


@pytest.mark.parametrize("key", ["", "Bearer x", KEY, f"Basic {KEY}"])
@pytest.mark.parametrize("path", ["", "/top_flows", "/top_messages"])
def test_only_a_bearer_key_is_authorised(vendor: FlowXO, path: str, key: str) -> None:
    answer = vendor.send("GET", f"/api/insights{path}", authorization=key)

    assert answer.status_code == 401


@pytest.mark.parametrize(
    "params",
    [{"unit": "week"}, {"start": "soon"}, {"end": "1772536800"}, {"offset": "UTC"}, {"other": ""}],
)
def test_a_wrong_parameter_is_400(vendor: FlowXO, params: dict[str, str]) -> None:
    assert vendor.get(**HOURLY | RANGE | params).status_code == 400


def test_a_start_inside_an_hour_cuts_it(vendor: FlowXO) -> None:
    vendor.traffic.add(Kind.FLOW_TRIGGER, NINE, count=4)
    vendor.traffic.add(Kind.FLOW_TRIGGER, NINE + HOUR // 2, count=1)

    row, _ = vendor.metrics(**TWO_HOURS | {"start": "2026-03-03T09:30:00.000Z"})

    assert (row["_timestamp"], row["triggers"]) == ("2026-03-03T09:00:00.000Z", 1)


def test_hours_without_activity_may_be_left_out(vendor: FlowXO) -> None:
    vendor.traffic.add(Kind.FLOW_TRIGGER, TODAY - 5 * HOUR)
    vendor.service.faults.on("sparse")

    assert [row["_timestamp"] for row in vendor.metrics()] == ["2026-03-02T19:00:00.000Z"]


def test_an_extra_hour_may_start_at_the_end(vendor: FlowXO) -> None:
    vendor.traffic.add(Kind.FLOW_TRIGGER, NINE + 2 * HOUR, count=3)
    vendor.service.faults.on("extra_bucket")

    assert [(row["_id"][-2:], row["triggers"]) for row in vendor.metrics(**TWO_HOURS)] == [
        ("09", 0),
        ("10", 0),
        ("11", 3),
    ]


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        ("missing_levels", {"_id": "2026-03-02T00"}),
        ("null_levels", {"_id": "2026-03-02T00", "active_users": None, "total_users": None}),
        ("spaced_ids", {"_id": "2026-03-02 00:00", "active_users": 0, "total_users": 0}),
    ],
)
def test_what_is_not_documented_can_be_otherwise(
    vendor: FlowXO, mode: str, shown: dict[str, Any]
) -> None:
    vendor.service.faults.on(mode)

    row = vendor.metrics()[0]

    assert {key: row[key] for key in ("_id", *LEVELS) if key in row} == shown


def test_stats_may_be_empty(vendor: FlowXO) -> None:
    vendor.service.faults.on("empty_stats")

    assert vendor.insights()["stats"] == []


def test_top_messages_are_a_bare_list_of_texts(vendor: FlowXO) -> None:
    for text, count in (("hello", 12), ("/start", 7), ('"two"\nlines 😀', 2)):
        vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY - 1, count=count, text=text)
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, TODAY, count=99, text="too late")

    rows = vendor.get("/top_messages", **RANGE, limit="3").json()

    assert rows == [
        {"_id": "hello", "count": 12},
        {"_id": "/start", "count": 7},
        {"_id": '"two"\nlines 😀', "count": 2},
    ]
    assert vendor.get("/top_messages", **RANGE, limit="2").json() == rows[:2]


def test_top_flows_have_objects_as_ids_and_names_repeat(busy: FlowXO) -> None:
    rows = busy.get("/top_flows", **RANGE, limit="20").json()

    names = [row["_id"]["name"] for row in rows]
    assert {row["_id"]["id"] for row in rows} == set(FLOWS)
    assert names.count("Untitled Flow") == 2
