"""What a query reads from an answer: a type that decodes only its fields, and functions."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from operator import attrgetter, itemgetter
from typing import Any, Literal, TypeAlias

import msgspec

from exporter.config.source import spelled
from exporter.errors import SchemaError
from exporter.model.query import LabelRule
from exporter.model.samples import LARGEST_EXACT, Family, Series
from exporter.providers.base.rows import Labels
from exporter.providers.manifest.expressions import (
    ExpressionError,
    Step,
    changes_clock,
    parse,
)
from exporter.providers.manifest.model import ManifestQuery

LARGEST = 10**30
MOST_DIGITS = 60
_SPELLED = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
Scalar: TypeAlias = str | int | float | bool
RowContext: TypeAlias = tuple[Any, ...]
"""The answer, then the item of each level down to the row."""

ReadField: TypeAlias = Callable[[RowContext], Any]

ANSWER = "answer"
EACH = "each"


@dataclass(slots=True)
class FieldTree:
    """The declared fields of one value; ``leaf`` is the type of a value that is read itself.

    ``children`` are the members of an object, or the items of a list or the entries of a map.
    """

    children: dict[Step, "FieldTree"] = field(default_factory=dict)
    leaf: Any = None

    def at(self, steps: Sequence[Step]) -> "FieldTree":
        """Return the tree at the end of ``steps``, creating what is missing."""
        tree = self
        for step in steps:
            tree = tree._child(step)
        return tree

    def declare(self, steps: Sequence[Step], leaf: Any = Scalar) -> None:
        """Declare the value at the end of ``steps``; a decimal is read as nothing else."""
        if steps and steps[-1].kind == "key":
            return
        tree = self.at(steps)
        if tree.leaf not in (None, leaf):
            words = "this field is read both as a decimal and as a whole number or text"
            hint = "all elements of a list share their fields; read one in a query of its own"
            raise ExpressionError(words, hint=hint)
        tree.leaf = leaf
        tree.check()

    def paths(self, path: str = "") -> list[str]:
        """Return the declared fields as text, for ``manifest test`` and for messages."""
        found = [path or "(answer)"] if self.leaf is not None else []
        for step, tree in self.children.items():
            dotted = f"{path}.{step.name}" if path else step.name
            place = {"each": path + "[]", "entries": path + "{}"}.get(step.kind, dotted)
            found += tree.paths(place)
        return found

    def type(self) -> Any:
        """Return the type that decodes this value; absent fields below it are ``UNSET``."""
        if self.leaf is not None:
            return self.leaf
        members = [(step, tree.type() | None) for step, tree in self.children.items()]
        for step, kind in members:
            if step.kind == "each":
                return list[kind]  # type: ignore[valid-type] # made at run time
            if step.kind == "entries":
                return dict[str, kind]  # type: ignore[valid-type] # likewise
        names = {attribute(step.name): step.name for step, _ in members}
        optional = [
            (name, kind | msgspec.UnsetType, msgspec.UNSET)
            for name, (_, kind) in zip(names, members, strict=True)
        ]
        return msgspec.defstruct("Fields", optional, rename=names, gc=False)

    def check(self) -> None:
        """Raise ``ExpressionError`` if the value is read in two ways."""
        if len({step.kind for step in self.children}) + (self.leaf is not None) > 1:
            raise ExpressionError("this field is read in two ways: value, list, map or object")

    def _child(self, step: Step) -> "FieldTree":
        if step.kind == "key":
            raise ExpressionError("@key is the name of a map's entry and has no fields")
        place = Step("each") if step.kind == "match" else step
        child = self.children.setdefault(place, FieldTree())
        if step.kind == "match":
            child.declare([Step("field", step.name)])
        self.check()
        return child


def attribute(name: str) -> str:
    """Return the attribute that holds the JSON member ``name``, which may be any text."""
    return "f" + name.encode().hex()


def reader(steps: Sequence[Step], number: int = 0, *, entries: bool = False) -> ReadField:
    """Return a function that follows ``steps`` from a row's item of level ``number``.

    It returns ``UNSET`` if the value is absent, and a list of several values. Items that are
    ``entries`` of a map are pairs of key and value.
    """
    if entries:
        if [step.kind for step in steps] == ["key"]:
            return lambda context: context[number][0]
        return lambda context: follow(context[number][1], steps)
    if len(steps) == 1 and steps[0].kind == "field":
        item, value = itemgetter(number), attrgetter(attribute(steps[0].name))
        return lambda context: None if (found := item(context)) is None else value(found)
    return lambda context: follow(context[number], steps)


def follow(value: Any, steps: Sequence[Step]) -> Any:
    """Return the value or values at the end of ``steps`` from a decoded ``value``."""
    for index, step in enumerate(steps):
        if value is None or value is msgspec.UNSET:
            return value
        match step.kind:
            case "field":
                value = getattr(value, attribute(step.name))
            case "match":
                value = _matching(value, step)
            case "each" | "entries":
                found = value.values() if step.kind == "entries" else value
                return [each for item in found for each in _flat(item, steps[index + 1 :])]
            case "key":
                raise AssertionError("only an entry has a key")
    return value


def _flat(item: Any, steps: Sequence[Step]) -> list[Any]:
    found = follow(item, steps)
    return found if isinstance(found, list) else [found]


def _matching(items: Sequence[Any], step: Step) -> Any:
    name = attribute(step.name)
    found = [
        each for each in items if each is not None and as_text(getattr(each, name)) == step.value
    ]
    if len(found) > 1:
        raise SchemaError(f"[{step.name}={step.value}]: more than one item")
    return found[0] if found else msgspec.UNSET


def or_none(value: Any) -> Any:
    """Return ``value``, or None if it is absent."""
    return None if value is msgspec.UNSET else value


def as_text(value: Scalar | msgspec.UnsetType | None) -> str | None:
    """Return ``value`` as a label shows it: 4.0 as ``4``, True as ``true``; None if absent."""
    if isinstance(value, str):
        return value
    if value is None or value is msgspec.UNSET:
        return None
    return spelled(value)


class Exact(Decimal):
    """A number with all the digits that it has in the answer, decoded by ``decode_exact``."""


def decode_exact(_kind: type, value: Any) -> Exact:
    """Return ``value``, which is a number or spells one as JSON does, with all its digits.

    Raises ``ValueError`` for anything else, and msgspec adds the path. The spelling is checked
    because Python would accept ``1_0`` and digits of other scripts.
    """
    spelled_right = isinstance(value, str) and _SPELLED.fullmatch(value)
    number = None
    if spelled_right or (isinstance(value, int) and not isinstance(value, bool)):
        with suppress(InvalidOperation):  # an exponent of twenty digits
            number = Exact(value)
    if number is None or number.copy_abs() > LARGEST:
        raise ValueError("expected an amount")
    if len(number.as_tuple().digits) > MOST_DIGITS:
        raise ValueError(f"an amount of more than {MOST_DIGITS} digits")
    return number


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Admits rows whose ``field`` has one of ``values`` (None: null), or none if it ``excludes``.

    If the field is ``optional``, it may be absent from all rows.
    """

    field: str
    read: ReadField
    values: frozenset[str | None]
    excludes: bool = False
    optional: bool = False

    def admits(self, value: Any) -> bool:
        """Return whether a row passes if its field has ``value``."""
        return (as_text(value) in self.values) != self.excludes


