"""The simulator of Voiceflow against the documented requests and responses."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from exporter.simulator.voiceflow import KEY, LISTS, MAIN, PROJECT, build
from tests.simulator.vendor import HOUR, NINE, Vendor

FILTER = {
    "projectID": PROJECT,
    "startTime": "2026-03-03T00:00:00.000Z",
    "endTime": "2026-03-03T11:00:00.000Z",
    "limit": 500,
}


@pytest.fixture
def vendor() -> Vendor:
    return Vendor(build, KEY)


def query(vendor: Vendor, name: str, **more: Any) -> httpx.Response:
    body = {"data": {"name": name, "filter": FILTER | more}}
    return vendor.send("POST", "/v2/query/usage", json=body)


def test_the_documented_example_has_its_shape(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE + 5, count=41, interaction_type="live")
    vendor.traffic.add(Kind.INTERACTION, NINE - 2 * HOUR, count=3, interaction_type="test")

    result = query(vendor, "interactions").json()["result"]

    shared = {"projectID": PROJECT, "environmentID": MAIN}
    seven, nine = "2026-03-03T07:00:00.000Z", "2026-03-03T09:00:00.000Z"
    assert sorted(result) == ["cursor", "items"]
    assert type(result["cursor"]) is int
    assert sorted(result["items"], key=lambda item: str(item["period"])) == [
        {"period": seven, **shared, "count": 3, "type": "canvas-prototype"},
        {"period": nine, **shared, "count": 41, "type": "dialog-management"},
    ]


def test_items_come_in_no_order_of_time() -> None:
    busy = Vendor(build, KEY, Traffic(5, per_hour=60))

    for name in LISTS:
        periods = [item["period"] for item in query(busy, name).json()["result"]["items"]]
        assert periods not in (sorted(periods), sorted(periods, reverse=True))


def test_intents_are_a_top_list_without_pages(vendor: Vendor) -> None:
    for intent, count in (("order_status", 77), ("greeting", 31), ("returns", 2)):
        vendor.traffic.add(Kind.NLP_MATCH, NINE, count=count, intent=intent)

    assert query(vendor, "top_intents", limit=2).json()["result"] == {
        "intents": [{"name": "order_status", "count": 77}, {"name": "greeting", "count": 31}]
    }


@pytest.mark.parametrize("key", ["", "VF.DM.other", f"Bearer {KEY}", f" {KEY}x"])
def test_only_the_bare_key_is_authorised(vendor: Vendor, key: str) -> None:
    answer = vendor.send("POST", "/v2/query/usage", authorization=key)

    assert answer.json()["statusCode"] == answer.status_code == 401


@pytest.mark.parametrize(
    ("name", "wanted", "status"),
    [
        ("sessions", {}, 400),
        ("interactions", {"limit": 501}, 400),
        ("interactions", {"limit": "5"}, 400),
        ("interactions", {"cursor": "5"}, 400),
        ("interactions", {"startTime": "2026-03-03"}, 400),
        ("interactions", {"other": 1}, 400),
        ("interactions", {"projectID": "64b1f0aa11bb22cc33dd0000"}, 401),
        ("interactions", {"projectEnvironmentIDOrAlias": "moon"}, 404),
    ],
)
def test_a_wrong_request_is_refused(
    vendor: Vendor, name: str, wanted: Mapping[str, Any], status: int
) -> None:
    assert query(vendor, name, **wanted).status_code == status
