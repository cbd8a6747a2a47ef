"""How Voiceflow's v2 usage API pages: keyset cursors over rows that are not in time order."""

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.simulator.voiceflow_rows import Row

PAGE_MODES = frozenset(
    {
        "end_without_cursor",  # the last page lacks the cursor, and no empty page follows
        "end_with_cursor",  # even the empty page has a cursor
        "zero_cursor",  # the first page's cursor is 0
        "repeated_cursor",  # every page is the first one, with its cursor
    }
)


def page(
    rows: Sequence[Row], cursor: int | None, limit: int, modes: Mapping[str, Any]
) -> tuple[list[Row], int | None]:
    """Return one page and its cursor.

    Rows are ordered by their row id, and a cursor is the last id of a page. The last page that
    has rows has a cursor like any other; the page after it is empty and has none.
    """
    ordered = sorted(rows, key=lambda row: row.id)
    if "repeated_cursor" in modes:
        cursor = None
    ids = list(range(len(ordered))) if "zero_cursor" in modes else [row.id for row in ordered]
    shift = limit - 1 if "zero_cursor" in modes else 0
    begin = sum(1 for number in ids if cursor is not None and number - shift <= cursor)
    found = ordered[begin : begin + limit]
    if not found:
        return [], (cursor or 0) if "end_with_cursor" in modes else None
    if "end_without_cursor" in modes and begin + limit >= len(ordered):
        return found, None
    return found, ids[begin + len(found) - 1] - shift
