"""A declared query asks for its window span by span."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from exporter.errors import Truncated
from exporter.model.families import INTERACTIONS
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, Window
from exporter.providers.base import rows as rows_module
from exporter.providers.base.declared import Cursor, DeclaredQuery
from exporter.providers.base.rows import Rows
from tests.providers.vendor import build_target, played, read
from tests.support.builders import spec
from tests.support.virtual import START_MS

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
WINDOW = Window(NOON, NOON + 4 * HOUR_MS)
MIB = 1024 * 1024
CURSOR = Cursor(
    next=lambda page: page.next, send=["next"], page_rows=10, most_pages=1000, empty_pages=True
)


class Page(msgspec.Struct):
    """Hours."""

    hours: list[int]
    next: int = 0


def collect(hours: Sequence[int], rows: Rows) -> None:
    for hour_ms in hours:
        rows.count(INTERACTIONS, ("p",), hour_ms, 1)
    rows.remember(polls=rows.memo.get("polls", 0) + 1)


def query() -> DeclaredQuery[Page, int]:
    """Return a query that reads three hours at once."""
    return DeclaredQuery(
        spec=spec(meaning={"endpoint": "GET /x"}, span_ms=3 * HOUR_MS),
        parameters=lambda window: {"from": window.start_ms, "to": window.end_ms},
        answer=Page,
        items=lambda page: page.hours,
        collect=collect,
    )


def test_a_window_is_read_in_spans_that_share_a_memo() -> None:
    target = build_target(provider="flowxo", api_key="k", project="p")
    request = PollRequest(WINDOW, START_MS, memo={"polls": 5})
    asked: list[tuple[int, int]] = []

    def vendor(sent: dict[str, str]) -> dict[str, Any]:
        asked.append((int(sent["from"]), int(sent["to"])))
        return {"hours": [int(sent["from"])]}

    readings = read(target, query(), played(vendor), request)

    assert asked == [(NOON, NOON + 3 * HOUR_MS), (NOON + 3 * HOUR_MS, WINDOW.end_ms)]
    assert [(reading.memo, reading.more) for reading in readings] == [
        ({"polls": 6}, True),
        ({"polls": 7}, False),
    ]


@pytest.mark.parametrize("pages", [None, CURSOR], ids=["halved", "paged"])
@pytest.mark.parametrize(
    ("filler", "items", "calls"),
    [(15 * MIB, 0, "7 answers of more than 512 MiB"), (0, 200_000, "6 more than 1,000,000 items")],
    ids=["bytes", "items"],
)
def test_answers_without_end_are_given_up_before_they_fill_the_memory(
    pages: Cursor | None,
    filler: int,
    items: int,
    calls: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows_module, "MOST_BYTES", 100 * MIB)
    target = build_target(provider="flowxo", api_key="k", project="p")
    asked = 0

    def vendor(_sent: dict[str, str]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"hours": [NOON] * items, "next": asked, "filler": "x" * filler}

    week = Window(NOON, NOON + 168 * HOUR_MS)
    spec = replace(query().spec, span_ms=week.length_ms)
    endless = replace(query(), spec=spec, pages=pages, complete=lambda _: False)

    with pytest.raises(Truncated) as refused:
        read(target, endless, played(vendor), PollRequest(week, START_MS))
    assert str(refused.value) == f"GET /x: {calls[2:]} for one reading"
    assert asked == int(calls[0])
