"""What a Voiceflow target asks, page by page."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from exporter.errors import SchemaError, Truncated
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Reading, Window
from exporter.providers.base.plugin import Target
from tests.providers import vendor
from tests.providers.vendor import played
from tests.support.virtual import START_MS

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
WINDOW = Window(NOON - 3 * HOUR_MS, NOON)
Pages = Callable[[Any], Any]


def target(**changes: Any) -> Target:
    plain = {"projects": [{"id": "p1", "alias": "shop"}]}
    return vendor.build_target(**{"provider": "voiceflow", "api_key": "k", **plain, **changes})


def page(*counts: int, **result: Any) -> dict[str, Any]:
    items = [
        {"period": "2026-03-03T09:00:00Z", "projectID": "p1", "environmentID": "e", "count": n}
        for n in counts
    ]
    return {"result": {"items": items, **result}}


def read(pages: Pages, *, window: Window = WINDOW, **changes: Any) -> list[Reading]:
    built, request = target(**changes), PollRequest(window, START_MS)
    return vendor.read(built, built.queries[0], played(lambda sent: pages(sent["data"])), request)


def total(readings: list[Reading]) -> float:
    return sum(value for reading in readings for _, _, value in reading.counts)


def test_an_alias_is_naming_and_not_meaning() -> None:
    plain = target(projects=["p1"], environments=["e1"]).queries[0].spec
    named = target(
        projects=[{"id": "p1", "alias": "shop"}], environments=[{"id": "e1", "alias": "live"}]
    )

    assert named.queries[0].spec.fingerprint == plain.fingerprint
    assert named.queries[0].spec.label_rules != plain.label_rules


def test_the_filter_is_sent_as_documented() -> None:
    asked: list[Any] = []

    def answer(data: Any) -> Any:
        asked.append(data)
        return page()

    read(answer, environments=["main"])

    assert asked == [
        {
            "name": "interactions",
            "filter": {
                "projectID": "p1",
                "projectEnvironmentIDOrAlias": "main",
                "startTime": "2026-03-03T09:00:00.000Z",
                "endTime": "2026-03-03T12:00:00.000Z",
                "limit": 500,
            },
        }
    ]


@pytest.mark.parametrize("cursor", [88123, "opaque", "00", 1.5, 2**60])
def test_a_cursor_goes_back_as_it_came(cursor: Any) -> None:
    asked: list[Any] = []

    def answer(data: Any) -> Any:
        asked.append(data["filter"].get("cursor"))
        return page(2) if len(asked) > 1 else page(1, cursor=cursor)

    assert total(read(answer)) == 3
    assert asked == [None, cursor]
    assert type(asked[1]) is type(cursor)


def test_a_cursor_that_no_number_can_be_is_a_fault() -> None:
    found = json.dumps(page(1, cursor=4711)).replace("4711", "1e400").encode()

    with pytest.raises(SchemaError, match="cursor: Number out of range"):
        read(lambda _: found)


def test_pages_without_end_are_truncation() -> None:
    with pytest.raises(Truncated, match="more than 2000 pages"):
        read(lambda data: page(1, cursor=data["filter"].get("cursor", 0) + 1))


def test_a_page_that_fails_voids_the_pages_before_it() -> None:
    with pytest.raises(SchemaError):
        read(lambda data: b"{" if "cursor" in data["filter"] else page(1, cursor=1))


@pytest.mark.parametrize("body", [b'{"result": [1]}', b'{"result": {}}', b'{"items": []}', b"[]"])
def test_an_answer_of_another_shape_is_a_fault(body: bytes) -> None:
    with pytest.raises(SchemaError):
        read(lambda _: body)


def test_top_intents_are_asked_for_the_last_whole_day() -> None:
    asked: list[Any] = []

    def answer(data: Any) -> Any:
        asked.append(data)
        return {"result": {"intents": [{"name": "greeting", "count": 3}]}}

    (reading,) = read(answer, queries=["top_intents"], environments=["main"])

    assert asked[0]["name"] == "top_intents"
    assert asked[0]["filter"]["startTime"] == "2026-03-02T11:00:00.000Z"
    assert asked[0]["filter"]["endTime"] == "2026-03-03T11:00:00.000Z"
    assert [row.series[1] for row in reading.lists] == [("shop", "main", "greeting", "trailing_1d")]
