"""Every provider that reads pages ends its lists by the same rule."""

import codecs
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from exporter.errors import Truncated
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Reading, Window, floor_to
from tests.providers.vendor import build_target, played, read
from tests.support.virtual import START_MS

HOUR = floor_to(START_MS, HOUR_MS)  # 2026-03-03T11:00:00Z
BOT = {"provider": "chatlayer", "token": "a:b", "bots": ["b1"]}
Page = Callable[[int, dict[str, Any]], Any]


def usage(rows: int, token: dict[str, Any]) -> Any:
    row = {"period": "2026-03-03T11:00:00Z", "projectID": "p", "environmentID": "e", "type": "t"}
    cursor = {"cursor": token["next_page_token"]} if token else {}
    return {"result": {"items": [{**row, "count": 1}] * rows, **cursor}}


def events(rows: int, token: dict[str, Any]) -> Any:
    row = {"event": "goal", "bot_id": "b1", "timestamp": "2026-03-03T11:10:00Z"}
    return {"events": [{**row, "id": f"e{n}"} for n in range(rows)]} | token


def definitions(rows: int, token: dict[str, Any]) -> Any:
    return {"event_definitions": [{"event": "goal", "volume_30_day": 1}] * rows} | token


LISTS: Mapping[str, tuple[Mapping[str, Any], Page, int]] = {
    "voiceflow": (
        {"provider": "voiceflow", "api_key": "k", "projects": ["p"], "queries": ["interactions"]},
        usage,
        500,
    ),
    "chatlayer events": (
        BOT | {"collectors": ["events"], "stream": {"mode": "recount"}, "start": "history"},
        events,
        100,
    ),
    "chatlayer definitions": (BOT | {"collectors": ["definitions"]}, definitions, 100),
}


def poll(case: str, *pages: Any) -> Reading:
    """Return what is read where the answers are ``pages``, the last of them again and again."""
    target, answers = build_target(**LISTS[case][0]), list(pages)
    request = PollRequest(Window(HOUR, HOUR + HOUR_MS), START_MS)

    def vendor(_asked: Any) -> Any:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    (reading,) = read(target, target.queries[0], played(vendor), request)
    return reading


def sum_of(reading: Reading) -> float:
    return sum(value for _, _, value in reading.counts) + sum(row.value for row in reading.lists)


@pytest.mark.parametrize("end", [{}, *({"next_page_token": end} for end in (None, "", 0, "0"))])
@pytest.mark.parametrize("case", LISTS)
def test_a_token_that_says_nothing_ends_the_list(case: str, end: dict[str, Any]) -> None:
    _, page, rows = LISTS[case]

    reading = poll(case, page(rows, end))

    assert sum_of(reading) == rows
    assert not reading.drift


@pytest.mark.parametrize("case", LISTS)
def test_a_full_page_that_comes_again_with_its_token_is_an_incomplete_read(case: str) -> None:
    _, page, rows = LISTS[case]

    with pytest.raises(Truncated, match="was repeated"):
        poll(case, page(rows, {"next_page_token": "t"}))


@pytest.mark.parametrize("token", ["t", 7])
@pytest.mark.parametrize("case", LISTS)
def test_a_short_page_that_comes_again_with_its_token_ends_the_list(case: str, token: Any) -> None:
    reading = poll(case, LISTS[case][1](3, {"next_page_token": token}))

    assert sum_of(reading) == 3
    assert reading.drift == {"unexpected_type": 1}


@pytest.mark.parametrize(
    ("case", "read_"), [("voiceflow", 2), ("chatlayer events", 3), ("chatlayer definitions", 5)]
)
def test_an_empty_page_ends_a_list_that_has_none_in_its_middle(case: str, read_: int) -> None:
    page = LISTS[case][1]
    more = (page(rows, {"next_page_token": rows + 1}) for rows in (2, 0))

    assert sum_of(poll(case, *more, page(3, {}))) == read_  # ids of events are the same


def test_a_page_that_comes_again_later_under_a_new_token_counts_once() -> None:
    tokens: list[dict[str, Any]] = [*({"next_page_token": n} for n in range(1, 4)), {}]
    pages = (usage(rows, token) for rows, token in zip((500, 3, 500, 2), tokens, strict=True))

    assert sum_of(poll("voiceflow", *pages)) == 505


@pytest.mark.parametrize("case", ["voiceflow", "chatlayer definitions"])
def test_pages_that_differ_in_what_is_not_decoded_are_two_pages(case: str) -> None:
    page = LISTS[case][1]
    first, second = page(3, {"next_page_token": "t"}), page(3, {})
    rows = second.get("event_definitions") or second["result"]["items"]
    rows[0] = {**rows[0], "agent": "another"}

    reading = poll(case, first, second)

    assert sum_of(reading) == 6
    assert not reading.drift


@pytest.mark.parametrize("case", LISTS)
def test_a_token_is_sent_back_as_it_came(case: str) -> None:
    settings, page, _ = LISTS[case]
    sent, answers = list[Any](), iter([page(2, {"next_page_token": 123_456_789_012}), page(0, {})])
    target = build_target(**settings)
    request = PollRequest(Window(HOUR, HOUR + HOUR_MS), START_MS)

    def vendor(asked: Any) -> Any:
        sent.append(asked)
        return next(answers)

    read(target, target.queries[0], played(vendor), request)

    token = sent[1].get("page_token") or str(sent[1]["data"]["filter"]["cursor"])
    assert token == "123456789012"


@pytest.mark.parametrize("case", LISTS)
def test_a_byte_order_mark_before_a_page_that_comes_again_is_skipped(case: str) -> None:
    marked = codecs.BOM_UTF8 + json.dumps(LISTS[case][1](3, {"next_page_token": "t"})).encode()

    assert sum_of(poll(case, marked)) == 3


@pytest.mark.parametrize("case", LISTS)
def test_half_a_character_in_a_field_that_is_not_read_spoils_no_page(case: str) -> None:
    page = LISTS[case][1]
    pages = page(2, {"next_page_token": "t"}), page(3, {})

    reading = poll(case, *(json.dumps({"said": "cut \ud83d", **each}).encode() for each in pages))

    assert sum_of(reading) == (3 if case == "chatlayer events" else 5)  # its ids are the same
