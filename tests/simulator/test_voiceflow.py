"""The simulator of Voiceflow against the documented requests."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from exporter.simulator.traffic import Traffic
from exporter.simulator.voiceflow import KEY, LISTS, PROJECT, build
from tests.simulator.vendor import Vendor

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


def test_items_come_in_no_order_of_time() -> None:
    busy = Vendor(build, KEY, Traffic(5, per_hour=60))

    for name in LISTS:
        periods = [item["period"] for item in query(busy, name).json()["result"]["items"]]
        assert periods not in (sorted(periods), sorted(periods, reverse=True))


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
