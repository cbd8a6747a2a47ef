"""Inkeep's simulator: the exporter's queries over a scripted truth, refusals and modes."""

from typing import Any

import httpx
import pytest

from exporter.simulator.conversations import Kind
from exporter.simulator.inkeep import KEY, WRITE_ONLY_KEY, build, writes
from exporter.simulator.traffic import Traffic
from tests.support.virtual import START_MS, VirtualClock, run_virtual

HOUR_MS = 3_600_000
NOW = START_MS  # 2026-03-03T11:20:00Z, a Tuesday
TEN = NOW - 80 * 60_000
COUNT = {"type": "aggregation", "aggregation": "count", "field": "id"}
BY_NAME = [{"field": "type"}]


class Fake:
    def __init__(self, traffic: Traffic | None = None) -> None:
        self.clock = VirtualClock()
        self.traffic = traffic or Traffic()
        self.service = build(self.clock, self.traffic)

    def send(self, method: str, path: str, *, key: str = KEY, **more: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(self.service)
            headers = {"authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(transport=transport, headers=headers) as client:
                return await client.request(method, f"http://inkeep{path}", **more)

        return run_virtual(main(), self.clock)

    def ask(self, view: str = "events", **body: Any) -> list[dict[str, Any]]:
        answer = self.send("POST", f"/query/{view}", json=body)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"]["result"])

    def refusal(self, **body: Any) -> int:
        answer = self.send("POST", "/query/events", json=body)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        return answer.status_code


@pytest.fixture
def fake() -> Fake:
    return Fake()


def aggregate(name: str, field: str, *path: str) -> dict[str, Any]:
    return {"type": "aggregation", "aggregation": name, "field": field, "path": list(path)}


def leaf(field: str, operator: str, *value: Any) -> dict[str, Any]:
    condition = {"field": field, "operator": operator}
    return {"condition": condition | ({"value": value[0]} if value else {})}


def test_events_are_counted_by_hour_name_and_integration(fake: Fake) -> None:
    fake.traffic.add(Kind.SEARCH, TEN, count=2, channel="web")
    fake.traffic.add(Kind.SEARCH, TEN + HOUR_MS)

    rows = fake.ask(
        select=[{"type": "time", "timeUnit": "hour", "field": "createdAt"}, COUNT],
        groupBy=[{"field": "eventType"}, {"field": "type"}, {"field": "integrationId"}],
        where={"and": [leaf("type", "eq", "search_query_submitted")]},
        orderBy=[{"field": "createdAt_hour", "direction": "desc"}],
    )

    shared = {"eventType": "search", "type": "search_query_submitted"}
    assert rows == [
        {"createdAt_hour": "2026-03-03 11:00:00", **shared, "integrationId": None, "count_id": 1},
        {
            "createdAt_hour": "2026-03-03 10:00:00",
            **shared,
            "integrationId": "int_web",
            "count_id": 2,
        },
    ]


def test_every_aggregation_has_its_key_and_value(fake: Fake) -> None:
    for name, messages in (("c1", 1), ("c2", 3)):
        fake.traffic.add(Kind.CONVERSATION_STARTED, TEN, conversation=name, user="u1")
        fake.traffic.add(Kind.MESSAGE_RECEIVED, TEN, conversation=name, count=messages)
    fake.traffic.add(Kind.CONVERSATION_STARTED, TEN, conversation="c3")

    (row,) = fake.ask(
        "conversations",
        select=[
            COUNT,
            aggregate("sum", "userMessageCount"),
            aggregate("countDistinct", "userProperties", "id"),
            aggregate("count", "userProperties", "id"),
        ],
    )

    assert row == {
        "count_id": 3,
        "sum_userMessageCount": 4,
        "countDistinct_userProperties.id": 1,
        "count_userProperties.id": 2,
    }


def test_nothing_groups_to_nothing_and_aggregates_to_one_row(fake: Fake) -> None:
    assert fake.ask(select=[COUNT], groupBy=BY_NAME) == []
    assert fake.ask(select=[COUNT]) == [{"count_id": 0}]


def test_escalations_are_counted_by_their_type(fake: Fake) -> None:
    fake.traffic.add(Kind.HANDOVER, TEN, escalation="contact_us", count=2)
    fake.traffic.add(Kind.FEEDBACK, TEN, rating="negative")
    name = "user_escalation_indicated"

    rows = fake.ask(
        select=[COUNT],
        groupBy=[{"field": "properties", "path": ["escalationType"]}],
        where={"and": [{"or": [leaf("type", "eq", name), leaf("eventType", "eq", name)]}]},
    )

    assert rows == [
        {"properties.escalationType": "contact_us", "count_id": 2},
        {"properties.escalationType": "downvote", "count_id": 1},
    ]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (leaf("type", "eq", "a"), {"a"}),
        (leaf("createdAt", "gte", "2026-03-03T11:00:00.000Z"), {"c"}),
        (leaf("createdAt", "lt", "2026-03-03T12:00:00+01:00"), {"a", "b"}),
        ({"or": [leaf("type", "eq", "a"), leaf("type", "eq", "b")]}, {"a", "b"}),
    ],
)
def test_a_condition_selects_rows(fake: Fake, where: dict[str, Any], kept: set[str]) -> None:
    fake.traffic.add(Kind.SEARCH, TEN, event="a")
    fake.traffic.add(Kind.SEARCH, TEN, event="b")
    fake.traffic.add(Kind.SEARCH, TEN + HOUR_MS, event="c")

    found = fake.ask(select=[COUNT], groupBy=BY_NAME, where={"and": [where]})

    assert {row["type"] for row in found} == kept


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 5},
        {"notes": "x" * 81},
        {"select": [{"type": "sum"}]},
        {"select": [{"type": "field", "field": "channel"}]},
        {"select": [{"type": "time", "timeUnit": "minute", "field": "createdAt"}]},
        {"select": [{"type": "time", "timeUnit": "hour", "field": "type"}]},
        {"select": [aggregate("median", "id")]},
        {"select": [aggregate("sum", "type")]},
        {"groupBy": [{"field": "createdAt_hour"}]},
        {"groupBy": [{"field": "type", "as": "name"}]},
        {"groupBy": "type"},
        {"where": {"and": [leaf("channel", "eq", "x")]}},
        {"where": {"and": [leaf("type", "like", "x")]}},
        {"where": {"not": []}},
        {"where": {"and": [leaf("createdAt", "gte", "yesterday")]}},
        {"orderBy": [{"field": "count", "direction": "asc"}]},
        {"select": [COUNT], "groupBy": BY_NAME, "orderBy": [{"field": "id", "direction": "asc"}]},
    ],
)
def test_a_query_outside_the_schema_is_422(fake: Fake, body: dict[str, Any]) -> None:
    fake.traffic.add(Kind.SEARCH, TEN)

    assert fake.refusal(**body) == 422


