"""The simulator of Voiceflow against the documented requests and responses."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.traffic import Traffic
from exporter.simulator.voiceflow import KEY, PROJECT, build
from exporter.simulator.voiceflow_rows import MAIN, STAGING
from tests.simulator.vendor import HOUR, NINE, Vendor

FILTER = {
    "projectID": PROJECT,
    "startTime": "2026-03-03T00:00:00.000Z",
    "endTime": "2026-03-03T11:00:00.000Z",
    "limit": 500,
}


class Voiceflow(Vendor):
    def __init__(self, traffic: Traffic | None = None) -> None:
        super().__init__(build, KEY, traffic)

    def query(self, name: str, **more: Any) -> httpx.Response:
        body = {"data": {"name": name, "filter": FILTER | more}}
        return self.send("POST", "/v2/query/usage", json=body)

    def result(self, name: str, **more: Any) -> Any:
        return self.query(name, **more).json()["result"]

    def items(self, name: str, **more: Any) -> list[dict[str, Any]]:
        return list(self.result(name, **more)["items"])

    def pages(self, name: str, limit: int, most: int = 50) -> list[Any]:
        found = [self.result(name, limit=limit)]
        while found[-1]["items"] and found[-1].get("cursor") and len(found) < most:
            found.append(self.result(name, limit=limit, cursor=found[-1]["cursor"]))
        return found


@pytest.fixture
def vendor() -> Voiceflow:
    return Voiceflow()


@pytest.fixture
def busy() -> Voiceflow:
    return Voiceflow(Traffic(5, per_hour=60, late_share=0))


def test_the_documented_example_has_its_shape(vendor: Voiceflow) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE + 5, count=41, interaction_type="live")
    vendor.traffic.add(Kind.INTERACTION, NINE - 2 * HOUR, count=3, interaction_type="test")

    result = vendor.result("interactions")

    shared = {"projectID": PROJECT, "environmentID": MAIN}
    seven, nine = "2026-03-03T07:00:00.000Z", "2026-03-03T09:00:00.000Z"
    assert sorted(result) == ["cursor", "items"]
    assert type(result["cursor"]) is int
    assert sorted(result["items"], key=lambda item: str(item["period"])) == [
        {"period": seven, **shared, "count": 3, "type": "canvas-prototype"},
        {"period": nine, **shared, "count": 41, "type": "dialog-management"},
    ]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("interactions", {"type"}),
        ("unique_users", set()),
        ("credit_usage", {"diagramID", "nodeID", "model", "type"}),
        ("function_usage", {"functionID", "name", "successCount"}),
        ("api_calls", {"apiToolID", "name", "successCount"}),
        ("kb_documents", {"documentID"}),
        ("integrations", {"integrationToolName", "successCount"}),
    ],
)
def test_every_list_has_its_fields(busy: Voiceflow, name: str, fields: set[str]) -> None:
    assert {frozenset(item) for item in busy.items(name)} == {
        frozenset({"period", "projectID", "environmentID", "count"} | fields)
    }


def test_unique_users_are_distinct_within_an_hour(vendor: Voiceflow) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE, count=5, user="u1")
    vendor.traffic.add(Kind.INTERACTION, NINE + 9, user="u2")
    vendor.traffic.add(Kind.INTERACTION, NINE - 1, user="u1")

    assert sorted(item["count"] for item in vendor.items("unique_users")) == [1, 2]


def test_intents_are_a_top_list_without_pages(vendor: Voiceflow) -> None:
    for intent, count in (("order_status", 77), ("greeting", 31), ("returns", 2)):
        vendor.traffic.add(Kind.NLP_MATCH, NINE, count=count, intent=intent)

    assert vendor.result("top_intents", limit=2) == {
        "intents": [{"name": "order_status", "count": 77}, {"name": "greeting", "count": 31}]
    }


@pytest.mark.parametrize("key", ["", "VF.DM.other", f"Bearer {KEY}", f" {KEY}x"])
def test_only_the_bare_key_is_authorised(vendor: Voiceflow, key: str) -> None:
    answer = vendor.send("POST", "/v2/query/usage", authorization=key)

    text = "Unauthorized"
    assert answer.json() == {"message": text, "statusCode": 401, "statusText": text}


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
    vendor: Voiceflow, name: str, wanted: Mapping[str, Any], status: int
) -> None:
    assert vendor.query(name, **wanted).status_code == status


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        ("main", {MAIN: 5}),
        (MAIN, {MAIN: 5}),
        ("staging", {STAGING: 2}),
        (None, {MAIN: 5, STAGING: 2}),
    ],
)
def test_an_environment_is_asked_by_alias_or_id(
    vendor: Voiceflow, asked: str | None, counts: Mapping[str, int]
) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE, count=5, environment="main")
    vendor.traffic.add(Kind.INTERACTION, NINE, count=2, environment="staging")

    items = vendor.items("interactions", projectEnvironmentIDOrAlias=asked)

    assert {item["environmentID"]: item["count"] for item in items} == counts


@pytest.mark.parametrize(
    ("mode", "periods"),
    [
        ("end_with_cursor", ["2026-03-03T10:00:00.000Z"]),
        ("period_without_fraction", ["2026-03-03T10:00:00Z"]),
        ("period_without_seconds", ["2026-03-03T10:00Z"]),
        ("inclusive_end", ["2026-03-03T10:00:00.000Z", "2026-03-03T11:00:00.000Z"]),
    ],
)
def test_the_end_and_the_format_of_a_period_are_not_documented(
    vendor: Voiceflow, mode: str, periods: list[str]
) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE + HOUR)
    vendor.traffic.add(Kind.INTERACTION, NINE + 2 * HOUR)
    vendor.service.faults.on(mode)

    assert sorted(item["period"] for item in vendor.items("interactions")) == periods


@pytest.mark.parametrize(
    ("mode", "end"),
    [("period_without_seconds", {}), ("end_without_cursor", {}), ("zero_cursor", {"cursor": 0})],
)
def test_pages_hold_every_row_once_however_they_end(
    busy: Voiceflow, mode: str, end: dict[str, int]
) -> None:
    busy.service.faults.on(mode)
    whole = busy.items("kb_documents")

    pages = busy.pages("kb_documents", 20)

    assert [item for page in pages for item in page["items"]] == whole
    assert len(pages) > 3
    assert all(page["cursor"] for page in pages[:-1])
    assert pages[-1] == {"items": pages[-1]["items"], **end}
    assert bool(pages[-1]["items"]) == (mode != "period_without_seconds")


def test_rows_are_not_in_time_order(busy: Voiceflow) -> None:
    periods = [item["period"] for item in busy.items("interactions")]

    assert periods != sorted(periods)
    assert periods != sorted(periods, reverse=True)


def test_a_growing_row_keeps_its_place(vendor: Voiceflow) -> None:
    for hour in range(8):
        vendor.traffic.add(Kind.INTERACTION, NINE - hour * HOUR)
    before = vendor.result("interactions")

    vendor.traffic.add(Kind.INTERACTION, NINE, count=4)

    after = vendor.result("interactions")
    periods = [[item["period"] for item in each["items"]] for each in (before, after)]
    assert periods[0] == periods[1]
    assert after["cursor"] == before["cursor"]


def test_the_empty_page_may_have_a_cursor(vendor: Voiceflow) -> None:
    vendor.service.faults.on("end_with_cursor")

    assert vendor.result("interactions") == {"items": [], "cursor": 0}


def test_a_repeated_cursor_comes_with_the_same_rows_for_ever(busy: Voiceflow) -> None:
    busy.service.faults.on("repeated_cursor")

    first, *others = busy.pages("kb_documents", 20, most=4)

    assert others == [first] * 3
