"""What a Voiceflow target asks, page by page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from exporter.config.model import Limits, Privacy
from exporter.errors import SchemaError, Truncated, Unauthorized
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.model.query import PollRequest
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from exporter.providers.base.plugin import LabelSettings, Target
from exporter.providers.voiceflow.options import VoiceflowOptions
from exporter.providers.voiceflow.provider import PROVIDER
from tests.support.virtual import START_MS, VirtualClock, run_virtual

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
WINDOW = Window(NOON - 3 * HOUR_MS, NOON)
Pages = Callable[[Any], Any]


def options(**changes: Any) -> VoiceflowOptions:
    entries: dict[str, Any] = {
        "name": "shop",
        "provider": "voiceflow",
        "api_key": {"env": "VOICEFLOW_API_KEY"},
        "projects": [{"id": "p1", "alias": "shop"}],
    }
    return VoiceflowOptions.model_validate(entries | changes)


def target(**changes: Any) -> Target:
    return PROVIDER.build(options(**changes), LabelSettings(Limits(), Privacy()))


def page(*counts: int, **result: Any) -> dict[str, Any]:
    items = [
        {"period": "2026-03-03T09:00:00Z", "projectID": "p1", "environmentID": "e", "count": n}
        for n in counts
    ]
    return {"result": {"items": items, **result}}


def read(pages: Pages, *, window: Window = WINDOW, index: int = 0, **changes: Any) -> list[Reading]:
    clock = VirtualClock()
    built = target(**changes)

    def vendor(request: httpx.Request) -> httpx.Response:
        answer = pages(json.loads(request.content)["data"])
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return httpx.Response(200, content=body)

    async def main() -> list[Reading]:
        async with Transport(httpx.MockTransport(vendor)) as wire:
            api = ApiClient(
                base_url=built.base_url,
                sign=dict,
                transport=wire,
                clock=clock,
                requests_per_second=0,
            )
            request = PollRequest(window, START_MS)
            return [reading async for reading in built.queries[index].read(api, request)]

    return run_virtual(main(), clock)


def total(readings: list[Reading]) -> float:
    return sum(value for reading in readings for _, _, value in reading.counts)


def test_there_is_one_query_per_kind_project_and_environment() -> None:
    built = target(
        queries=["interactions", "top_intents"],
        projects=["p1", {"id": "p2", "alias": "docs"}],
        environments=["main", {"id": "e2", "alias": "test"}],
    )

    assert [query.spec.name for query in built.queries] == [
        "interactions/p1/main",
        "interactions/p1/test",
        "interactions/docs/main",
        "interactions/docs/test",
        "top_intents/p1/main",
        "top_intents/p1/test",
        "top_intents/docs/main",
        "top_intents/docs/test",
    ]
    assert len({query.spec.fingerprint for query in built.queries}) == 8


def test_one_environment_or_none_is_not_in_the_querys_name() -> None:
    assert target(environments=["main"]).queries[0].spec.name == "interactions/shop"
    assert target().queries[0].spec.name == "interactions/shop"


def test_top_lists_are_slow_and_counts_are_not() -> None:
    specs = [query.spec for query in target(queries=["interactions", "top_intents"]).queries]

    assert [spec.interval_ms for spec in specs] == [300_000, 3_600_000]


def test_an_alias_is_naming_and_not_meaning() -> None:
    plain = target(projects=["p1"], environments=["e1"]).queries[0].spec
    named = target(
        projects=[{"id": "p1", "alias": "shop"}], environments=[{"id": "e1", "alias": "live"}]
    )

    assert named.queries[0].spec.fingerprint == plain.fingerprint
    assert named.queries[0].spec.label_rules != plain.label_rules


def test_the_filter_is_sent_as_documented() -> None:
    asked: list[Any] = []

    def vendor(data: Any) -> Any:
        asked.append(data)
        return page()

    read(vendor, environments=["main"])

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


def test_a_ragged_window_is_asked_in_whole_hours() -> None:
    (reading,) = read(lambda _: page(), window=Window(NOON - HOUR_MS - 1, NOON + 1))

    assert reading.window == Window(NOON - 2 * HOUR_MS, NOON + HOUR_MS)


def test_a_long_window_is_read_in_weeks_oldest_first() -> None:
    readings = read(lambda _: page(), window=Window(NOON - 10 * DAY_MS, NOON))

    assert [(r.window.start_ms, r.window.end_ms, r.more) for r in readings] == [
        (NOON - 10 * DAY_MS, NOON - 3 * DAY_MS, True),
        (NOON - 3 * DAY_MS, NOON, False),
    ]


@pytest.mark.parametrize("cursor", [88123, "opaque", "00", 1.5, 2**60])
def test_a_cursor_goes_back_as_it_came(cursor: Any) -> None:
    asked: list[Any] = []

    def vendor(data: Any) -> Any:
        asked.append(data["filter"].get("cursor"))
        return page(2) if len(asked) > 1 else page(1, cursor=cursor)

    assert total(read(vendor)) == 3
    assert asked == [None, cursor]
    assert type(asked[1]) is type(cursor)


@pytest.mark.parametrize(
    "end",
    [page(), page(cursor=1), page(cursor=9), *(page(cursor=end) for end in (None, "", 0, "0"))],
)
def test_an_empty_page_ends_the_list(end: Any) -> None:
    pages = {None: page(1, cursor=1), 1: page(2, cursor=9), 9: end}

    assert total(read(lambda data: pages[data["filter"].get("cursor")])) == 3


def test_a_page_that_came_twice_counts_once() -> None:
    pages = {None: page(1, 5, cursor=1), 1: page(1, 5, cursor=2), 2: page(2)}

    assert total(read(lambda data: pages[data["filter"].get("cursor")])) == 8


def test_a_cursor_that_comes_again_with_other_rows_is_truncation() -> None:
    with pytest.raises(Truncated, match="came again"):
        read(lambda data: page(len(str(data)), cursor=7))


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

    def vendor(data: Any) -> Any:
        asked.append(data)
        return {"result": {"intents": [{"name": "greeting", "count": 3}]}}

    (reading,) = read(vendor, queries=["top_intents"], environments=["main"])

    assert asked[0]["name"] == "top_intents"
    assert asked[0]["filter"]["startTime"] == "2026-03-02T11:00:00.000Z"
    assert asked[0]["filter"]["endTime"] == "2026-03-03T11:00:00.000Z"
    assert [row.series[1] for row in reading.lists] == [("shop", "main", "greeting", "trailing_1d")]


def test_the_key_is_read_anew_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    sign = target().sign

    monkeypatch.setenv("VOICEFLOW_API_KEY", "VF.DM.one")
    first = sign()
    monkeypatch.setenv("VOICEFLOW_API_KEY", "VF.DM.two")

    assert (first, sign()) == ({"authorization": "VF.DM.one"}, {"authorization": "VF.DM.two"})


def test_a_key_that_no_request_can_carry_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("canary\u2028key", "utf-8")
    sign = target(api_key={"file": str(tmp_path / "key")}).sign

    with pytest.raises(Unauthorized) as caught:
        sign()

    assert "canary" not in str(caught.value)
