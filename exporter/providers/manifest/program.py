"""What a query reads of an answer, compiled from its expressions: data and small functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from exporter.model.samples import LARGEST_EXACT, Family
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


@dataclass(frozen=True, slots=True)
class RowFeed:
    """What a row adds to ``family`` (None: the one of ``for_each``), or shows as a gauge.

    ``values``, with their paths, are added up; without any, the row counts ``constant``. ``exact``: they are decimals,
    and their sum times ``scale`` is rounded to the family's resolution. ``only`` says which rows
    count. ``of`` is ``additive`` or the class of a gauge.
    """

    family: Family | None
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

    @property
    def least(self) -> int:
        """Return what a value may not be below: an average or a ratio may be negative."""
        return -LARGEST_EXACT if self.of in ("average", "ratio") else 0


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
    """A query of a manifest that has no error."""

    name: str
    settings: ManifestQuery
    program: RowProgram
    secrets: frozenset[str]
