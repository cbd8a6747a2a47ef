"""Generates the tables of ``docs/configuration.md`` from the settings classes."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.config.model import Common, Named, Secret, SettingsFile, TargetOptions
from exporter.providers import PROVIDERS
from exporter.providers.manifest.loader import LoadedManifest

PAGE = Path("docs/configuration.md")
HEAD = "| key | kind | default | meaning |\n|---|---|---|---|\n"
_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "number",
    float: "number",
    str: "text",
    Secret: "secret",
    Named: "identifier",
    LoadedManifest: "text",
}
_MANY = {"duration": "durations", "identifier": "identifiers", "text": "texts"}
_UNITS = {"duration": {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}}
_UNITS["size"] = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SHARED = {name: field for name, field in TargetOptions.model_fields.items() if name != "base_url"}
"""Options that the page describes once for all providers; each has its own ``base_url``."""

Fields = Mapping[str, FieldInfo]


def tables(options: Mapping[str, type[TargetOptions]]) -> dict[str, str]:
    """Return the table of every section by name, including those of the providers ``options``."""
    sections: dict[str, Fields] = {
        "top": SettingsFile.model_fields,
        **{name: model.model_fields for name, model in _sections()},
        "defaults": Common.model_fields,
        "target": {k: f for k, f in _SHARED.items() if k not in Common.model_fields},
        **{name: _own(model) for name, model in options.items()},
    }
    nested = {name: name not in ("top", "defaults", "target") for name in sections}
    return {
        name: HEAD + "".join(_row(*each) for each in _rows(fields, nested=nested[name]))
        for name, fields in sections.items()
    }


def rewritten(page: str, made: Mapping[str, str]) -> str:
    """Return ``page`` with each table after ``<!-- keys: NAME -->`` replaced by ``made[NAME]``."""
    return re.sub(
        r"(<!-- keys: (\w+) -->\n\n)(?:\|.*\n)*", lambda found: found[1] + made[found[2]], page
    )


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the top-level keys that have their own table."""
    for name, field in SettingsFile.model_fields.items():
        if name != "defaults":
            yield from ((name, model) for model in _models_in(field.annotation))


def _own(model: type[TargetOptions]) -> Fields:
    """Return the provider's own keys, then common ones for which it has another default."""
    fields = model.model_fields
    changed = {k: f for k, f in fields.items() if k in _SHARED and f.default != _SHARED[k].default}
    own = {k: f for k, f in fields.items() if k not in TargetOptions.model_fields}
    return own | {"base_url": fields["base_url"]} | changed


def _rows(fields: Fields, *, nested: bool, above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in fields.items():
        yield above + name, field
        for model in _models_in(field.annotation) if nested else ():
            yield from _rows(model.model_fields, nested=True, above=f"{above}{name}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from () if annotation in _WORDS else (annotation,)
    for part in get_args(annotation):
        yield from _models_in(part)


def _row(key: str, field: FieldInfo) -> str:
    # A provider with only another default does not describe the common key again.
    shared = TargetOptions.model_fields.get(key, field)
    kind = field.title or shared.title or _kind(field.annotation)
    meaning = field.description or shared.description or ""
    return f"| `{key}` | {kind}{_bounds(field)} | {_default(field, kind)} | {meaning} |\n"


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        titles = [each.title for each in parts if isinstance(each, FieldInfo) and each.title]
        return titles[-1] if titles else _kind(parts[0])
    if origin is Literal:
        return _either([f"`{part}`" for part in parts])
    if origin in (Union, UnionType):
        return _either([_kind(part) for part in parts if part is not NoneType])
    if origin in (tuple, list):
        each = _kind(parts[0])
        return f"list of {_MANY.get(each, each)}"
    return _WORDS.get(annotation, "keys and values")


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _bounds(field: FieldInfo) -> str:
    return "".join(
        f", {words} {getattr(each, name)}"
        for each in field.metadata
        for name, words in (("ge", "at least"), ("le", "at most"))
        if hasattr(each, name)
    )


def _default(field: FieldInfo, kind: str) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "" or isinstance(value, BaseModel):
        return ""
    return f"`{_as_yaml(_written(value, kind))}`"


def _written(value: Any, kind: str) -> Any:
    if isinstance(value, tuple):
        return [_written(each, kind) for each in value]
    units = next((units for word, units in _UNITS.items() if word in kind), None)
    if units is None:
        return value
    number, unit = min((value // n, unit) for unit, n in units.items() if value % n == 0)
    return f"{number}{unit}"


def _as_yaml(value: Any) -> str:
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return dumped.removesuffix("...\n").strip()


if __name__ == "__main__":
    made = tables({name: provider.options for name, provider in PROVIDERS.items()})
    PAGE.write_text(rewritten(PAGE.read_text("utf-8"), made), "utf-8")
