"""The simulator of Flow XO against the documented requests and responses."""

from typing import Any

import pytest

from exporter.simulator.conversations import FLOWS, Kind
from exporter.simulator.flowxo import KEY, build
from tests.simulator.vendor import HOUR, NINE, Vendor

RANGE = {"start": "2026-03-03T09:00:00.000Z", "end": "2026-03-03T11:00:00.000Z"}
HOURLY = {"unit": "hour", "offset": "0"} | RANGE


@pytest.fixture
def vendor() -> Vendor:
    return Vendor(build, f"Bearer {KEY}")


def get(vendor: Vendor, path: str, **params: str) -> Any:
    return vendor.send("GET", f"/api/insights{path}", params=params).json()


def test_hours_have_the_documented_shape_and_arithmetic(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.NEW_USER, NINE, user="u1")
    vendor.traffic.add(Kind.MESSAGE_RECEIVED, NINE, count=11, user="u1")
    vendor.traffic.add(Kind.NEW_USER, NINE + HOUR, user="u2")
    vendor.traffic.add(Kind.FLOW_TRIGGER, NINE + HOUR, count=4)
    vendor.traffic.add(Kind.MESSAGE_SENT, NINE + HOUR, count=5, user="u2")

    nine = {"active_users": 1, "total_users": 1, "new_users": 1, "triggers": 0}
    nine |= {"received_messages": 11, "sent_messages": 0}
    ten = {"active_users": 2, "total_users": 2, "new_users": 1, "triggers": 4}
    ten |= {"received_messages": 0, "sent_messages": 5}
    assert get(vendor, "", **HOURLY) == {
        "stats": [{"_id": None, **ten, "new_users": 2, "received_messages": 11}],
        "metrics": [
            {"_id": "2026-03-03T09", "_timestamp": "2026-03-03T09:00:00.000Z", **nine},
            {"_id": "2026-03-03T10", "_timestamp": "2026-03-03T10:00:00.000Z", **ten},
        ],
    }


@pytest.mark.parametrize(
    ("wrong", "key", "status"),
    [
        *(({}, key, 401) for key in ("", "Bearer x", KEY, f"Basic {KEY}")),
        ({"unit": "week"}, None, 400),
        ({"start": "soon"}, None, 400),
        ({"end": "1772536800"}, None, 400),
        ({"offset": "UTC"}, None, 400),
        ({"other": ""}, None, 400),
    ],
)
def test_a_wrong_request_is_refused(
    vendor: Vendor, wrong: dict[str, str], key: str | None, status: int
) -> None:
    answer = vendor.send("GET", "/api/insights", params=HOURLY | wrong, authorization=key)

    assert answer.status_code == status


def test_top_lists_have_texts_or_objects_as_ids_and_names_repeat(vendor: Vendor) -> None:
    for text, count in (("hello", 12), ('"two"\nlines 😀', 2), ("/start", 7)):
        vendor.traffic.add(Kind.MESSAGE_RECEIVED, NINE, count=count, text=text)
    for flow in FLOWS:
        vendor.traffic.add(Kind.FLOW_TRIGGER, NINE, flow=flow)

    flows = [row["_id"] for row in get(vendor, "/top_flows", **RANGE, limit="20")]

    assert get(vendor, "/top_messages", **RANGE, limit="2") == [
        {"_id": "hello", "count": 12},
        {"_id": "/start", "count": 7},
    ]
    assert {flow["id"] for flow in flows} == set(FLOWS)
    assert [flow["name"] for flow in flows].count("Untitled Flow") == 2
