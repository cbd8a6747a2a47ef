"""Inkeep's query language over rows in memory: select, groupBy, where and orderBy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any

from exporter.simulator.inkeep_filter import TIMES, Row, check, fields_of, keeps, value_at
from exporter.simulator.server import Refusal

AGGREGATIONS = frozenset({"sum", "count", "countDistinct", "avg", "min", "max"})
UNITS = frozenset({"hour", "day", "week", "month"})
KEYS = frozenset({"select", "groupBy", "where", "orderBy", "notes"})
MAX_NOTES = 80


Weighted = tuple[Row, int]
"""A row, and how many equal ones it stands for."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the result: a raw value, a time bucket or an aggregation."""

    kind: str
    field: str = ""
    path: tuple[str, ...] = ()
    function: str = ""
    shown: bool = True

    @property
    def name(self) -> str:
        """Return the key that the vendor gives it."""
        source = ".".join((self.field, *self.path))
        match self.kind:
            case "time":
                return f"{self.field}_{self.function}"
            case "aggregation":
                return f"{self.function}_{source}" if self.field else self.function
            case _:
                return source


@dataclass(frozen=True, slots=True)
class Query:
    """A request that was checked against the vendor's schema."""

    select: tuple[Column, ...]
    group_by: tuple[Column, ...]
    where: Mapping[str, Any] | None
    order_by: tuple[tuple[str, bool], ...]

    @property
    def keys(self) -> tuple[Column, ...]:
        """Return what rows are grouped by."""
        return (*(column for column in self.select if column.kind == "time"), *self.group_by)

    @property
    def aggregations(self) -> tuple[Column, ...]:
        return tuple(column for column in self.select if column.kind == "aggregation")

    @property
    def lists_rows(self) -> bool:
        """Say whether the answer is rows as they are kept."""
        return not self.keys and not self.aggregations

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns of the table that must be right; a count needs only that one is."""
        needed = [*self.keys, *self.select]
        return frozenset(
            column.field for column in needed if column.field and column.function != "count"
        ) | (fields_of(self.where) if self.where else frozenset())


def parse(body: Any, fields: Sequence[str], instant: str) -> Query:
    """Return the query that ``body`` is; refuse what the vendor's schema does not have.

    ``instant`` is the column that time buckets are of where none is named.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not a JSON object")
    if body.keys() - KEYS:
        raise Refusal(422, "unknown key")
    notes = body.get("notes", "")
    if not isinstance(notes, str) or len(notes) > MAX_NOTES:
        raise Refusal(422, "notes must be at most 80 characters")
    where = body.get("where")
    if where is not None:
        check(where, fields)
    query = Query(
        select=tuple(_selection(item, fields, instant) for item in _list(body, "select")),
        group_by=tuple(_grouping(item, fields) for item in _list(body, "groupBy")),
        where=where,
        order_by=tuple(_ordering(item, fields) for item in _list(body, "orderBy")),
    )
    _check_groups(query)
    return query


def run(query: Query, table: Sequence[Weighted]) -> list[dict[str, Any]]:
    """Return the result rows; time buckets are datetimes yet."""
    kept = [each for each in table if query.where is None or keeps(query.where, each[0])]
    if query.lists_rows:
        found = [_picked(query, row) for row, number in kept for _ in range(number)]
    else:
        found = _grouped(query, kept)
    for name, descending in reversed(query.order_by):
        if found and name not in found[0]:
            raise Refusal(422, "orderBy names a column that is not in the result")
        found.sort(key=partial(_rank, name), reverse=descending)
    return found


def _rank(name: str, row: Mapping[str, Any]) -> tuple[bool, Any]:
    value = row[name]
    return (True, value) if value is not None else (False, "")


def _grouped(query: Query, table: Sequence[Weighted]) -> list[dict[str, Any]]:
    keys = query.keys
    groups: dict[tuple[Any, ...], list[Weighted]] = {} if keys else {(): []}
    for row, number in table:
        key = tuple(_key(column, row) for column in keys)
        groups.setdefault(key, []).append((row, number))
    return [
        {
            **{
                column.name: value
                for column, value in zip(keys, values, strict=True)
                if column.shown
            },
            **{column.name: _aggregate(column, members) for column in query.aggregations},
        }
        for values, members in groups.items()
    ]


def _picked(query: Query, row: Row) -> dict[str, Any]:
    if not query.select:
        return dict(row)
    return {column.name: value_at(row, column.field, column.path) for column in query.select}


