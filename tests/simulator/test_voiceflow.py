"""The fake of Voiceflow against the documented requests and responses."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.voiceflow import KEY, MAIN, PROJECT, STAGING, conflict_body
from tests.simulator.voiceflow_vendor import HOUR, NINE, Vendor
from tests.support.virtual import START_MS, VirtualClock

DAY = (NINE - 9 * HOUR, NINE + 2 * HOUR)
LIST_NAMES = (
    "interactions",
    "unique_users",
    "credit_usage",
    "function_usage",
    "api_calls",
    "kb_documents",
    "integrations",
)


@pytest.fixture
def vendor(clock: VirtualClock, ask: Callable[..., httpx.Response]) -> Vendor:
    return Vendor(clock, ask)


def test_the_sheets_example_has_its_shape(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE + 5, count=41, interaction_type="live")
    vendor.traffic.add(Kind.INTERACTION, NINE - 2 * HOUR, count=3, interaction_type="test")

    answer = vendor.query("interactions", limit=500)

    result = answer.json()["result"]
    assert answer.status_code == 200
    assert sorted(result) == ["cursor", "items"]
    assert type(result["cursor"]) is int
    assert sorted(result["items"], key=lambda item: str(item["period"])) == [
        {
            "period": "2026-03-03T07:00:00.000Z",
            "projectID": PROJECT,
            "environmentID": MAIN,
            "count": 3,
            "type": "canvas-prototype",
        },
        {
            "period": "2026-03-03T09:00:00.000Z",
            "projectID": PROJECT,
            "environmentID": MAIN,
            "count": 41,
            "type": "dialog-management",
        },
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
def test_every_list_has_the_fields_of_its_name(vendor: Vendor, name: str, fields: set[str]) -> None:
    vendor.generate()

    items = vendor.result(name, limit=500)["items"]

    assert items
    assert {frozenset(item) for item in items} == {
        frozenset({"period", "projectID", "environmentID", "count"} | fields)
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("interactions", Kind.INTERACTION),
        ("credit_usage", Kind.TOKENS),
        ("function_usage", Kind.FUNCTION_CALL),
        ("api_calls", Kind.API_CALL),
        ("kb_documents", Kind.KB_HIT),
        ("integrations", Kind.INTEGRATION_CALL),
    ],
)
def test_a_lists_counts_add_up_to_the_truth(vendor: Vendor, name: str, kind: Kind) -> None:
    vendor.generate()

    items = [item for page in vendor.pages(name, 30) for item in page["items"]]

    assert sum(item["count"] for item in items) == vendor.traffic.truth(kind, DAY, START_MS) > 0


def test_failures_are_what_success_leaves(vendor: Vendor) -> None:
    vendor.generate()

    items = vendor.result("api_calls", limit=500)["items"]

    failures = sum(item["count"] - item["successCount"] for item in items)
    assert failures == vendor.traffic.truth(Kind.API_CALL, DAY, START_MS, ok="false") > 0


def test_unique_users_are_distinct_within_an_hour(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE, count=5, user="u1")
    vendor.traffic.add(Kind.INTERACTION, NINE + 9, user="u2")
    vendor.traffic.add(Kind.INTERACTION, NINE - 1, user="u1")

    counts = [item["count"] for item in vendor.result("unique_users")["items"]]

    assert sorted(counts) == [1, 2]


def test_intents_are_a_top_list_without_pages(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.NLP_MATCH, NINE, count=77, intent="order_status")
    vendor.traffic.add(Kind.NLP_MATCH, NINE, count=31, intent="greeting")
    vendor.traffic.add(Kind.NLP_MATCH, NINE, count=2, intent="returns")

    assert vendor.result("top_intents", limit=2) == {
        "intents": [{"name": "order_status", "count": 77}, {"name": "greeting", "count": 31}]
    }


def test_credit_usage_has_empty_places_and_unsafe_names_occur(vendor: Vendor) -> None:
    vendor.generate()

    places = {item["nodeID"] for item in vendor.result("credit_usage", limit=500)["items"]}
    names = "".join(item["name"] for item in vendor.result("api_calls", limit=500)["items"])

    assert "" in places
    assert len(places) > 1
    assert {'"', "\\", "\n"} <= set(names)


@pytest.mark.parametrize(
    "key", ["", "VF.DM.other", f"Bearer {KEY}", f" {KEY}x"], ids=["none", "other", "bearer", "near"]
)
def test_only_the_bare_key_is_authorised(vendor: Vendor, key: str) -> None:
    answer = vendor.post({"name": "interactions", "filter": {"projectID": PROJECT}}, key=key)

    assert answer.status_code == 401
    assert answer.json() == {
        "message": "Unauthorized",
        "statusCode": 401,
        "statusText": "Unauthorized",
    }


def test_another_project_is_unauthorised(vendor: Vendor) -> None:
    assert vendor.query("interactions", projectID="64b1f0aa11bb22cc33dd0000").status_code == 401


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"filter": {"projectID": PROJECT}},
        {"name": "sessions", "filter": {"projectID": PROJECT}},
        {"name": "interactions"},
        {"name": "interactions", "filter": {"projectID": ""}},
        {"name": "interactions", "filter": {"projectID": PROJECT, "limit": 0}},
        {"name": "interactions", "filter": {"projectID": PROJECT, "limit": 501}},
        {"name": "interactions", "filter": {"projectID": PROJECT, "limit": "5"}},
        {"name": "interactions", "filter": {"projectID": PROJECT, "cursor": "5"}},
        {"name": "interactions", "filter": {"projectID": PROJECT, "startTime": "2026-03-03"}},
        {"name": "interactions", "filter": {"projectID": PROJECT, "endTime": 1772536800000}},
        {
            "name": "interactions",
            "filter": {"projectID": PROJECT, "startTime": "2026-03-03T00:00:00+00:00"},
        },
    ],
)
def test_a_bad_request_is_400(vendor: Vendor, data: Any) -> None:
    assert vendor.post(data).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v2/query/usage", 405), ("POST", "/v1/query/usage", 404)],
)
def test_only_one_path_and_method_exist(
    vendor: Vendor, method: str, path: str, status: int
) -> None:
    assert vendor.send(vendor.service, method, path).status_code == status


def test_an_environment_is_asked_by_alias_or_id(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE, count=5, environment="main")
    vendor.traffic.add(Kind.INTERACTION, NINE, count=2, environment="staging")

    asked = ["main", MAIN, ["staging"], ["main", STAGING], None]
    counts = [
        Counter(
            {
                item["environmentID"]: item["count"]
                for item in vendor.result("interactions", projectEnvironmentIDOrAlias=names)[
                    "items"
                ]
            }
        )
        for names in asked
    ]

    both = {MAIN: 5, STAGING: 2}
    assert counts == [{MAIN: 5}, {MAIN: 5}, {STAGING: 2}, both, both]


def test_a_legacy_project_has_other_aliases(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE, count=5)
    asked = {"projectEnvironmentIDOrAlias": "production"}
    assert vendor.query("interactions", **asked).status_code == 404

    vendor.service.faults.on("legacy_aliases")

    assert vendor.result("interactions", **asked)["items"][0]["count"] == 5
    main = vendor.query("interactions", projectEnvironmentIDOrAlias="main")
    assert main.status_code == 404


def test_an_unknown_alias_may_be_an_empty_answer(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE)
    vendor.service.faults.on("unknown_alias_empty")

    assert vendor.result("interactions", projectEnvironmentIDOrAlias="moon") == {"items": []}


def test_the_end_may_be_inclusive(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE + 2 * HOUR, count=9)
    assert vendor.result("interactions")["items"] == []

    vendor.service.faults.on("inclusive_end")

    assert vendor.result("interactions")["items"][0]["count"] == 9


@pytest.mark.parametrize(
    ("mode", "period"),
    [
        ("period_without_fraction", "2026-03-03T09:00:00Z"),
        ("period_without_seconds", "2026-03-03T09:00Z"),
    ],
)
def test_a_period_has_other_spellings(vendor: Vendor, mode: str, period: str) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE)
    vendor.service.faults.on(mode)

    assert vendor.result("interactions")["items"][0]["period"] == period


def test_the_open_hour_grows(vendor: Vendor) -> None:
    open_hour = NINE + 2 * HOUR
    vendor.traffic.add(Kind.INTERACTION, open_hour + 60_000, count=2)
    vendor.traffic.add(Kind.INTERACTION, START_MS + 60_000, count=3)
    asked = {"endTime": "2026-03-03T12:00:00.000Z"}
    before = vendor.result("interactions", **asked)["items"][0]["count"]

    vendor.clock.advance(60)

    assert before == 2
    assert vendor.result("interactions", **asked)["items"][0]["count"] == 5


def test_a_closed_hour_may_be_revised_in_both_directions(vendor: Vendor) -> None:
    kept = vendor.traffic.add(Kind.INTERACTION, NINE, count=10)
    vendor.traffic.add(Kind.INTERACTION, NINE, count=4, visible_ms=START_MS + 1_000)
    vendor.traffic.retract(kept[:6], START_MS + 2_000)

    counts = []
    for _ in range(3):
        counts.append(vendor.result("interactions")["items"][0]["count"])
        vendor.clock.advance(1)

    assert counts == [10, 14, 8]


def test_an_error_in_the_middle_of_paging_has_the_vendors_body(vendor: Vendor) -> None:
    vendor.generate()
    vendor.service.faults.on("server_error", times=1, skip=1)
    first = vendor.result("kb_documents", limit=20)

    second = vendor.query("kb_documents", limit=20, cursor=first["cursor"])

    assert second.status_code == 500
    assert second.json()["statusText"] == "Internal Server Error"


def test_an_error_may_have_the_other_body(vendor: Vendor) -> None:
    vendor.service.faults.on("unauthorized", body=conflict_body(401, "no"))

    assert vendor.query("interactions").json() == {
        "code": 401,
        "status": "Unauthorized",
        "data": "no",
    }


def test_the_log_has_the_rows_and_not_the_key(vendor: Vendor) -> None:
    vendor.traffic.add(Kind.INTERACTION, NINE)

    result = vendor.result("interactions")

    (seen,) = vendor.service.requests
    assert list(seen.rows) == result["items"]
    assert seen.body["data"]["name"] == "interactions"
    assert KEY not in repr(seen)
