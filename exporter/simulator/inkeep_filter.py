"""Which rows an Inkeep ``where`` keeps: and, or and leaves, with SQL's sense of null."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from exporter.simulator.server import Refusal

Row = Mapping[str, Any]
TIMES = frozenset({"createdAt", "updatedAt", "firstMessageTime", "lastMessageTime", "lastUpdated"})
JSON_FIELDS = frozenset({"properties", "userProperties"})


def _contains(held: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(held, Mapping) and all(
            key in held and _contains(held[key], value) for key, value in wanted.items()
        )
    return bool(held == wanted)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": eq,
    "neq": ne,
    "gt": gt,
    "gte": ge,
    "lt": lt,
    "lte": le,
    "in": lambda held, wanted: held in wanted,
    "notIn": lambda held, wanted: held not in wanted,
    "arrayContains": lambda held, wanted: isinstance(held, list) and set(wanted) <= set(held),
    "jsonContains": _contains,
    "jsonContainedBy": lambda held, wanted: _contains(wanted, held),
    "jsonHasKey": lambda held, wanted: wanted in held,
    "jsonHasAnyKey": lambda held, wanted: any(key in held for key in wanted),
    "jsonHasAllKeys": lambda held, wanted: all(key in held for key in wanted),
}
OPERATORS = _COMPARISONS.keys() | {"isNull", "isNotNull"}


def value_at(row: Row, field: str, path: Sequence[str] = ()) -> Any:
    """Return a column, or what lies at ``path`` in a JSON column; None where nothing does."""
    value = row.get(field)
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def check(node: Any, fields: Sequence[str]) -> None:
    """Refuse a filter that the vendor's schema does not have."""
    match node:
        case {"condition": {"field": field, "operator": operator, **rest}} if len(node) == 1:
            if field not in fields or operator not in OPERATORS or rest.keys() - {"value"}:
                raise Refusal(422, "unknown field or operator in a condition")
        case {"and": list(nodes)} | {"or": list(nodes)} if len(node) == 1:
            for each in nodes:
                check(each, fields)
        case _:
            raise Refusal(422, "expected a condition, and, or or")


def fields_of(node: Mapping[str, Any]) -> frozenset[str]:
    """Return the columns that a filter that was checked looks at."""
    if "condition" in node:
        return frozenset({node["condition"]["field"]})
    return frozenset().union(*map(fields_of, node.get("and") or node.get("or") or ()))


def bounds(node: Mapping[str, Any] | None, instant: str) -> tuple[int | None, int | None]:
    """Return the range, in UTC milliseconds, that a filter surely keeps ``instant`` in."""
    nodes = (node.get("and") or [node]) if node else []
    lowest: list[int] = []
    highest: list[int] = []
    for each in nodes:
        if _is_bound(each, instant):
            condition = each["condition"]
            edges = lowest if condition["operator"] == "gte" else highest
            edges.append(round(_instant(condition.get("value")) * 1000))
    return max(lowest, default=None), min(highest, default=None)


def without_bounds(node: Mapping[str, Any] | None, instant: str) -> Mapping[str, Any] | None:
    """Return the filter that is left where every row is known to be in ``bounds``."""
    if node is None:
        return None
    nodes = node.get("and") or [node]
    return {"and": [each for each in nodes if not _is_bound(each, instant)]}


def _is_bound(node: Mapping[str, Any], instant: str) -> bool:
    condition = node.get("condition", {})
    return condition.get("field") == instant and condition["operator"] in {"gte", "lt"}


def keeps(node: Mapping[str, Any], row: Row) -> bool:
    """Say whether ``row`` passes a filter that was checked."""
    if "and" in node:
        return all(keeps(each, row) for each in node["and"])
    if "or" in node:
        return any(keeps(each, row) for each in node["or"])
    return _holds(node["condition"], row)


def _holds(condition: Mapping[str, Any], row: Row) -> bool:
    field, wanted, path = condition["field"], condition.get("value"), []
    if field in JSON_FIELDS and isinstance(wanted, Mapping) and wanted.keys() == {"path", "value"}:
        path, wanted = wanted["path"], wanted["value"]
    held = value_at(row, field, path)
    match condition["operator"]:
        case "isNull":
            return held is None
        case "isNotNull":
            return held is not None
        case operator:
            if held is None or wanted is None:
                return False
            if field in TIMES:
                held, wanted = _instant(held), _instant(wanted)
            return _compare(operator, held, wanted)


def _compare(operator: str, held: Any, wanted: Any) -> bool:
    try:
        return _COMPARISONS[operator](held, wanted)
    except TypeError:
        raise Refusal(422, "the value does not fit the operator") from None


@lru_cache(maxsize=4096)
def _instant(value: Any) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError):
        raise Refusal(422, "expected an ISO-8601 instant") from None
