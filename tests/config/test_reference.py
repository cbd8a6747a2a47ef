"""``docs/configuration.md`` has every key there is, and no other, as the code defines it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from exporter.config import loads
from exporter.config.model import Common, LedgerOptions, Limits, Privacy, TargetOptions, Web
from exporter.errors import SettingsError
from exporter.providers import BUILT_IN, PROVIDERS
from scripts.configuration_page import rewritten, tables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
OPTIONS = {name: kind.options for name, kind in PROVIDERS.items()}
MADE = tables(OPTIONS)
WRITTEN: dict[str, type[BaseModel]] = {
    "web": Web,
    "ledger": LedgerOptions,
    "limits": Limits,
    "privacy": Privacy,
    "Every target": Common,
}
SECTIONS = ("Top level", *WRITTEN, *OPTIONS)
ROW = re.compile(r"(?m)^\| `([\w.]+)` \| (.+?) \| (.*?) \| (.*) \|$")


def rows(heading: str) -> list[tuple[str, str, str, str]]:
    """Return key, kind, default and meaning of every row in the section."""
    section = re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", PAGE)
    assert section is not None, heading
    return ROW.findall(section[1])


def defaults(heading: str) -> dict[str, Any]:
    """Return the section's defaults by key, without those of nested keys."""
    given = {key: re.fullmatch("`(.+)`", default) for key, _, default, _ in rows(heading)}
    return {key: yaml.safe_load(text[1]) for key, text in given.items() if text and "." not in key}


def required_of(target: dict[str, Any]) -> dict[str, Any]:
    """Return of an example target only what it cannot do without."""
    fields = OPTIONS[target["provider"]].model_fields
    return {key: value for key, value in target.items() if fields[key].is_required()}


def loaded(target: dict[str, Any]) -> TargetOptions:
    text = yaml.safe_dump({"version": 1, "privacy": PRIVACY, "targets": [target]})
    environ = dict.fromkeys(re.findall(r"env: (\w+)", text), "a:b")
    return loads(text, OPTIONS, environ).targets[0]


PRIVACY = {"top_messages": "allowlist"}
EXAMPLES = {
    target["provider"]: required_of(target)
    for target in yaml.safe_load((ROOT / "exporter.yaml").read_text("utf-8"))["targets"]
}


def test_the_page_is_current_with_a_place_for_every_table() -> None:
    assert rewritten(PAGE, MADE) == PAGE, "run scripts/configuration-page"
    assert sorted(re.findall(r"<!-- keys: (\w+) -->", PAGE)) == sorted(MADE)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_has_a_meaning(heading: str) -> None:
    assert [key for key, _, _, meaning in rows(heading) if not meaning.strip()] == []


def test_the_files_of_the_page_are_valid() -> None:
    smallest, shared = re.findall(r"(?s)```yaml\n(.*?)```", PAGE)

    texts = (smallest, f"version: 1\n{shared}")
    made = [loads(text, OPTIONS, {"VOICEFLOW_API_KEY": "x"}).targets for text in texts]
    assert [[target.name for target in targets] for targets in made] == [["shop"], ["shop", "docs"]]


def test_the_faults_of_the_page_are_told_in_its_words() -> None:
    example = re.search(r"(?s)```yaml\n(.*?)```.*?seventh line\n`(.+?)`.*?```\n(.*?)```", PAGE)
    assert example is not None
    text, line, told = example.groups()

    with pytest.raises(SettingsError) as caught:
        loads(f"{text}{line}\n", OPTIONS, {}, file="exporter.yaml")

    assert f"{caught.value}\n" == told


@pytest.mark.parametrize("heading", WRITTEN)
def test_the_defaults_on_the_page_are_those_in_the_code(heading: str) -> None:
    written, model = defaults(heading), WRITTEN[heading]

    assert written
    assert model.model_validate(written) == model()


@pytest.mark.parametrize("provider", BUILT_IN)
def test_a_providers_defaults_written_out_change_nothing(provider: str) -> None:
    target, written = EXAMPLES[provider], defaults(provider)

    assert "base_url" in written
    assert loaded(target | written) == loaded(target)