@dataclass(frozen=True, slots=True)
class ReadLabel:
    """One label of a row: ``constant``, a variable's name, or a field and what its null means.

    ``where`` is the label and the field, as in ``labels.model: row.model``.
    """

    constant: str = ""
    variable: str = ""
    where: str = ""
    read: ReadField | None = None
    null: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RowFeed:
    """What a row adds to ``family``, or shows as a gauge.

    ``values``, with their paths, are added up; without any, the row counts ``constant``. ``exact``:
    they are decimals, and their sum times ``scale`` is rounded to the family's resolution. ``only``
    selects the rows that count. ``of`` is ``additive`` or the class of a gauge. ``looped`` is the
    loop's value that the feed belongs to, if there is one. ``bind`` completes ``labels``.
    """

    family: Family
    field: str
    values: tuple[tuple[str, ReadField], ...]
    labels: Mapping[str, ReadLabel]
    constant: int = 1
    scale: Decimal = Decimal(1)
    exact: bool = False
    only: tuple[RowFilter, ...] = ()
    missing: Literal["zero", "keep", "error"] = "keep"
    of: str = "additive"
    window: str = ""
    looped: str = ""

    @property
    def least(self) -> int:
        """Return the smallest valid value: an average or a ratio may be negative."""
        return -LARGEST_EXACT if self.of in ("average", "ratio") else 0

    @property
    def constants(self) -> tuple[str, ...] | None:
        """Return the label values, or None if some are read from rows."""
        fixed = all(label.read is None for label in self.labels.values())
        return tuple(label.constant for label in self.labels.values()) if fixed else None

    def bind(self, given: Mapping[str, str]) -> "RowFeed":
        """Return the feed with every label of its family, and with all variables replaced."""
        labels = {}
        for name in self.family.labels[2:]:
            none = ReadLabel(self.window if name == "window" else "")
            label = self.labels.get(name, none)
            labels[name] = ReadLabel(given[label.variable]) if label.variable else label
        return replace(self, labels=labels)


