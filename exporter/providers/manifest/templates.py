"""Texts of a request, and the values put into them: never a scheme, a host or more segments."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias
from urllib.parse import quote

from exporter.config.source import spelled
from exporter.config.values import can_be_sent, suggestion
from exporter.model.samples import Window, ceil_to
from exporter.providers.manifest.expressions import (
    Conversion,
    Expression,
    ExpressionError,
    parse,
    unit_ms,
    write,
)

ROOTS = ("window", "variables", "secrets", "each")
_WHOLE = re.compile(rf"({'|'.join(ROOTS)})\.[^{{}}]*")
_EMBEDDED = re.compile(rf"\{{((?:{'|'.join(ROOTS)})\.[^{{}}]*)\}}")
_LIKE = re.compile(r"\{?([a-z]{3,12})\.(start|end|[a-z_]+)(\|[^{}]*)?\}?")
_BRACED = re.compile(r"\{([a-z]{3,12})\.[a-z_]+(\|[^{}]*)?\}")
_PATH = re.compile(r"(/[\w.~!$&'()*+,;=:@%-]*)+", re.ASCII)

_HEADER = re.compile(r"[A-Za-z0-9_-]{1,80}")
_CONNECTION = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"}
    | {"cookie", "accept-encoding", "proxy-authorization"}
)

Part: TypeAlias = str | Expression


class Omitted:
    """Stands for a value that is one empty variable, which is not sent."""


@dataclass(frozen=True, slots=True)
class Substitutes:
    """What texts may name: the window with its time zone, variables, secrets, the value of a loop.

    With ``inclusive``, the end is written as the last instant in the window; ``margin_ms`` widens
    both sides if it is not known whether a bound is included. With ``past_repeated``, an end in the
    hour that a clock change repeats is written past it.
    """

    variables: Mapping[str, str]
    each: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    window: Window | None = None
    zone: str = "UTC"
    inclusive: bool = False
    margin_ms: int = 0
    past_repeated: bool = False


@cache
def parts(text: str) -> tuple[Part, ...]:
    """Return ``text`` as literals and expressions; raise ``ExpressionError`` if one is wrong."""
    if _WHOLE.fullmatch(text):
        return (_expression(text),)
    for like in (_LIKE.fullmatch(text), *_BRACED.finditer(text)):
        if like and like[1] not in ROOTS and (hint := suggestion(like[1], ROOTS)):
            raise ExpressionError("no value has this name", hint=hint)
        if like and like[1] in ROOTS and text[: like.start()].endswith("{"):
            raise ExpressionError("a value takes one pair of braces", like.start() + 1)
    found: list[Part] = []
    end = 0
    for each in _EMBEDDED.finditer(text):
        found += [text[end : each.start()], _expression(each[1])]
        end = each.end()
    return tuple(part for part in (*found, text[end:]) if part != "")


def _expression(text: str) -> Expression:
    expression = parse(text, ROOTS)
    path = expression.terms[0]
    name = path.steps[0].name if path.steps else ""
    if len(expression.terms) > 1 or [step.kind for step in path.steps] != ["field"]:
        raise ExpressionError("expected one value, such as window.start or variables.name")
    if path.root != "window":
        if expression.conversions:
            raise ExpressionError("only the window's bounds take a conversion")
    elif name not in ("start", "end"):
        raise ExpressionError(
            "the window has start and end", hint=suggestion(name, ("start", "end"))
        )
    elif len(expression.conversions) != 1 or expression.instant is None:
        raise ExpressionError("a bound needs one conversion", hint="as in window.start|iso")
    return expression


def leaves(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield every value within lists and mappings, with the steps that lead to it."""
    if not isinstance(value, dict | list):
        yield steps, value
        return
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(each, (*steps, key))


def names(text: str) -> list[tuple[str, str]]:
    """Return what ``text`` names, such as ``("variables", "project")``."""
    return [_name(part) for part in parts(text) if isinstance(part, Expression)]


def bounds(text: str) -> list[Conversion]:
    """Return the conversions of the window's bounds in ``text``."""
    found = [part for part in parts(text) if isinstance(part, Expression)]
    return [each.instant for each in found if each.instant is not None]


def _name(expression: Expression) -> tuple[str, str]:
    return expression.terms[0].root, expression.terms[0].steps[0].name


def fill(value: Any, given: Substitutes) -> Any:
    """Return a text, list or mapping with its expressions replaced by their values.

    A value that is one empty variable is left out of its list or mapping (``Omitted`` at the top).
    """
    if isinstance(value, str):
        return _fill_text(value, given)
    if isinstance(value, list):
        return [each for item in value if (each := fill(item, given)) is not Omitted]
    if isinstance(value, dict):
        found = {key: fill(item, given) for key, item in value.items()}
        return {key: item for key, item in found.items() if item is not Omitted}
    return value


def fill_text(text: str | None, given: Substitutes) -> str:
    """Return ``text``, if there is one, with its expressions replaced by their values."""
    found = parts(text or "")
    return "".join(part if isinstance(part, str) else str(_value(part, given)) for part in found)


def fill_headers(headers: Mapping[str, Any], given: Substitutes) -> dict[str, str]:
    """Return ``headers`` as text, without those that are one empty variable."""
    found = fill(dict(headers), given)
    return {n: value if isinstance(value, str) else spelled(value) for n, value in found.items()}


def fill_path(path: str, given: Substitutes) -> str:
    """Return ``path`` with each value as one segment; raise ``ExpressionError`` if it cannot be."""
    made = "".join(
        part if isinstance(part, str) else quote(str(_value(part, given)), safe="")
        for part in parts(path)
    )
    if any(segment in ("", ".", "..") for segment in made[1:].split("/") if made != "/"):
        raise ExpressionError("a value makes a segment of the path empty, . or ..")
    return made


def check_path(path: str) -> None:
    """Raise ``ExpressionError`` if ``path`` could lead elsewhere than it appears to."""
    literal = "".join(part if isinstance(part, str) else "x" for part in parts(path))
    if not _PATH.fullmatch(literal) or "//" in literal or "%2f" in literal.lower():
        raise ExpressionError("expected a path such as /v1/usage", hint="put parameters in params")
    fill_path(literal, Substitutes({}))


def check_header(name: str, value: Any = "") -> None:
    """Raise ``ExpressionError`` if a header cannot be set, such as the connection's or the host."""
    if not _HEADER.fullmatch(name):
        raise ExpressionError("not the name of a header")
    if name.lower() in _CONNECTION:
        raise ExpressionError("the exporter sets this header itself")
    if not can_be_sent(str(value)):
        raise ExpressionError("contains a character that no header can carry")


def _fill_text(text: str, given: Substitutes) -> Any:
    found = parts(text)
    if len(found) == 1 and isinstance(found[0], Expression):
        value = _value(found[0], given)
        return Omitted if value == "" else value
    return fill_text(text, given)


def _value(expression: Expression, given: Substitutes) -> str | int:
    root, name = _name(expression)
    if root != "window":
        return {"variables": given.variables, "secrets": given.secrets, "each": given.each}[root][
            name
        ]
    conversion, window = expression.instant, given.window
    if conversion is None or window is None:
        raise AssertionError("only requests have a window")
    unit = unit_ms(conversion)
    margin_ms = max(unit, given.margin_ms) if given.margin_ms else 0
    if name == "start":
        return write(conversion, window.start_ms - margin_ms, given.zone)
    end_ms = ceil_to(window.end_ms, unit) + margin_ms - unit * given.inclusive
    return write(conversion, end_ms, given.zone, past_repeated=given.past_repeated)
