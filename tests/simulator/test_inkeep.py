"""The fake of Inkeep: its query language against a scripted truth, its refusals and modes."""

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
        where=leaf("type", "eq", "search_query_submitted"),
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


@pytest.mark.parametrize(
    ("unit", "start"),
    [
        ("hour", "2026-03-03 10:00:00"),
        ("day", "2026-03-03 00:00:00"),
        ("week", "2026-03-02 00:00:00"),
        ("month", "2026-03-01 00:00:00"),
    ],
)
def test_buckets_begin_in_utc_and_weeks_on_mondays(fake: Fake, unit: str, start: str) -> None:
    fake.traffic.add(Kind.CONVERSATION_STARTED, TEN)

    (row,) = fake.ask("conversations", select=[{"type": "time", "timeUnit": unit}, COUNT])

    assert row == {f"firstMessageTime_{unit}": start, "count_id": 1}


def test_every_aggregation_has_its_key_and_value(fake: Fake) -> None:
    for name, messages in (("c1", 1), ("c2", 3)):
        fake.traffic.add(Kind.CONVERSATION_STARTED, TEN, conversation=name, user="u1")
        fake.traffic.add(Kind.MESSAGE_RECEIVED, TEN, conversation=name, count=messages)
    fake.traffic.add(Kind.CONVERSATION_STARTED, TEN, conversation="c3")

    (row,) = fake.ask(
        "conversations",
        select=[
            {"type": "aggregation", "aggregation": "count"},
            *(aggregate(name, "userMessageCount") for name in ("sum", "avg", "min", "max")),
            aggregate("countDistinct", "userProperties", "id"),
            aggregate("count", "userProperties", "id"),
        ],
    )

    assert row == {
        "count": 3,
        "sum_userMessageCount": 4,
        "avg_userMessageCount": 4 / 3,
        "min_userMessageCount": 0,
        "max_userMessageCount": 3,
        "countDistinct_userProperties.id": 1,
        "count_userProperties.id": 2,
    }


def test_nothing_groups_to_nothing_and_aggregates_to_one_row(fake: Fake) -> None:
    assert fake.ask(select=[COUNT], groupBy=BY_NAME) == []
    assert fake.ask(select=[COUNT]) == [{"count_id": 0}]


def test_a_group_may_stay_out_of_the_result(fake: Fake) -> None:
    fake.traffic.add(Kind.HANDOVER, TEN, escalation="contact_us", count=2)
    fake.traffic.add(Kind.FEEDBACK, TEN, rating="negative")
    kind: dict[str, Any] = {"field": "properties", "path": ["escalationType"]}
    only = leaf("type", "eq", "user_escalation_indicated")

    shown = fake.ask(select=[COUNT], groupBy=[kind], where=only)
    hidden = fake.ask(select=[COUNT], groupBy=[{**kind, "includeInSelect": False}], where=only)

    assert shown == [
        {"properties.escalationType": "contact_us", "count_id": 2},
        {"properties.escalationType": "downvote", "count_id": 1},
    ]
    assert hidden == [{"count_id": 2}, {"count_id": 1}]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (leaf("type", "eq", "a"), {"a"}),
        (leaf("type", "neq", "a"), {"b", "c"}),
        (leaf("type", "in", ["a", "c"]), {"a", "c"}),
        (leaf("type", "notIn", ["a", "c"]), {"b"}),
        (leaf("type", "gt", "a"), {"b", "c"}),
        (leaf("type", "lte", "b"), {"a", "b"}),
        (leaf("integrationId", "isNull"), {"b", "c"}),
        (leaf("integrationId", "isNotNull"), {"a"}),
        (leaf("integrationId", "neq", "int_x"), {"a"}),
        (leaf("createdAt", "gte", "2026-03-03T11:00:00.000Z"), {"c"}),
        (leaf("createdAt", "lt", "2026-03-03T12:00:00+01:00"), {"a", "b"}),
        (leaf("userProperties", "eq", {"path": ["id"], "value": "u1"}), {"a"}),
        (leaf("userProperties", "jsonContains", {"id": "u1"}), {"a"}),
        (leaf("userProperties", "jsonContainedBy", {}), {"c"}),
        (leaf("userProperties", "jsonHasKey", "id"), {"a", "b"}),
        (leaf("userProperties", "jsonHasAnyKey", ["id", "x"]), {"a", "b"}),
        (leaf("userProperties", "jsonHasAllKeys", ["id", "x"]), set()),
        ({"and": [leaf("type", "neq", "a"), leaf("type", "neq", "b")]}, {"c"}),
        ({"or": [leaf("type", "eq", "a"), {"and": [leaf("type", "eq", "b")]}]}, {"a", "b"}),
        ({"and": []}, {"a", "b", "c"}),
    ],
)
def test_a_filter_keeps_what_it_says(fake: Fake, where: dict[str, Any], kept: set[str]) -> None:
    fake.traffic.add(Kind.SEARCH, TEN, event="a", channel="web", user="u1")
    fake.traffic.add(Kind.SEARCH, TEN, event="b", user="u2")
    fake.traffic.add(Kind.SEARCH, TEN + HOUR_MS, event="c")

    found = fake.ask(select=[COUNT], groupBy=BY_NAME, where=where)

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
        {"select": [COUNT, {"type": "field", "field": "type"}]},
        {"groupBy": [{"field": "createdAt_hour"}]},
        {"groupBy": [{"field": "type", "as": "name"}]},
        {"groupBy": "type"},
        {"where": leaf("channel", "eq", "x")},
        {"where": leaf("type", "like", "x")},
        {"where": {"not": []}},
        {"where": leaf("createdAt", "gte", "yesterday")},
        {"where": leaf("type", "gt", 5)},
        {"orderBy": [{"field": "count", "direction": "asc"}]},
        {"orderBy": [{"field": "countDistinct_id", "direction": "asc"}]},
        {"select": [COUNT], "groupBy": BY_NAME, "orderBy": [{"field": "id", "direction": "asc"}]},
    ],
)
def test_what_the_schema_does_not_have_is_422(fake: Fake, body: dict[str, Any]) -> None:
    fake.traffic.add(Kind.SEARCH, TEN)

    assert fake.refusal(**body) == 422


