"""The fields that a manifest declares, as a type that decodes them and nothing else of an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias

import msgspec

from exporter.config.source import spelled
from exporter.errors import SchemaError
from exporter.providers.manifest.expressions import ExpressionError, Step

LARGEST = 10**30
MOST_DIGITS = 60
Scalar: TypeAlias = str | int | float | bool
RowContext: TypeAlias = tuple[Any, ...]
"""The answer, then the item of each level down to the row."""

ReadField: TypeAlias = Callable[[RowContext], Any]


@dataclass(slots=True)
class FieldTree:
    """The declared fields of one value; ``leaf`` is the type of a value that is read itself.

    ``children`` are the members of an object, or the items of a list or the entries of a map.
    """

    children: dict[Step, "FieldTree"] = field(default_factory=dict)
    leaf: Any = None

    def at(self, steps: Sequence[Step]) -> "FieldTree":
        """Return the tree at the end of ``steps``, made where it is missing."""
        tree = self
        for step in steps:
            tree = tree._child(step)
        return tree

    def declare(self, steps: Sequence[Step], leaf: Any = Scalar) -> None:
        """Read the value at the end of ``steps``; a decimal is a number only."""
        if steps and steps[-1].kind == "key":
            return
        tree = self.at(steps)
        if tree.leaf not in (None, leaf):
            words = "this field is read as a decimal, and as a whole number or a text elsewhere"
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
        """Return the type that decodes this value; below it, absent fields are ``UNSET``."""
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
        """Raise ``ExpressionError`` where the value is read in two ways."""
        if len({step.kind for step in self.children}) + (self.leaf is not None) > 1:
            raise ExpressionError("this field is read as two of a value, a list, a map, an object")

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
    """Return a function that reads what ``steps`` lead to from the item of level ``number`` of a row.

    It returns ``UNSET`` where that is absent, and the list of many values. Items that are
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
    """Return what ``steps`` lead to from a decoded ``value``."""
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
        raise SchemaError(f"[{step.name}={step.value}]: came twice")
    return found[0] if found else msgspec.UNSET


def or_none(value: Any) -> Any:
    """Return ``value``, None where it is absent."""
    return None if value is msgspec.UNSET else value


def as_text(value: Scalar | msgspec.UnsetType | None) -> str | None:
    """Return ``value`` as a label shows it: 4.0 as ``4``, true as ``true``; None where it is absent."""
    if isinstance(value, str):
        return value
    if value is None or value is msgspec.UNSET:
        return None
    return spelled(value)


def exact(value: Decimal, path: str) -> Decimal:
    """Return ``value`` if it is a finite amount of sensible size; raise ``SchemaError`` otherwise."""
    if not value.is_finite() or abs(value) > LARGEST:
        raise SchemaError(f"{path}: expected an amount")
    if len(value.as_tuple().digits) > MOST_DIGITS:
        raise SchemaError(f"{path}: more than {MOST_DIGITS} digits")
    return value
