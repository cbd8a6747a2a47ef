"""A declared query asks for its window span by span and page by page."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from exporter.model.families import INTERACTIONS
from exporter.model.query import PollRequest, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, Reading, Window
from exporter.providers.base.declared import Cursor, DeclaredQuery
from exporter.providers.base.rows import Rows
from tests.providers import vendor
from tests.providers.vendor import build_target, played
from tests.support.virtual import START_MS

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
WINDOW = Window(NOON, NOON + 4 * HOUR_MS)


class Page(msgspec.Struct):
    """Hours, and how the list goes on."""

    hours: list[int]
    next: str | float | None = None
    complete: bool = True


def collect(hours: Sequence[int], rows: Rows) -> None:
    for hour_ms in hours:
        rows.count(INTERACTIONS, ("p",), hour_ms, 1)
    rows.remember(polls=rows.memo.get("polls", 0) + 1)


def query(method: str = "GET") -> DeclaredQuery[Page, int]:
    return DeclaredQuery(
        spec=QuerySpec(
            "shop",
            "acme",
            "hourly",
            {"endpoint": f"{method} /x"},
            fields={"chatbot_interactions_total": "hours[]"},
        ),
        parameters=lambda window: {"from": window.start_ms, "to": window.end_ms},
        answer=Page,
        items=lambda page: page.hours,
        collect=collect,
    )


def paged(method: str = "GET") -> DeclaredQuery[Page, int]:
    """Return a query whose full pages have two items."""
    pages = Cursor(lambda page: page.next, ("token",), page_rows=2, most_pages=9, empty_pages=True)
    return replace(query(method), pages=pages)


def read(
    asked: DeclaredQuery[Page, int], answer: Callable[[dict[str, str]], dict[str, Any]]
) -> list[Reading]:
    target = build_target(provider="flowxo", api_key="k", project="p")
    request = PollRequest(WINDOW, START_MS, memo={"polls": 5})
    return vendor.read(target, asked, played(answer), request)


def test_a_window_is_read_in_spans_that_share_a_memo() -> None:
    one = query()
    spans = replace(one, spec=replace(one.spec, span_ms=3 * HOUR_MS))
    asked: list[tuple[int, int]] = []

    def vendor(sent: dict[str, str]) -> dict[str, Any]:
        asked.append((int(sent["from"]), int(sent["to"])))
        return {"hours": [int(sent["from"])]}

    readings = read(spans, vendor)

    assert asked == [(NOON, NOON + 3 * HOUR_MS), (NOON + 3 * HOUR_MS, WINDOW.end_ms)]
    assert [(reading.memo, reading.more) for reading in readings] == [
        ({"polls": 6}, True),
        ({"polls": 7}, False),
    ]


def test_a_trailing_query_reads_the_last_hours_as_a_list() -> None:
    (reading,) = read(replace(query(), trailing_ms=DAY_MS), lambda _: {"hours": []})

    end_ms = START_MS // HOUR_MS * HOUR_MS
    assert reading.window == Window(end_ms - DAY_MS, end_ms)
    assert reading.lists_of == {"chatbot_interactions_total"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("end", [{}, *({"next": end} for end in (None, "", "0", 0, 0.0))])
def test_a_token_is_sent_back_until_there_is_none(method: str, end: dict[str, Any]) -> None:
    script: dict[str | None, dict[str, Any]] = {
        None: {"hours": [NOON], "next": "a"},
        "a": {"hours": [], "next": "b"},
        "b": {"hours": [NOON], **end},
    }

    (reading,) = read(paged(method), lambda sent: script[sent.get("token")])

    assert [number for _, _, number in reading.counts] == [2]
    assert reading.drift == {}


def test_an_incomplete_answer_is_asked_for_in_halves() -> None:
    def vendor(sent: dict[str, str]) -> dict[str, Any]:
        hours = range(int(sent["from"]), int(sent["to"]), HOUR_MS)
        return {"hours": list(hours)[:2], "complete": len(hours) <= 2}

    (reading,) = read(replace(query(), complete=lambda page: page.complete), vendor)

    assert len(reading.counts) == 4
