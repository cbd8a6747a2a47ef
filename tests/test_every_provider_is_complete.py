"""A provider is a folder, a registry line, a simulator, tests, a board, a page and an example."""

import shutil
from collections.abc import Container
from pathlib import Path

import pytest

from exporter.model.families import NORMALISED
from exporter.providers import BUILT_IN
from exporter.simulator import SIMULATORS

ROOT = Path(__file__).parent.parent
PACKAGES = ROOT / "exporter" / "providers"
FOLDERS = sorted(
    path.name
    for path in PACKAGES.iterdir()
    if path.name not in {"base", "manifest"} and any(path.glob("*.py"))
)
VALUES = "deploy/helm/chatbot-exporter/values.schema.json"
PARTS = ("__init__.py", "options.py", "provider.py", "mapping.py")


def files(name: str) -> list[str]:
    """Return the files that the provider ``name`` must have."""
    return [
        *(f"exporter/providers/{name}/{part}" for part in PARTS),
        f"exporter/simulator/{name}.py",
        f"tests/simulator/test_{name}.py",
        f"tests/providers/{name}/test_mapping.py",
        f"tests/providers/{name}/test_compliance.py",
        f"docs/providers/{name}.md",
        f"dashboards/chatbot-{name}.json",
    ]


def places(name: str) -> dict[str, tuple[str, str]]:
    """Return what other files must say of the provider, by the words for it: file and text."""
    return {
        "an entry in exporter.yaml": ("exporter.yaml", f"provider: {name}"),
        "a page in mkdocs.yml": ("mkdocs.yml", f"providers/{name}.md"),
        "a course of faults in tests/faults/test_faults.py": (
            "tests/faults/test_faults.py",
            f'"{name}": Course(',
        ),
        "its keys in docs/configuration.md": ("docs/configuration.md", f"<!-- keys: {name} -->"),
        f"the provider in {VALUES}": (VALUES, f'"{name}"'),
    }


def lacks(
    name: str,
    root: Path = ROOT,
    kinds: Container[str] = BUILT_IN,
    simulators: Container[str] = SIMULATORS,
) -> list[str]:
    """Return what the provider ``name`` still needs."""
    missing = [path for path in files(name) if not (root / path).is_file()]
    if name not in kinds:
        missing.append("a line in exporter/providers/__init__.py")
    if name not in simulators:
        missing.append("a line in exporter/simulator/__init__.py")
    for words, (file, text) in places(name).items():
        if text not in (root / file).read_text("utf-8"):
            missing.append(words)
    return missing


@pytest.mark.parametrize("name", sorted({*FOLDERS, *BUILT_IN, *SIMULATORS}))
def test_a_provider_lacks_nothing(name: str) -> None:
    missing = lacks(name)
    assert not missing, "\n".join([f"{name} lacks", *missing])


def copied(root: Path, *paths: str) -> None:
    """Copy files of this tree to ``root``."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, root / path)


def test_everything_that_an_incomplete_provider_lacks_is_named(tmp_path: Path) -> None:
    copied(tmp_path, *(file for file, _ in places("halfway").values()))
    made = tmp_path / "exporter/providers/halfway"
    made.mkdir(parents=True)
    for part in ("__init__.py", "options.py"):
        (made / part).touch()

    assert lacks("halfway", tmp_path) == [
        "exporter/providers/halfway/provider.py",
        "exporter/providers/halfway/mapping.py",
        "exporter/simulator/halfway.py",
        "tests/simulator/test_halfway.py",
        "tests/providers/halfway/test_mapping.py",
        "tests/providers/halfway/test_compliance.py",
        "docs/providers/halfway.md",
        "dashboards/chatbot-halfway.json",
        "a line in exporter/providers/__init__.py",
        "a line in exporter/simulator/__init__.py",
        "an entry in exporter.yaml",
        "a page in mkdocs.yml",
        "a course of faults in tests/faults/test_faults.py",
        "its keys in docs/configuration.md",
        f"the provider in {VALUES}",
    ]


@pytest.mark.parametrize("path", files("voiceflow"))
def test_a_file_that_goes_missing_is_named(path: str, tmp_path: Path) -> None:
    copied(tmp_path, *files("voiceflow"), *(file for file, _ in places("voiceflow").values()))
    assert lacks("voiceflow", tmp_path) == []

    (tmp_path / path).unlink()

    assert lacks("voiceflow", tmp_path) == [path]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_provider_goes_by_its_own_name(name: str) -> None:
    assert BUILT_IN[name].name == name


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_provider_feeds_families_that_exist(name: str) -> None:
    assert BUILT_IN[name].feeds <= NORMALISED.keys()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_providers_own_families_carry_its_name(name: str) -> None:
    for family in BUILT_IN[name].families:
        assert family.name.startswith(f"chatbot_{name}_")
        assert family.labels[:2] == ("provider", "target")


def test_no_two_providers_share_a_family_of_their_own() -> None:
    names = [family.name for kind in BUILT_IN.values() for family in kind.families]

    assert len(set(names)) == len(names)
