"""A provider is a folder, a registry line, a simulator, tests, a board, a page and an example."""

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
PARTS = ("__init__.py", "provider.py", "mapping.py")


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
        "a scenario of faults in tests/faults/test_faults.py": (
            "tests/faults/test_faults.py",
            f'"{name}": Scenario(',
        ),
        "its settings in tests/dashboards/test_lint.py": (
            "tests/dashboards/test_lint.py",
            f'"{name}": {{',
        ),
        "its keys in docs/configuration.md": ("docs/configuration.md", f"<!-- keys: {name} -->"),
        f"the provider in {VALUES}": (VALUES, f'"{name}"'),
    }


def lacks(name: str) -> list[str]:
    """Return what the provider ``name`` still needs."""
    missing = [path for path in files(name) if not (ROOT / path).is_file()]
    if name not in BUILT_IN:
        missing.append("a line in exporter/providers/__init__.py")
    if name not in SIMULATORS:
        missing.append("a line in exporter/simulator/__init__.py")
    for words, (file, text) in places(name).items():
        if text not in (ROOT / file).read_text("utf-8"):
            missing.append(words)
    return missing


@pytest.mark.parametrize("name", sorted({*FOLDERS, *BUILT_IN, *SIMULATORS}))
def test_a_provider_lacks_nothing(name: str) -> None:
    missing = lacks(name)
    assert not missing, "\n".join([f"{name} lacks", *missing])


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
