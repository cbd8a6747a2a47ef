"""A declared query asks for its window span by span."""

from collections.abc import Sequence
from typing import Any

import msgspec

from exporter.model.families import INTERACTIONS
from exporter.model.query import PollRequest, QuerySpec
from exporter.model.samples import HOUR_MS, Window
from exporter.providers.base.declared import DeclaredQuery
from exporter.providers.base.rows import Rows
from tests.providers.vendor import build_target, played, read
from tests.support.virtual import START_MS

NOON = 1_772_539_200_000  # 2026-03-03T12:00:00Z
WINDOW = Window(NOON, NOON + 4 * HOUR_MS)


class Page(msgspec.Struct):
    """Hours."""

    hours: list[int]


def collect(hours: Sequence[int], rows: Rows) -> None:
    for hour_ms in hours:
        rows.count(INTERACTIONS, ("p",), hour_ms, 1)
    rows.remember(polls=rows.memo.get("polls", 0) + 1)


def query() -> DeclaredQuery[Page, int]:
    """Return a query that reads three hours at once."""
    return DeclaredQuery(
        spec=QuerySpec("shop", "acme", "hourly", {"endpoint": "GET /x"}, span_ms=3 * HOUR_MS),
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
