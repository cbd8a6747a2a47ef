"""Inkeep's simulator: what it refuses, and how."""

from typing import Any

import pytest

from exporter.simulator.inkeep import KEY, WRITE_ONLY_KEY, build
from tests.simulator.vendor import Vendor

BY_HOUR = {"type": "time", "timeUnit": "hour", "field": "createdAt"}


class Inkeep(Vendor):
    def __init__(self) -> None:
        super().__init__(build, f"Bearer {KEY}")

    def refusal(self, **more: Any) -> tuple[int, str]:
        answer = self.send("POST", "/query/events", **more)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def vendor() -> Inkeep:
    return Inkeep()


def aggregate(name: str, field: str) -> dict[str, Any]:
    return {"type": "aggregation", "aggregation": name, "field": field}


def leaf(field: str, operator: str, value: str) -> dict[str, Any]:
    return {"condition": {"field": field, "operator": operator, "value": value}}


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
        {"where": {"and": [{"condition": {"field": "type", "operator": "eq"}}]}},
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