@pytest.mark.parametrize(
    ("key", "status", "code"), [("other", 401, "unauthorized"), (WRITE_ONLY_KEY, 403, "forbidden")]
)
def test_a_key_that_may_not_read_is_refused(fake: Fake, key: str, status: int, code: str) -> None:
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


def test_a_capped_answer_says_so_in_its_total_alone(fake: Fake) -> None:
    for name in "abc":
        fake.traffic.add(Kind.SEARCH, TEN, event=name)
    fake.service.faults.on("page_cap", rows=2)

    data = fake.send("POST", "/query/events", json={"select": [COUNT], "groupBy": BY_NAME})

    found = data.json()["data"]
    assert (found["total"], found["count"], found["pageSize"]) == (3, 2, 2)
    assert len(found["result"]) == 2


def test_modes_change_how_an_answer_is_spelt(fake: Fake) -> None:
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


def test_a_hidden_event_shows_late_and_a_retracted_one_no_more(fake: Fake) -> None:
    fake.traffic.add(Kind.SEARCH, TEN, event="late", visible_ms=NOW + 60_000)
    gone = fake.traffic.add(Kind.SEARCH, TEN, event="gone")
    fake.traffic.retract(gone, NOW + 60_000)

    before = fake.ask(groupBy=BY_NAME)
    fake.clock.step(60_000)

    assert (before, fake.ask(groupBy=BY_NAME)) == ([{"type": "gone"}], [{"type": "late"}])


def test_counts_from_equal_rows_are_the_counts_of_single_rows() -> None:
    fake = Fake(Traffic(seed=11, per_hour=8))
    group: dict[str, Any] = {"groupBy": [{"field": "type"}, {"field": "integrationId"}]}
    # messageId is of single rows, so its filter makes them be looked at one by one.
    single = {"or": [leaf("messageId", "isNull"), leaf("messageId", "isNotNull")]}

    equal = fake.ask(select=[COUNT], **group)

    assert len(equal) > 20
    ordered = sorted(map(str, equal))
    assert sorted(map(str, fake.ask(select=[COUNT], where=single, **group))) == ordered


@pytest.mark.parametrize("view", ["events", "conversations", "feedback", "semantic-threads"])
def test_an_empty_body_lists_the_last_days_rows(fake: Fake, view: str) -> None:
    for kind in (Kind.SEARCH, Kind.CONVERSATION_STARTED, Kind.FEEDBACK):
        fake.traffic.add(kind, TEN, user="u1", rating="positive")
        fake.traffic.add(kind, TEN - 25 * HOUR_MS, user="u2", rating="positive")

    rows = fake.ask(view)

    assert {row["userProperties"]["id"] for row in rows} == {"u1"}


def test_an_export_is_csv(fake: Fake) -> None:
    fake.traffic.add(Kind.FEEDBACK, TEN, rating="negative")

    answer = fake.send(
        "POST", "/query/feedback/export", json={"select": [COUNT], "groupBy": BY_NAME}
    )

    assert answer.headers["content-type"] == "text/csv"
    assert answer.text.splitlines() == ["type,count_id", "negative,1"]


def test_properties_can_be_discovered(fake: Fake) -> None:
    fake.traffic.add(Kind.HANDOVER, TEN, escalation="contact_us", user="u1")
    where = {"field": "properties", "key": "escalationType"}

    keys = fake.send("POST", "/query/property-keys", json={"field": "userProperties"})
    values = fake.send("POST", "/query/property-values", json=where)

    assert keys.json() == {"results": ["id", "identificationType"]}
    assert values.json() == {"results": ["contact_us"]}
    assert fake.send("POST", "/query/property-keys", json={"field": "id"}).status_code == 422


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
def test_a_write_is_remembered_as_one(fake: Fake, method: str, path: str) -> None:
    fake.send("POST", "/query/events", json={})
    fake.send(method, path)

    assert writes(fake.service.requests) == [f"{method} {path}"]


def test_a_server_may_count_nothing_distinct(fake: Fake) -> None:
    fake.service.faults.on("no_count_distinct")

    assert fake.refusal(select=[aggregate("countDistinct", "userProperties", "id")]) == 422
    assert fake.ask(select=[COUNT]) == [{"count_id": 0}]
