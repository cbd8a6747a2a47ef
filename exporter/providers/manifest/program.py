"""What a query reads of an answer, compiled from its expressions: data and small functions."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from exporter.model.query import LabelRule
from exporter.model.samples import LARGEST_EXACT, Family, Series
from exporter.providers.base.rows import Labels
from exporter.providers.manifest.fields import ReadField, RowContext, as_text
from exporter.providers.manifest.model import ManifestQuery

EACH = "each"


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Admits rows whose ``field`` has one of the ``values`` (None: null), or none of them.

    The field may be in no row where it is ``optional``.
    """

    field: str
    read: ReadField
    values: frozenset[str | None]
    excludes: bool = False
    optional: bool = False

    def admits(self, value: Any) -> bool:
        """Say whether a row passes whose field has ``value``."""
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
    says which rows count. ``of`` is ``additive`` or the class of a gauge. ``looped`` is the value of
    the loop to which it belongs, if there is one. ``bind`` completes ``labels``.
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
        """Return what a value may not be below: an average or a ratio may be negative."""
        return -LARGEST_EXACT if self.of in ("average", "ratio") else 0

    @property
    def constants(self) -> tuple[str, ...] | None:
        """Return the label values, or None where some are read."""
        fixed = all(label.read is None for label in self.labels.values())
        return tuple(label.constant for label in self.labels.values()) if fixed else None

    def bind(self, given: Mapping[str, str]) -> "RowFeed":
        """Return the feed with every label of its family, none of which is a variable any more."""
        labels = {}
        for name in self.family.labels[2:]:
            none = ReadLabel(self.window if name == "window" else "")
            label = self.labels.get(name, none)
            labels[name] = ReadLabel(given[label.variable]) if label.variable else label
        return replace(self, labels=labels)


@dataclass(frozen=True, slots=True)
class RowLevel:
    """A list, or with ``entries`` a map, within the level before; its items are the next level."""

    name: str
    path: str
    read: ReadField
    entries: bool


@dataclass(frozen=True, slots=True)
class RowProgram:
    """How an answer of type ``answer`` is read; functions take the context of a row.

    ``at`` returns the instant of the item at level ``at_level`` in UTC milliseconds. ``next`` reads
    the cursor, ``next_parent`` the object at the top of the answer that holds it. ``expect`` is what
    rows must have, ``expect_answer`` what an answer must, with rows or without.
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
    next_parent: ReadField | None = None
    more: ReadField | None = None
    total: ReadField | None = None
    declared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """A query of a manifest that has no error; ``bind`` makes it one of a target."""

    name: str
    settings: ManifestQuery
    program: RowProgram
    secrets: frozenset[str]

    def bind(
        self, variables: Mapping[str, str]
    ) -> Iterator[tuple[Mapping[str, str], "CompiledQuery"]]:
        """Yield the query for a target, once for each value of its loop, with this value by its name."""
        loop = self.settings.for_each
        looped = [{name: value} for name, values in loop.items() for value in values]
        for each in looped or [dict[str, str]()]:
            given = {f"variables.{name}": value for name, value in variables.items()}
            given |= {f"{EACH}.{name}": value for name, value in each.items()}
            feeds = [f.bind(given) for f in self.program.feeds if f.looped in ("", *each.values())]
            yield each, replace(self, program=replace(self.program, feeds=tuple(feeds)))

    @property
    def stream(self) -> bool:
        """Return whether each record is counted once, by its id, since it does not change."""
        return self.settings.shape == "records" and not self.settings.mutable

    @property
    def label_rules(self) -> Mapping[str, LabelRule]:
        """Return how label values become those that are shown."""
        return {
            label: LabelRule(rule.map, None if rule.allow is None else frozenset(rule.allow))
            for label, rule in self.settings.label_rules.items()
        }

    @property
    def fixed(self) -> Mapping[Series, RowFeed]:
        """Return the series whose labels no row tells, and what feeds each."""
        labels, feeds = Labels(self.label_rules, sys.maxsize), self.program.feeds
        known = [(feed, feed.constants) for feed in feeds]
        return {labels.series(f.family, *c): f for f, c in known if c is not None}

    @property
    def one_a_bucket(self) -> bool:
        """Return whether two rows of one instant can only be one row given twice."""
        of_rows = self.program.at_level == len(self.program.levels)
        return of_rows and all(feed.constants is not None for feed in self.program.feeds)
