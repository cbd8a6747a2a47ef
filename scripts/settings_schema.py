"""Generates the JSON schema of ``exporter.yaml`` for editors from the settings classes."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from exporter.config.loader import OWN
from exporter.config.model import SettingsFile, TargetOptions
from exporter.providers import PROVIDERS

FILE = Path("docs/exporter.schema.json")
TEXT = {"type": "string"}
BARE = ("Named", "MappedFamily")  # may be written as plain text


def schema(options: Mapping[str, type[TargetOptions]]) -> dict[str, Any]:
    """Return the schema of a settings file with targets of the providers ``options``."""
    models = [SettingsFile, *options.values()]
    refs, made = models_json_schema([(model, "validation") for model in models])
    parts: dict[str, Any] = made["$defs"]
    top = parts.pop("SettingsFile")
    named = {name: refs[model, "validation"] for name, model in options.items()}
    for name in BARE:
        parts[name] = {"anyOf": [TEXT, parts[name]]}
    parts["Secret"] = _secret(parts["Secret"])
    for name, model in options.items():
        part = parts[model.__name__]
        part["required"] = ["name", "provider"]  # others may come from defaults
        default = deepcopy(part)
        default.pop("required")
        default["properties"] = {k: v for k, v in part["properties"].items() if k not in OWN}
        parts["Common"]["properties"][name] = default
    top["properties"]["targets"]["items"] = {
        "type": "object",
        "required": ["name", "provider"],
        "properties": {"provider": {"enum": sorted(options)}},
        "allOf": [
            {"if": {"properties": {"provider": {"const": name}}}, "then": ref}
            for name, ref in named.items()
        ],
    }
    top["patternProperties"] = {"^x-": {}}
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return without_defaults(top | {"title": "exporter.yaml", "$defs": parts})


def _secret(reference: dict[str, Any]) -> dict[str, Any]:
    either = [{"required": ["env"]}, {"required": ["file"]}]
    literal = TEXT | {"description": "only with allow_inline_secrets: true"}
    return {"oneOf": [literal, reference | {"oneOf": either}]}


def without_defaults(part: Any) -> Any:
    """Return ``part`` without defaults, which are in the program's units, not in the file's."""
    if isinstance(part, list):
        return [without_defaults(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: {name: without_defaults(each) for name, each in value.items()}
        if key == "properties"  # a property may be called "default"
        else without_defaults(value)
        for key, value in part.items()
        if key != "default"
    }


def main() -> None:
    """Write the file."""
    made = schema({name: kind.options for name, kind in PROVIDERS.items()})
    FILE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
