"""The part of Inkeep's query language that grouped counts need; other queries are 422."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from exporter.simulator.server import Refusal
from exporter.simulator.times import DAY_MS, HOUR_MS, milliseconds
from exporter.simulator.traffic import Window

WeightedRow = tuple[Mapping[str, Any], int]
"""A row, and how many equal rows it stands for."""


class TimeColumn(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="time"):
    """The hour of an instant, by which rows are grouped."""

    field: str
    unit: Literal["hour"] = msgspec.field(name="timeUnit")

    @property
    def name(self) -> str:
        """Return the key that the vendor gives the column."""
        return f"{self.field}_hour"

    def value(self, row: Mapping[str, Any]) -> datetime:
        """Return the hour of ``row``."""
        return datetime.fromtimestamp(row[self.field] // HOUR_MS * HOUR_MS / 1000, UTC)


class Group(msgspec.Struct, forbid_unknown_fields=True):
    """A field, or what a path leads to in it, by which rows are grouped."""

    field: str
    path: list[str] = []
    selected: bool = msgspec.field(name="includeInSelect", default=True)

    @property
    def name(self) -> str:
        """Return the key that the vendor gives the column."""
        return ".".join((self.field, *self.path))

    def value(self, row: Mapping[str, Any]) -> Any:
        """Return the value in ``row``; None if the path does not exist."""
        value: Any = row.get(self.field)
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


class Aggregation(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="aggregation"):
    """A number of the rows of a group."""

    field: str
    function: Literal["sum", "count", "countDistinct"] = msgspec.field(name="aggregation")
    path: list[str] = []

    @property
    def name(self) -> str:
        """Return the key that the vendor gives the column."""
        return f"{self.function}_{Group(self.field, self.path).name}"

    def number(self, rows: Sequence[WeightedRow]) -> int:
        """Return the number for ``rows``; a value that does not exist is left out."""
        source = Group(self.field, self.path)
        values = [(source.value(row), weight) for row, weight in rows]
        present = [(value, weight) for value, weight in values if value is not None]
        match self.function:
            case "count":
                return sum(weight for _, weight in present)
            case "countDistinct":
                return len({repr(value) for value, _ in present})
            case "sum":
                return sum(value * weight for value, weight in present)


class FieldCondition(msgspec.Struct, forbid_unknown_fields=True):
    """A field is a value, or an instant lies in a range."""

    field: str
    operator: Literal["eq", "gte", "lt"]
    value: str


class Clause(msgspec.Struct, forbid_unknown_fields=True):
    """A condition, or several of which one must hold."""

    condition: FieldCondition | None = None
    either: list["Clause"] = msgspec.field(name="or", default_factory=list)

    @property
    def alternatives(self) -> list[FieldCondition]:
        """Return the conditions of which one must hold."""
        alone = [] if self.condition is None else [self.condition]
        return alone + [one for clause in self.either for one in clause.alternatives]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """A column of the result to sort by."""

    field: str
    direction: Literal["asc"]


class GroupQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    select: list[TimeColumn | Aggregation] = []
    group_by: list[Group] = msgspec.field(name="groupBy", default_factory=list)
    where: dict[Literal["and"], list[Clause]] = {}
    order_by: list[Order] = msgspec.field(name="orderBy", default_factory=list)
    notes: Annotated[str, msgspec.Meta(max_length=80)] = ""

    @property
    def keys(self) -> list[TimeColumn | Group]:
        """Return what rows are grouped by."""
        return [*(each for each in self.select if isinstance(each, TimeColumn)), *self.group_by]

    @property
    def aggregations(self) -> list[Aggregation]:
        """Return the numbers that are asked for."""
        return [each for each in self.select if isinstance(each, Aggregation)]

    @property
    def conditions(self) -> list[list[FieldCondition]]:
        """Return alternatives of which one must hold, without the range."""
        return [one for one in self._clauses if all(each.operator == "eq" for each in one)]

    @property
    def edges(self) -> list[FieldCondition]:
        """Return the conditions of the range."""
        return [each for one in self._clauses for each in one if each.operator != "eq"]

    @property
    def _clauses(self) -> list[list[FieldCondition]]:
        return [clause.alternatives for clause in self.where.get("and", [])]

    @property
    def fields(self) -> frozenset[str]:
        """Return the columns whose values matter."""
        counted = {each.field for each in self.aggregations if each.function != "count"}
        compared = {each.field for either in self.conditions for each in either}
        return frozenset(counted | compared | {key.field for key in self.keys})

    def range(self, now_ms: int) -> Window:
        """Return the range; without a start it is a day, and it ends now at the latest."""
        edges = {edge.operator: milliseconds(edge.value) for edge in self.edges}
        end_ms = min(now_ms + 1, edges.get("lt", now_ms + 1))
        return edges.get("gte", end_ms - DAY_MS), end_ms

    def check(self, fields: Sequence[str], instant: str) -> None:
        """Raise ``Refusal`` unless every name is a column's and every instant is ``instant``."""
        columns = {key.name for key in self.keys} | {each.name for each in self.aggregations}
        hours = {each.field for each in self.keys if isinstance(each, TimeColumn)}
        if (
            not self.fields | {each.field for each in self.aggregations} <= set(fields)
            or not hours | {edge.field for edge in self.edges} <= {instant}
            or not {order.field for order in self.order_by} <= columns
        ):
            raise Refusal(422, "unknown field")


def run(query: GroupQuery, table: Sequence[WeightedRow]) -> list[dict[str, Any]]:
    """Return the result rows; an hour is a ``datetime``."""
    groups: dict[tuple[Any, ...], list[WeightedRow]] = {} if query.keys else {(): []}
    conditions = query.conditions
    for row, weight in table:
        if all(any(row.get(each.field) == each.value for each in either) for either in conditions):
            key = tuple(column.value(row) for column in query.keys)
            groups.setdefault(key, []).append((row, weight))
    names = [column.name for column in query.keys]
    found = [
        dict(zip(names, values, strict=True))
        | {column.name: column.number(rows) for column in query.aggregations}
        for values, rows in groups.items()
    ]
    for order in reversed(query.order_by):
        found.sort(key=lambda row: row[order.field])
    return found
