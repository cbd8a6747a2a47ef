"""Generates the JSON schema of manifests for editors from their classes."""

import json
from pathlib import Path
from typing import Any

from exporter.providers.manifest.model import Manifest
from scripts.settings_schema import without_defaults

FILE = Path("docs/manifest.schema.json")


def schema() -> dict[str, Any]:
    """Return the schema of a manifest."""
    made = Manifest.model_json_schema(by_alias=True)
    made |= {"title": "manifest", "patternProperties": {"^x-": {}}}
    return without_defaults({"$schema": "https://json-schema.org/draft/2020-12/schema", **made})


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