@dataclass(frozen=True, slots=True)
class RowLevel:
    """A list or, with ``entries``, a map in the level before; its items are the next level."""

    name: str
    path: str
    read: ReadField
    entries: bool


@dataclass(frozen=True, slots=True)
class RowProgram:
    """How an answer, which ``answer`` decodes, is read; functions take the context of a row.

    ``at`` returns the instant of the item at level ``at_level`` in UTC milliseconds. ``next`` reads
    the cursor, ``next_top`` and ``next_holder`` the first and the last object on the way to it.
    ``expect`` applies to every row, ``expect_answer`` to the answer, even if it has no rows.
    """

    answer: Any
    levels: tuple[RowLevel, ...]
    feeds: tuple[RowFeed, ...]
    at: Callable[[RowContext], int] | None = None
    at_level: int = 1
    until: Callable[[RowContext], int] | None = None
    id: ReadField | None = None
    only: tuple[RowFilter, ...] = ()
    expect: tuple[RowFilter, ...] = ()
    expect_answer: tuple[RowFilter, ...] = ()
    next: ReadField | None = None
    next_top: ReadField | None = None
    next_holder: ReadField | None = None
    more: ReadField | None = None
    total: ReadField | None = None
    declared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """A query of a manifest without errors; ``bind`` makes it a query of a target."""

    name: str
    settings: ManifestQuery
    program: RowProgram
    secrets: frozenset[str]

    def bind(
        self, variables: Mapping[str, str]
    ) -> Iterator[tuple[Mapping[str, str], "CompiledQuery"]]:
        """Yield the query for a target, once for each value of its loop, with the value by name."""
        loop = self.settings.for_each
        looped = [{name: value} for name, values in loop.items() for value in values]
        for each in looped or [dict[str, str]()]:
            given = {f"variables.{name}": value for name, value in variables.items()}
            given |= {f"{EACH}.{name}": value for name, value in each.items()}
            feeds = [f.bind(given) for f in self.program.feeds if f.looped in ("", *each.values())]
            yield each, replace(self, program=replace(self.program, feeds=tuple(feeds)))

    @property
    def label_rules(self) -> Mapping[str, LabelRule]:
        """Return how raw label values become those that are shown, by label."""
        return {
            label: LabelRule(rule.map, None if rule.allow is None else frozenset(rule.allow))
            for label, rule in self.settings.label_rules.items()
        }

    @property
    def fixed(self) -> Mapping[Series, RowFeed]:
        """Return the series whose labels do not depend on rows, and what feeds each."""
        labels, feeds = Labels(self.label_rules, sys.maxsize), self.program.feeds
        known = [(feed, feed.constants) for feed in feeds]
        return {labels.series(f.family, *c): f for f, c in known if c is not None}

    @property
    def local_zone(self) -> str | None:
        """Return the zone whose clock change repeats an hour of the buckets; None: none does."""
        zone = self.settings.window.timezone
        at = self.settings.at and parse(self.settings.at).instant
        local = at and (at.name == "iso" or (at.name == "strptime" and "%z" not in at.argument))
        buckets = self.settings.shape == "buckets"
        return zone if buckets and local and changes_clock(zone) else None

    @property
    def one_a_bucket(self) -> bool:
        """Return whether two rows of one instant can only be duplicates."""
        of_rows = self.program.at_level == len(self.program.levels)
        return of_rows and all(feed.constants is not None for feed in self.program.feeds)
