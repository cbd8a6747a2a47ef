"""Inkeep's simulator: the exporter's queries over a scripted truth, refusals and modes."""

from typing import Any

import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.inkeep import KEY, WRITE_ONLY_KEY, build
from tests.simulator.vendor import HOUR, NINE, Vendor

TEN = NINE + HOUR
COUNT = {"type": "aggregation", "aggregation": "count", "field": "id"}
BY_HOUR = {"type": "time", "timeUnit": "hour", "field": "createdAt"}
BY_NAME = [{"field": "type"}]


class Inkeep(Vendor):
    def __init__(self) -> None:
        super().__init__(build, f"Bearer {KEY}")

    def ask(self, view: str = "events", **body: Any) -> list[dict[str, Any]]:
        answer = self.send("POST", f"/query/{view}", json=body)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"]["result"])

    def refusal(self, **more: Any) -> tuple[int, str]:
        answer = self.send("POST", "/query/events", **more)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def vendor() -> Inkeep:
    return Inkeep()


def aggregate(name: str, field: str, *path: str) -> dict[str, Any]:
    return {"type": "aggregation", "aggregation": name, "field": field, "path": list(path)}


def leaf(field: str, operator: str, value: str) -> dict[str, Any]:
    return {"condition": {"field": field, "operator": operator, "value": value}}


def test_events_are_counted_by_hour_name_and_integration(vendor: Inkeep) -> None:
    vendor.traffic.add(Kind.SEARCH, TEN + HOUR)
    vendor.traffic.add(Kind.SEARCH, TEN, count=2, channel="web")

    rows = vendor.ask(
        select=[BY_HOUR, COUNT],
        groupBy=[{"field": "type"}, {"field": "integrationId"}],
        where={"and": [leaf("type", "eq", "search_query_submitted")]},
        orderBy=[{"field": "createdAt_hour", "direction": "asc"}],
    )

    names = ["createdAt_hour", "type", "integrationId", "count_id"]
    assert [list(row) for row in rows] == [names] * 2
    assert [tuple(row.values()) for row in rows] == [
        ("2026-03-03 10:00:00", "search_query_submitted", "int_web", 2),
        ("2026-03-03 11:00:00", "search_query_submitted", None, 1),
    ]


def test_nothing_groups_to_nothing_and_aggregates_to_one_row(vendor: Inkeep) -> None:
    assert vendor.ask(select=[COUNT], groupBy=BY_NAME) == []
    assert vendor.ask(select=[COUNT]) == [{"count_id": 0}]


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 5},
        {"notes": "x" * 81},
        {"select": [{"type": "field", "field": "channel"}]},
        {"select": [BY_HOUR | {"timeUnit": "minute"}]},
        {"select": [BY_HOUR | {"field": "type"}]},
        {"select": [aggregate("median", "id")]},
        {"select": [aggregate("sum", "channel")]},
        {"groupBy": [{"field": "createdAt_hour"}]},
        {"groupBy": "type"},
        {"where": {"and": [leaf("channel", "eq", "x")]}},
        {"where": {"and": [leaf("type", "like", "x")]}},
        {"where": {"and": [leaf("type", "gte", "x")]}},
        {"where": {"not": []}},
        {"orderBy": [{"field": "count", "direction": "asc"}]},
    ],
)
def test_a_query_outside_the_schema_is_422(vendor: Inkeep, body: dict[str, Any]) -> None:
    assert vendor.refusal(json=body) == (422, "unprocessable_entity")


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        ({"json": {}, "authorization": "Bearer other"}, (401, "unauthorized")),
        ({"json": {}, "authorization": f"Bearer {WRITE_ONLY_KEY}"}, (403, "forbidden")),
        ({"content": b"{"}, (400, "bad_request")),
        ({"content": b"[]"}, (400, "bad_request")),
    ],
)
def test_a_refusal_is_a_problem_document(
    vendor: Inkeep, request_: dict[str, Any], refusal: tuple[int, str]
) -> None:
    assert vendor.refusal(**request_) == refusal
