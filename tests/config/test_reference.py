"""``docs/configuration.md`` names every key there is, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from exporter.config import loads
from exporter.config.model import (
    Common,
    LedgerOptions,
    Limits,
    Named,
    Privacy,
    Secret,
    SettingsFile,
    TargetOptions,
    Web,
)
from exporter.providers import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")
SECTIONS: dict[str, type[BaseModel]] = {
    "Top level": SettingsFile,
    "web": Web,
    "ledger": LedgerOptions,
    "limits": Limits,
    "privacy": Privacy,
    "Every target": TargetOptions,
    **{name: kind.options for name, kind in KINDS.items()},
}
SHARED = (Secret, Named)


def documented(heading: str) -> set[str]:
    section = re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", PAGE)
    assert section is not None, heading
    return set(re.findall(r"(?m)^\| `([\w.]+)` \|", section[1]))


def keys_of(heading: str) -> set[str]:
    model = SECTIONS[heading]
    of_provider = heading in KINDS
    known = TargetOptions.model_fields.keys() if of_provider else set()
    own = model.model_fields.keys() - known
    nested = {
        f"{name}.{key}"
        for name in own
        for inner in models_in(model.model_fields[name].annotation)
        for key in inner.model_fields
    }
    return own | (nested if of_provider else set())


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from () if annotation in SHARED else (annotation,)
    for part in get_args(annotation):
        yield from models_in(part)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_documented_and_every_documented_key_exists(heading: str) -> None:
    assert documented(heading) == keys_of(heading)


def test_the_smallest_file_of_the_page_is_valid() -> None:
    example = re.search(r"(?s)```yaml\n(.*?)```", PAGE)
    kinds = {name: kind.options for name, kind in KINDS.items()}

    assert example is not None
    made = loads(example[1], kinds, {"VOICEFLOW_API_KEY": "x"})
    assert [target.name for target in made.targets] == ["shop"]


def test_the_providers_named_are_those_of_this_build() -> None:
    row = re.search(r"(?m)^\| `provider` \| required \| (.*?);", PAGE)

    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[1])) == KINDS.keys()


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("web", Web),
        ("ledger", LedgerOptions),
        ("limits", Limits),
        ("privacy", Privacy),
        ("Every target", Common),
    ],
)
def test_the_defaults_on_the_page_are_those_in_the_code(
    heading: str, model: type[BaseModel]
) -> None:
    section = re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", PAGE)
    assert section is not None

    rows = re.findall(r"(?m)^\| `(\w+)` \| `([^`]+)` \|", section[1])

    written = model.model_validate({key: yaml.safe_load(text) for key, text in rows})
    assert rows
    assert written == model()
