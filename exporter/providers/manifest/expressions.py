"""The row language: paths, sums and conversions, all of which terminate (docs/manifests.md)."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import prod
from typing import Literal, TypeAlias

from exporter.config.values import suggestion

LONGEST = 300
MOST_STEPS = 12
FINEST_SCALE = 12
INSTANTS = ("epoch_s", "epoch_ms", "iso", "date", "strptime")
"""Conversions between instants and what an API calls them; ``strptime`` takes a format."""

CONVERSIONS = (*INSTANTS, "scale", "number")
WITH_ARGUMENT = ("strptime", "scale")
_NAME = re.compile(r"[A-Za-z_$][\w$-]{0,80}|@key", re.ASCII)
_QUOTED = re.compile(r'"([^"]{1,80})"')
_MATCH = re.compile(r"\[([A-Za-z_$][\w$-]{0,80})=([^\]=]{1,80})\]", re.ASCII)
_LEVEL = re.compile(r"(.*\S)\s+as\s+([a-z_][a-z0-9_]*)")

StepKind: TypeAlias = Literal["field", "key", "each", "entries", "match"]


class ExpressionError(ValueError):
    """Something is wrong at ``character`` (1-based; 0: the whole) of a text of the row language."""

    def __init__(self, problem: str, character: int = 0, hint: str = "") -> None:
        super().__init__(f"character {character}: {problem}" if character else problem)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a ``field``, ``each`` item of a list, ``entries`` of a map, the ``key`` of an entry.

    ``match`` is the one item of a list whose field ``name`` is ``value``.
    """

    kind: StepKind
    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Steps from ``root``: the name of a level, or empty for the whole answer."""

    root: str
    steps: tuple[Step, ...]
    text: str = field(default="", compare=False)

    @property
    def many(self) -> bool:
        """Return whether it leads to any number of values."""
        return any(step.kind in ("each", "entries") for step in self.steps)


@dataclass(frozen=True, slots=True)
class Conversion:
    """``name`` of the closed list, and what it takes after a colon."""

    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Expression:
    """A sum of paths, then conversions from left to right."""

    text: str
    terms: tuple[FieldPath, ...]
    conversions: tuple[Conversion, ...] = ()

    @property
    def instant(self) -> Conversion | None:
        """Return the conversion that reads or writes an instant."""
        return next((each for each in self.conversions if each.name in INSTANTS), None)

    @property
    def scale(self) -> Decimal | None:
        """Return the product of the expression's scales."""
        scales = [Decimal(each.argument) for each in self.conversions if each.name == "scale"]
        return prod(scales, start=Decimal(1)) if scales else None


def parse(text: str, roots: Collection[str] = ()) -> Expression:
    """Return the expression ``text``; each path begins with one of ``roots``, if there are any."""
    if len(text) > LONGEST:
        raise ExpressionError(f"longer than {LONGEST} characters")
    terms, conversions = [], []
    summed, *piped = _split(text, "|")
    for at, term in _split(summed[1], "+"):
        terms.append(_path(term, at, roots))
    for at, conversion in piped:
        conversions.append(_conversion(conversion, at))
    return Expression(text, tuple(terms), tuple(conversions))


def parse_level(text: str) -> tuple[FieldPath, str]:
    """Return the path of ``data[] as bucket``, from the level before, and the level's name."""
    found = _LEVEL.fullmatch(text.strip())
    if len(text) > LONGEST or found is None:
        raise ExpressionError("expected a list and its name", hint="as in data[] as row")
    path = _path(found[1], 0, ())
    if path.steps[-1].kind not in ("each", "entries"):
        raise ExpressionError("a level ends in [] or {}", len(found[1]), "as in data[] as row")
    if FieldPath("", path.steps[:-1]).many:
        raise ExpressionError(
            "a list within a list", hint="name each: data[] as day, rows[] as row"
        )
    return path, found[2]


def _split(text: str, mark: str) -> list[tuple[int, str]]:
    """Return the parts of ``text`` between ``mark`` outside quotes, with where each begins."""
    parts, at, quoted = [], 0, False
    for index, sign in enumerate(text):
        quoted ^= sign == '"'
        if sign == mark and not quoted:
            parts.append((at, text[at:index]))
            at = index + 1
    return [*parts, (at, text[at:])]


def _path(text: str, at: int, roots: Collection[str]) -> FieldPath:
    """Return the path ``text``, which begins at ``at`` of the whole expression."""
    steps, position, end = list[Step](), len(text) - len(text.lstrip()), len(text.rstrip())
    start = position
    while position < end:
        step, after = _step(text, position, at, first=position == start)
        steps.append(step)
        position = after
    if not steps:
        raise ExpressionError("a path is missing", at + 1)
    if len(steps) > MOST_STEPS:
        raise ExpressionError(f"more than {MOST_STEPS} steps", at + 1)
    if not roots:
        return FieldPath("", tuple(steps), text.strip())
    if steps[0].kind != "field" or steps[0].name not in roots:
        hint = suggestion(steps[0].name, roots) or f"begin with {' or '.join(sorted(roots))}"
        raise ExpressionError("no level of this name", at + start + 1, hint)
    return FieldPath(steps[0].name, tuple(steps[1:]), text.strip())


def _step(text: str, position: int, at: int, *, first: bool) -> tuple[Step, int]:
    if text.startswith("[]", position):
        return Step("each"), position + 2
    if text.startswith("{}", position):
        return Step("entries"), position + 2
    if found := _MATCH.match(text, position):
        return Step("match", found[1], found[2].strip('"')), found.end()
    if not first:
        if text[position] != ".":
            raise ExpressionError("expected a dot, [], {} or a conversion", at + position + 1)
        position += 1
    if found := _QUOTED.match(text, position):
        return Step("field", found[1]), found.end()
    if found := _NAME.match(text, position):
        return Step("key" if found[0] == "@key" else "field", found[0]), found.end()
    hint = "put a name with other signs in quotes" if position < len(text) else ""
    raise ExpressionError("expected the name of a field", at + position + 1, hint)


def _conversion(text: str, at: int) -> Conversion:
    name, colon, argument = text.strip().partition(":")
    if name not in CONVERSIONS:
        hint = suggestion(name, CONVERSIONS) or "known are " + ", ".join(CONVERSIONS)
        raise ExpressionError("no such conversion", at + 1, hint)
    if bool(argument) != (name in WITH_ARGUMENT) or (colon and not argument):
        usage = "as in scale:0.01 or strptime:%Y-%m-%d" if name in WITH_ARGUMENT else ""
        raise ExpressionError(f"{name} takes {'a value' if usage else 'no value'}", at + 1, usage)
    if name == "scale":
        _check_scale(argument, at)
    return Conversion(name, argument)


def _check_scale(argument: str, at: int) -> None:
    try:
        factor = Decimal(argument)
    except InvalidOperation:
        factor = Decimal(0)
    exponent = factor.as_tuple().exponent
    if not isinstance(exponent, int) or not 0 < factor <= 10**9 or exponent < -FINEST_SCALE:
        raise ExpressionError("expected a factor above 0, such as 0.01", at + 1)
