"""The part of Inkeep's query language that grouped counts need; other queries are 422."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from exporter.simulator.server import Refusal

AGGREGATIONS = frozenset({"sum", "count", "countDistinct"})
KEYS = frozenset({"select", "groupBy", "where", "orderBy", "notes"})
MAX_NOTES = 80
HOUR_MS = 3_600_000
WeightedRow = tuple[Mapping[str, Any], int]
"""A row, and how many equal rows it stands for."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the result: a value, an hour or an aggregation (``function``)."""

    field: str
    path: tuple[str, ...] = ()
    function: str = ""

    @property
    def name(self) -> str:
        """Return the key that the vendor gives the column."""
        if self.function == "hour":
            return f"{self.field}_hour"
        source = ".".join((self.field, *self.path))
        return f"{self.function}_{source}" if self.function else source

    def value(self, row: Mapping[str, Any]) -> Any:
        """Return the value in ``row``; None if the path does not exist."""
        value: Any = row.get(self.field)
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if self.function == "hour" and isinstance(value, int):
            return datetime.fromtimestamp(value // HOUR_MS * 3600, UTC)
        return value


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """A checked query. ``where`` holds alternatives ``(field, value)``, one of each list true."""

    keys: tuple[Column, ...]
    aggregations: tuple[Column, ...]
    where: tuple[tuple[tuple[str, Any], ...], ...]
    order_by: tuple[tuple[str, bool], ...]
    start_ms: int | None = None
    end_ms: int | None = None

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns whose values matter."""
        counted = {one.field for one in self.aggregations if one.function != "count"}
        filtered = {field for either in self.where for field, _ in either}
        return frozenset(counted | filtered | {one.field for one in self.keys})


def parse(body: Any, fields: Sequence[str], instant: str) -> GroupQuery:
    """Check ``body`` against the columns ``fields``; ``instant`` is the column of the range."""
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not a JSON object")
    notes = body.get("notes", "")
    if body.keys() - KEYS or not isinstance(notes, str) or len(notes) > MAX_NOTES:
        raise Refusal(422, "unknown key, or notes of more than 80 characters")
    selected = [_selected(item, fields, instant) for item in _list(body, "select")]
    hours = [column for column in selected if column.function == "hour"]
    groups = [_grouped_by(item, fields) for item in _list(body, "groupBy")]
    keys = (*hours, *groups)
    aggregations = tuple(column for column in selected if column.function != "hour")
    names = {column.name for column in (*keys, *aggregations)}
    edges: dict[str, int] = {}
    where: list[tuple[tuple[str, Any], ...]] = []
    for node in _nodes(body.get("where", {"and": []}), "and"):
        match node:
            case {"condition": {"field": field, "operator": "gte" | "lt" as edge, "value": value}}:
                if field != instant:
                    raise Refusal(422, "the range must be one of the view's instant")
                edges[edge] = _milliseconds(value)
            case {"or": _}:
                where.append(tuple(_equals(each, fields) for each in _nodes(node, "or")))
            case _:
                where.append((_equals(node, fields),))
    order_by = tuple(_ordering(item, names) for item in _list(body, "orderBy"))
    return GroupQuery(keys, aggregations, tuple(where), order_by, edges.get("gte"), edges.get("lt"))


def run(query: GroupQuery, table: Sequence[WeightedRow]) -> list[dict[str, Any]]:
    """Return the result rows; an hour is a ``datetime``."""
    groups: dict[tuple[Any, ...], list[WeightedRow]] = {} if query.keys else {(): []}
    for row, number in table:
        if all(any(row.get(field) == value for field, value in either) for either in query.where):
            key = tuple(column.value(row) for column in query.keys)
            groups.setdefault(key, []).append((row, number))
    names = [column.name for column in query.keys]
    found = [
        dict(zip(names, values, strict=True))
        | {column.name: _aggregate(column, rows) for column in query.aggregations}
        for values, rows in groups.items()
    ]
    for name, descending in reversed(query.order_by):
        found.sort(key=lambda row: (row[name] is not None, row[name] or ""), reverse=descending)
    return found


def _aggregate(column: Column, rows: Sequence[WeightedRow]) -> int:
    values = [(column.value(row), number) for row, number in rows]
    present = [(value, number) for value, number in values if value is not None]
    match column.function:
        case "count":
            return sum(number for _, number in present)
        case "countDistinct":
            return len({repr(value) for value, _ in present})
        case _:
            if not all(isinstance(value, int) for value, _ in present):
                raise Refusal(422, "the column holds no numbers")
            return sum(value * number for value, number in present)


def _list(body: Mapping[str, Any], key: str) -> list[Any]:
    value = body.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refusal(422, f"{key} must be a list of objects")
    return value


def _nodes(node: Any, key: str) -> list[Any]:
    if not isinstance(node, dict) or node.keys() != {key}:
        raise Refusal(422, f"where: expected {key}")
    return _list(node, key)


def _selected(item: Mapping[str, Any], fields: Sequence[str], instant: str) -> Column:
    match item:
        case {"type": "time", "timeUnit": "hour", "field": field} if field == instant:
            return Column(field, function="hour")
        case {"type": "aggregation", "aggregation": str(name), "field": field, **rest}:
            if name in AGGREGATIONS and not rest.keys() - {"path"}:
                return Column(_known(field, fields), _path(rest), name)
        case _:
            pass
    raise Refusal(422, "unknown select")


def _grouped_by(item: Mapping[str, Any], fields: Sequence[str]) -> Column:
    if item.keys() - {"field", "path", "includeInSelect"}:  # the client adds the last, always true
        raise Refusal(422, "unknown key in groupBy")
    return Column(_known(item.get("field"), fields), _path(item))


def _ordering(item: Mapping[str, Any], names: set[str]) -> tuple[str, bool]:
    name, direction = item.get("field"), item.get("direction")
    if name not in names or direction not in {"asc", "desc"}:
        raise Refusal(422, "unknown field or direction in orderBy")
    return str(name), direction == "desc"


def _equals(node: Any, fields: Sequence[str]) -> tuple[str, Any]:
    match node:
        case {"condition": {"field": field, "operator": "eq", "value": value}}:
            return _known(field, fields), value
        case _:
            raise Refusal(422, "unknown condition")


def _known(field: Any, fields: Sequence[str]) -> str:
    if field not in fields:
        raise Refusal(422, "unknown field")
    return str(field)


def _path(item: Mapping[str, Any]) -> tuple[str, ...]:
    path = item.get("path", [])
    if not isinstance(path, list) or not all(isinstance(key, str) for key in path):
        raise Refusal(422, "path must be a list of strings")
    return tuple(path)


def _milliseconds(value: Any) -> int:
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    except (TypeError, ValueError):
        raise Refusal(422, "expected an ISO 8601 instant") from None