@pytest.mark.parametrize(
    ("key", "status", "code"), [("other", 401, "unauthorized"), (WRITE_ONLY_KEY, 403, "forbidden")]
)
def test_a_key_without_read_access_is_refused(fake: Fake, key: str, status: int, code: str) -> None:
    answer = fake.send("POST", "/query/events", json={}, key=key)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("mode", "status"), [("", 413), ("too_large_is_400", 400)])
def test_a_body_over_two_megabytes_is_refused(fake: Fake, mode: str, status: int) -> None:
    if mode:
        fake.service.faults.on(mode)

    answer = fake.send("POST", "/query/events", content=b" " * (2 * 1024 * 1024 + 1))

    assert answer.status_code == status


@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"null"])
def test_a_body_that_is_no_object_is_400(fake: Fake, content: bytes) -> None:
    assert fake.send("POST", "/query/events", content=content).status_code == 400


def test_only_the_total_shows_that_an_answer_is_capped(fake: Fake) -> None:
    for name in "abc":
        fake.traffic.add(Kind.SEARCH, TEN, event=name)
    fake.service.faults.on("page_cap", rows=2)

    data = fake.send("POST", "/query/events", json={"select": [COUNT], "groupBy": BY_NAME})

    found = data.json()["data"]
    assert (found["total"], found["count"], found["pageSize"]) == (3, 2, 2)
    assert len(found["result"]) == 2


def test_modes_change_the_format_of_an_answer(fake: Fake) -> None:
    fake.traffic.add(Kind.SEARCH, TEN, event="a")
    hour = {"type": "time", "timeUnit": "hour", "field": "createdAt"}
    for mode in ("numbers_as_strings", "iso_buckets", "swapped_types"):
        fake.service.faults.on(mode)

    (row,) = fake.ask(select=[hour, COUNT], groupBy=[{"field": "eventType"}, {"field": "type"}])

    assert row == {
        "createdAt_hour": "2026-03-03T10:00:00.000Z",
        "eventType": "a",
        "type": "conversation",
        "count_id": "1",
    }


def test_a_late_event_appears_and_a_retracted_one_disappears(fake: Fake) -> None:
    fake.traffic.add(Kind.SEARCH, TEN, event="late", visible_ms=NOW + 60_000)
    gone = fake.traffic.add(Kind.SEARCH, TEN, event="gone")
    fake.traffic.retract(gone, NOW + 60_000)

    before = fake.ask(select=[COUNT], groupBy=BY_NAME)
    fake.clock.step(60_000)
    after = fake.ask(select=[COUNT], groupBy=BY_NAME)

    assert (before, after) == (
        [{"type": "gone", "count_id": 1}],
        [{"type": "late", "count_id": 1}],
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/events"),
        ("POST", "/feedback"),
        ("POST", "/conversations"),
        ("DELETE", "/conversations/1"),
        ("DELETE", "/feedback/1"),
    ],
)
def test_a_write_is_recorded(fake: Fake, method: str, path: str) -> None:
    fake.send("POST", "/query/events", json={})
    fake.send(method, path)

    assert writes(fake.service.requests) == [f"{method} {path}"]


def test_a_server_may_refuse_distinct_counts(fake: Fake) -> None:
    fake.service.faults.on("no_count_distinct")

    assert fake.refusal(select=[aggregate("countDistinct", "userProperties", "id")]) == 422
    assert fake.ask(select=[COUNT]) == [{"count_id": 0}]
