"""Validation errors as plain messages, each at the position of its value.

The messages are our own because those of the validator may repeat a value.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from exporter.config.model import Named
from exporter.config.secret import REFERENCE, Secret, SecretContext
from exporter.config.source import Path, Source, plain
from exporter.config.values import kind_of, suggestion
from exporter.errors import SettingsProblem

AnyModel = TypeVar("AnyModel", bound=BaseModel)

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type"), "keys and values"),
}
_CONTAINERS = {kind for kind, wanted in _WANTED.items() if wanted in ("a list", "keys and values")}
_BOUNDS = {
    "greater_than_equal": "below the minimum of {ge:g}",
    "greater_than": "not above {gt:g}",
    "less_than_equal": "above the maximum of {le:g}",
    "less_than": "not below {lt:g}",
    "string_too_short": "shorter than {min_length} characters",
    "string_too_long": "longer than {max_length} characters",
    "too_short": "fewer than {min_length}",
    "too_long": "more than {max_length}",
}
BEGIN = "begin with version: 1"
_FIRST: dict[Path, str] = {("version",): BEGIN, ("targets",): "add a target"}
_TEXTS = ("text", "text or {id: …, alias: …}")
FEW = 10


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """One invalid value: its path within the part that was checked, and the message.

    ``key`` is the path of the key, if the key itself is wrong.
    """

    path: Path
    kind: str
    problem: str
    hint: str = ""
    key: Path | None = None

    def located(self, source: Source, base: Path) -> SettingsProblem:
        """Return the problem with its position; ``base`` is the path of the checked part."""
        at = None if self.key is None else source.keys.get((*base, *self.key))
        return source.problem((*base, *self.path), self.problem, self.hint, at=at)


def checked(
    model: type[AnyModel], data: Any, context: SecretContext | None = None
) -> tuple[AnyModel | None, list[ValueProblem]]:
    """Return ``data`` as a ``model``, or None and its problems."""
    try:
        # Through JSON, so that strict settings still take a list for a tuple.
        return model.model_validate_json(json.dumps(data), context=context), []
    except ValidationError as error:
        return None, problems_of(error, data, model)


def problems_of(error: ValidationError, data: Any, model: type[BaseModel]) -> list[ValueProblem]:
    """Return the mistakes in ``data``, one per place however many shapes were tried on it."""
    details = [(*_walk(model, data, d), d) for d in error.errors(include_url=False)]
    found: dict[Path, ValueProblem] = {}
    for path, branch, detail in details:
        if branch is None or not _other_shape(data, path, branch, detail["type"]):
            found.setdefault(path, _value_problem(path, detail, data, model))
    below = {path[:n] for path in found for n in range(len(path) + 1)}
    for branch in {branch for _, branch, _ in details if branch is not None} - below:
        found[branch] = ValueProblem(branch, "shape", "not in a shape that is allowed here")
    return list(found.values())


def _walk(model: type[BaseModel], data: Any, detail: ErrorDetails) -> tuple[Path, Path | None]:
    """Return the place of an error, in the file or a key that it lacks, and where several shapes were tried."""
    path: Path = ()
    branch: Path | None = None
    for n, step in enumerate(detail["loc"], start=1):
        if _has(data, step):
            data, path = data[step], (*path, step)
        elif n == len(detail["loc"]) and (
            detail["type"] == "missing"
            or any(step in m.model_fields for m in models_at(model, path))
        ):
            path = (*path, step)
        elif step != "[key]":
            branch = path
    return path, branch


def _has(data: Any, step: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def _other_shape(data: Any, path: Path, branch: Path, kind: str) -> bool:
    """Return whether the error is only that the value lacks a shape it was not meant to have."""
    is_container = isinstance(_at(data, branch), dict | list)
    return path == branch and is_container != (kind in _CONTAINERS)


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step] if _has(data, step) else None
    return data


def _value_problem(
    path: Path, detail: ErrorDetails, data: Any, model: type[BaseModel]
) -> ValueProblem:
    kind = detail["type"]
    match kind:
        case "missing":
            secret = Secret in models_at(model, path)
            return ValueProblem(
                path, kind, "missing", REFERENCE if secret else _FIRST.get(path, "")
            )
        case "extra_forbidden":
            return _unknown_key(path, model)
        case _:
            named = kind == "model_type" and Named in models_at(model, path)
            value = _at(data, path)
            problem, hint = _mistyped(_TEXTS[1], value) if named else _message(detail, value)
            return ValueProblem(path, kind, problem, hint)


def _unknown_key(path: Path, model: type[BaseModel]) -> ValueProblem:
    around = models_at(model, path[:-1])
    known = sorted({f.alias or name for each in around for name, f in each.model_fields.items()})
    key = str(path[-1])
    if Secret in around or not plain(key):
        hint = REFERENCE if Secret in around else ""
        return ValueProblem(path[:-1], "extra_forbidden", "unknown key", hint, key=path)
    hint = suggestion(key, known)
    if not hint and len(known) <= FEW:
        hint = "expected one of " + ", ".join(known)
    return ValueProblem(path, "extra_forbidden", "unknown key", hint, key=path)


def _message(detail: ErrorDetails, value: Any) -> tuple[str, str]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _WANTED:
        return _mistyped(_WANTED[kind], value)
    if kind in _BOUNDS:
        return ("empty" if value in ("", []) else _BOUNDS[kind].format_map(context)), ""
    if kind in ("literal_error", "enum"):
        return _unlisted(re.findall(r"'([^']*)'", str(context.get("expected"))), value)
    if "problem" in context:
        return str(context["problem"]), str(context.get("hint", ""))
    return "not a value that is allowed here", ""


def _mistyped(wanted: str, value: Any) -> tuple[str, str]:
    hint, found = "", kind_of(value)
    if isinstance(value, float) and wanted == "a whole number":
        found = "a fraction"
    elif wanted in _TEXTS and isinstance(value, bool | int | float):
        hint = "put it in quotes"
    elif wanted == "a list" and isinstance(value, str):
        hint = "write [a, b]"
    elif wanted.endswith("number") and isinstance(value, str):
        hint = "write it without quotes"
    elif value is None:
        hint = "give it a value or remove the key"
    return f"expected {wanted}, found {found}", hint


def _unlisted(known: list[str], value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return f"expected {_listed(known)}, found true or false", "put it in quotes"
    return f"expected {_listed(known)}", suggestion(value, known)


def _listed(known: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(known[:-1]), *known[-1:])))


def models_at(model: type[BaseModel], path: Path) -> set[type[BaseModel]]:
    """Return the models that the value at ``path`` may be read as."""
    around = {model}
    for step in path:
        fields = [m.model_fields[step] for m in around if step in m.model_fields]
        # An index, or a key of a free mapping, leads to a type that the field's own type names.
        if fields:
            around = {found for field in fields for found in _models_in(field.annotation)}
    return around


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