def _key(column: Column, row: Row) -> Any:
    value = value_at(row, column.field, column.path)
    if column.kind != "time" or value is None:
        return repr(value) if isinstance(value, list | dict) else value
    return _bucket(value, column.function)


@lru_cache(maxsize=4096)
def _bucket(value: str, unit: str) -> datetime:
    at = datetime.fromisoformat(value).astimezone(UTC)
    at = at.replace(minute=0, second=0, microsecond=0)
    match unit:
        case "hour":
            return at
        case "day":
            return at.replace(hour=0)
        case "week":  # from Monday
            return at.replace(hour=0) - timedelta(days=at.weekday())
        case _:
            return at.replace(hour=0, day=1)


def _aggregate(column: Column, rows: Sequence[Weighted]) -> Any:
    if not column.field:
        return sum(number for _, number in rows) if column.function == "count" else None
    values = [
        (value, number)
        for row, number in rows
        if (value := value_at(row, column.field, column.path)) is not None
    ]
    match column.function:
        case "count":
            return sum(number for _, number in values)
        case "countDistinct":
            return len({repr(value) for value, _ in values})
        case "min":
            return min((value for value, _ in values), default=None)
        case "max":
            return max((value for value, _ in values), default=None)
        case name:
            return _arithmetic(name, values)


def _arithmetic(name: str, values: Sequence[tuple[Any, int]]) -> Any:
    if not all(isinstance(value, int | float) for value, _ in values):
        raise Refusal(422, "the field has no numbers")
    if not values:
        return None
    total = sum(value * number for value, number in values)
    return total if name == "sum" else total / sum(number for _, number in values)


def _list(body: Mapping[str, Any], key: str) -> list[Any]:
    value = body.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Refusal(422, f"{key} must be a list of objects")
    return value


def _selection(item: Mapping[str, Any], fields: Sequence[str], instant: str) -> Column:
    match item:
        case {"type": "field", "field": field, **rest} if not rest.keys() - {"path"}:
            return Column("field", _known(field, fields), _path(rest))
        case {"type": "aggregation", "aggregation": str(name), **rest} if name in AGGREGATIONS:
            if rest.keys() - {"field", "path"}:
                raise Refusal(422, "unknown key in select")
            field = _known(rest["field"], fields) if "field" in rest else ""
            return Column("aggregation", field, _path(rest), name)
        case {"type": "time", "timeUnit": str(unit), **rest} if unit in UNITS:
            field = _known(rest.get("field", instant), fields)
            if field not in TIMES or rest.keys() - {"field"}:
                raise Refusal(422, "the field is not an instant")
            return Column("time", field, (), unit)
        case _:
            raise Refusal(422, "unknown kind of select")


def _grouping(item: Mapping[str, Any], fields: Sequence[str]) -> Column:
    shown = item.get("includeInSelect", True)
    if item.keys() - {"field", "path", "includeInSelect"} or not isinstance(shown, bool):
        raise Refusal(422, "unknown key in groupBy")
    return Column("field", _known(item.get("field"), fields), _path(item), shown=shown)


def _ordering(item: Mapping[str, Any], fields: Sequence[str]) -> tuple[str, bool]:
    buckets = {f"{field}_{unit}" for field in fields for unit in UNITS}
    numbers = {f"{name}_{field}" for field in fields for name in AGGREGATIONS - {"countDistinct"}}
    name, direction = item.get("field"), item.get("direction")
    if name not in {*fields, *buckets, *numbers} or direction not in {"asc", "desc"}:
        raise Refusal(422, "unknown field or direction in orderBy")
    return str(name), direction == "desc"


def _check_groups(query: Query) -> None:
    plain = [column for column in query.select if column.kind == "field"]
    grouped = {column.name for column in query.group_by}
    if (query.keys or query.aggregations) and any(one.name not in grouped for one in plain):
        raise Refusal(422, "a selected field must be in groupBy")


def _known(field: Any, fields: Sequence[str]) -> str:
    if field not in fields:
        raise Refusal(422, "unknown field")
    return str(field)


def _path(item: Mapping[str, Any]) -> tuple[str, ...]:
    path = item.get("path", [])
    if not isinstance(path, list) or not all(isinstance(key, str) for key in path):
        raise Refusal(422, "path must be a list of texts")
    return tuple(path)
