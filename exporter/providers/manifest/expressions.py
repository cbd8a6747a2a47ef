"""The row language: paths, sums and conversions, all of which terminate; instants, both ways.

See docs/manifests.md.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import prod
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from exporter.config.values import suggestion
from exporter.errors import SchemaError
from exporter.model.numbers import parse_number
from exporter.model.samples import DAY_MS, SECOND_MS
from exporter.providers.base.times import instant_ms, iso

LONGEST = 300
MOST_STEPS = 12
FINEST_SCALE = 12
INSTANTS = ("epoch_s", "epoch_ms", "iso", "date", "strptime")
"""Conversions between instants and how an API writes them; ``strptime`` takes a format."""

CONVERSIONS = (*INSTANTS, "scale", "number")
WITH_ARGUMENT = ("strptime", "scale")
_NAME = re.compile(r"[A-Za-z_$][\w$-]{0,80}|@key", re.ASCII)
_QUOTED = re.compile(r'"([^"\\\x00-\x1f]{1,80})"')  # msgspec reads members of no other name
_MATCH = re.compile(r"\[([A-Za-z_$][\w$-]{0,80})=([^\]=]{1,80})\]", re.ASCII)
_LEVEL = re.compile(r"(.*\S)\s+as\s+([a-z_][a-z0-9_]*)")

StepKind: TypeAlias = Literal["field", "key", "each", "entries", "match"]

LATEST_MS = 4_102_444_800_000  # the year 2100: a larger number is in another unit
_DATE = "%Y-%m-%d"
_PROBE = datetime(2001, 12, 31, 21, 0, tzinfo=UTC)


class ExpressionError(ValueError):
    """A text of the row language is wrong at ``character`` (1-based; 0: as a whole)."""

    def __init__(self, problem: str, character: int = 0, hint: str = "") -> None:
        super().__init__(f"character {character}: {problem}" if character else problem)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a ``field``, ``each`` item of a list, ``entries`` of a map, an entry's ``key``.

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
        """Return whether it may lead to several values."""
        return any(step.kind in ("each", "entries") for step in self.steps)


@dataclass(frozen=True, slots=True)
class Conversion:
    """One of ``CONVERSIONS``, and its argument after a colon."""

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
    """Return the parts of ``text`` between each ``mark`` outside quotes, with their positions."""
    parts, at, quoted = [], 0, False
    for index, sign in enumerate(text):
        quoted ^= sign == '"'
        if sign == mark and not quoted:
            parts.append((at, text[at:index]))
            at = index + 1
    return [*parts, (at, text[at:])]


def _path(text: str, at: int, roots: Collection[str]) -> FieldPath:
    """Return the path ``text``, which begins at position ``at`` of the whole expression."""
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
        raise ExpressionError("no level has this name", at + start + 1, hint)
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
    hint = r"put a name with other characters, except \, in quotes" if position < len(text) else ""
    raise ExpressionError("expected the name of a field", at + position + 1, hint)


def _conversion(text: str, at: int) -> Conversion:
    name, colon, argument = text.strip().partition(":")
    if name not in CONVERSIONS:
        hint = suggestion(name, CONVERSIONS) or "expected one of " + ", ".join(CONVERSIONS)
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


def unit_ms(conversion: Conversion) -> int:
    """Return the smallest step that ``conversion`` writes."""
    if "%f" in conversion.argument:
        return 1
    return {"epoch_ms": 1, "iso": 1, "date": DAY_MS}.get(conversion.name, SECOND_MS)


def write(
    conversion: Conversion, at_ms: int, zone: str, *, past_repeated: bool = False
) -> str | int:
    """Return ``at_ms`` as an API writes it.

    A local time in the hour that a clock change repeats means the first of the two. With
    ``past_repeated``, one in the second is written an hour later, so that it bounds both.
    """
    match conversion.name:
        case "epoch_s":
            return at_ms // SECOND_MS
        case "epoch_ms":
            return at_ms
        case "iso":
            return iso(at_ms)
        case _:
            local = datetime.fromtimestamp(at_ms / SECOND_MS, ZoneInfo(zone))
            if past_repeated and local.fold and "%z" not in conversion.argument:
                local += timedelta(hours=1)
            return local.strftime(conversion.argument or _DATE)


def instant_reader(conversion: Conversion, zone: str, path: str) -> Callable[[Any], int]:
    """Return a reader of a field's value, which raises ``SchemaError`` naming ``path``."""

    def read(value: Any) -> int:
        try:
            at_ms = _parse(conversion, value, zone)
        except (ValueError, TypeError, OverflowError):
            at_ms = -1
        if not 0 <= at_ms < LATEST_MS:
            raise SchemaError(f"{path}: expected an instant in the form of {conversion.name}")
        return at_ms

    return read


def _parse(conversion: Conversion, value: Any, zone: str) -> int:
    if conversion.name in ("epoch_s", "epoch_ms"):
        number = parse_number(value)
        if number is None or not 0 <= number < LATEST_MS:
            return -1
        return round(number * (SECOND_MS if conversion.name == "epoch_s" else 1))
    if conversion.name == "iso":
        at = datetime.fromisoformat(value)
    else:
        at = datetime.strptime(value, conversion.argument or _DATE)  # noqa: DTZ007 - see below
    return instant_ms(at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone)))


def has_whole_hours(zone: str) -> bool:
    """Return whether the hours of ``zone`` begin with UTC hours in every month."""
    return not any((at.utcoffset() or timedelta()) % timedelta(hours=1) for at in _middays(zone))


def repeated_ms(at_ms: int, zone: str) -> int | None:
    """Return the later instant with the local time of ``at_ms``; None if there is none."""
    local = datetime.fromtimestamp(at_ms / SECOND_MS, ZoneInfo(zone))
    later_ms = instant_ms(local.replace(fold=1))
    return later_ms if later_ms > at_ms else None


def changes_clock(zone: str) -> bool:
    """Return whether ``zone`` changes its clock in a year, as for summer time or Ramadan."""
    return len({at.utcoffset() for at in _middays(zone)}) > 1


def _middays(zone: str) -> list[datetime]:
    return [datetime(2026, month, 1, 12, tzinfo=ZoneInfo(zone)) for month in range(1, 13)]


def check_format(conversion: Conversion, step_ms: int, zone: str) -> None:
    """Raise ``ExpressionError`` if a format cannot tell one bucket, or zone, from another."""
    hint = "as in strptime:%Y-%m-%d %H:%M"
    if conversion.name == "date" and step_ms < DAY_MS:
        raise ExpressionError("a date has no hour", hint=hint)
    if conversion.name != "strptime":
        return
    try:
        text = _PROBE.strftime(conversion.argument)
        found = _parse(conversion, text, "UTC")
    except (ValueError, re.error):
        raise ExpressionError("not a format that can be read back", hint=hint) from None
    if found // step_ms != instant_ms(_PROBE) // step_ms:
        raise ExpressionError("the format does not distinguish one bucket from the next", hint=hint)
    if "%Z" in conversion.argument:  # parsed by the machine's own zone
        raise ExpressionError("the name of a zone is not its offset", hint="write %z")
    if "Z" in conversion.argument and zone != "UTC":
        raise ExpressionError(f"Z means UTC, but the times are in {zone}", hint="write %z")
