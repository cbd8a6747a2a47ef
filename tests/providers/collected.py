"""What a provider's pure function makes of items: the reading of one window."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from exporter.model.query import LabelRule, QuerySpec
from exporter.model.samples import Reading, Window
from exporter.providers.base.rows import Rows

ItemT = TypeVar("ItemT")


def collected(
    collect: Callable[[Sequence[ItemT], Rows], None],
    items: Sequence[ItemT],
    window: Window,
    *,
    label_rules: Mapping[str, LabelRule] | None = None,
    memo: Mapping[str, Any] | None = None,
    lists_of: Iterable[str] = (),
) -> Reading:
    """Return the reading that ``collect`` makes of ``items``."""
    spec = QuerySpec("shop", "acme", "hourly", {}, label_rules=label_rules or {})
    rows = Rows(window, spec, memo or {})
    rows.list_of(*lists_of)
    collect(items, rows)
    return rows.reading()
