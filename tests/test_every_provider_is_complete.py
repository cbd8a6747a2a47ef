"""A provider is a folder, a registry line, a simulator, tests, a page and an example."""

from pathlib import Path

import pytest

from exporter.families import NORMALISED
from exporter.providers import KINDS
from exporter.simulator import SIMULATORS

ROOT = Path(__file__).parent.parent
PROVIDERS = ROOT / "exporter" / "providers"
FOLDERS = sorted(path.parent.name for path in PROVIDERS.glob("*/__init__.py"))
PARTS = ("__init__.py", "options.py", "provider.py", "mapping.py")


def lacks(name: str) -> list[str]:
    """Return what the provider ``name`` still needs, in words."""
    wanted = [
        *(f"exporter/providers/{name}/{part}" for part in PARTS),
        f"exporter/simulator/{name}.py",
        f"tests/providers/{name}/test_mapping.py",
        f"tests/providers/{name}/test_compliance.py",
        f"docs/providers/{name}.md",
    ]
    missing = [path for path in wanted if not (ROOT / path).is_file()]
    if name not in KINDS:
        missing.append("a line in exporter/providers/__init__.py")
    if name not in SIMULATORS:
        missing.append("a line in exporter/simulator/__init__.py")
    if f"provider: {name}" not in (ROOT / "exporter.yaml").read_text("utf-8"):
        missing.append("an entry in exporter.yaml")
    return missing


@pytest.mark.parametrize("name", sorted({*FOLDERS, *KINDS, *SIMULATORS}))
def test_a_provider_lacks_nothing(name: str) -> None:
    assert lacks(name) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_provider_goes_by_its_own_name(name: str) -> None:
    assert KINDS[name].name == name


@pytest.mark.parametrize("name", KINDS)
def test_a_provider_feeds_families_that_exist(name: str) -> None:
    assert KINDS[name].feeds <= NORMALISED.keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_providers_own_families_carry_its_name(name: str) -> None:
    for family in KINDS[name].families:
        assert family.name.startswith(f"chatbot_{name}_")
        assert family.labels[:2] == ("provider", "target")


def test_no_two_providers_share_a_family_of_their_own() -> None:
    names = [family.name for kind in KINDS.values() for family in kind.families]

    assert len(set(names)) == len(names)
