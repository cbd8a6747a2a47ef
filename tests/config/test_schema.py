"""The schema for editors takes what the program takes, and is the one of this build."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from exporter.providers import PROVIDERS
from scripts.settings_schema import FILE, schema
from tests.config.test_fuzz import GOOD

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / FILE).read_text("utf-8"))
PAGES = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
EXAMPLES = [
    text
    for page in PAGES
    for text in re.findall(r"(?ms)^```yaml\n(.*?)^```", page.read_text("utf-8"))
    if text.startswith("version: 1")
]
TARGET = "targets: [{name: a, provider: flowxo, project: p, api_key: {env: KEY}%s}]"


def problems(document: Any) -> list[str]:
    return [each.json_path for each in Draft202012Validator(SCHEMA).iter_errors(document)]


def test_the_schema_is_current_and_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    assert schema({name: kind.options for name, kind in PROVIDERS.items()}) == SCHEMA


@pytest.mark.parametrize(
    "text",
    [
        (ROOT / "exporter.yaml").read_text("utf-8"),
        GOOD,
        *EXAMPLES,
        (
            "version: 1\nx-a: 1\ndefaults: {settle: 2h, write_off_after: never, flowxo: {project: p}}\n"
            "targets: [{name: a, provider: flowxo, api_key: {file: key}}]"
        ),
        (
            "version: 1\nallow_inline_secrets: true\n"
            "targets: [{name: a, provider: inkeep, api_key: literal, project: p, "
            "event_map: {a: chatbot_handovers_total}}]"
        ),
    ],
)
def test_a_good_file_is_good(text: str) -> None:
    assert problems(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"version: 2\n{TARGET % ''}", "$.version"),
        (f"version: 1\nweb: {{port: 1}}\n{TARGET % ''}", "$.web"),
        (f"version: 1\n{TARGET % ', interval: 5 minutes'}", "$.targets[0].interval"),
        (f"version: 1\n{TARGET % ', bots: [a]'}", "$.targets[0]"),
        ("version: 1\ntargets: [{name: a, provider: flowox}]", "$.targets[0].provider"),
        ("version: 1\ntargets: [{name: A, provider: flowxo}]", "$.targets[0].name"),
        ("version: 1\ndefaults: {flowxo: {name: a}}\ntargets: []", "$.defaults.flowxo"),
        ("version: 1\ntargets: []", "$.targets"),
        ("version: 1", "$"),
    ],
)
def test_a_bad_file_is_bad_where_the_mistake_is(text: str, path: str) -> None:
    assert path in problems(yaml.safe_load(text))
