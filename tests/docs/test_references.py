"""Whatever the tree refers to is in the tree: pages and sections of the specification, invariants."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SPECIFICATION = ROOT / "docs" / "specification"
SEARCHED = ("exporter", "tests", "dashboards/source", "docs", "scripts", "deploy", "changelog.d")
TOP = ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "exporter.yaml", "mkdocs.yml")
KINDS = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".service", ".html", ".js", ".css", ""}

NAMED = re.compile(r"specification:\s+(\w+\.md)((?:#|, )[\w #-]+)?")
LINKED = re.compile(r"(?:docs/)?specification/(\w+\.md)(#[\w-]+)?")
INVARIANT = re.compile(r"\bP\d{1,2}\b")
ABROAD = (
    re.compile(r"\bsemantics\.md\b|\bDESIGN\.md\b|\bvocabulary\.md\b"),
    re.compile(r"``metrics\.md``|\bmetrics\.md [A-Z]\.\d"),
    re.compile(r"\((?:[^()\n]*, )?[A-J]\.\d{1,2}(?:, [A-J]\.\d{1,2})*\)"),
    re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w"),
    re.compile(r"(?<![\w/])\.\./shared\b"),
)
"""Papers that are not in the repository, bare numbers of their sections, paths of a machine."""


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Return path and text of every file that people write, this one and data apart."""
    paths = [ROOT / name for name in TOP]
    for folder in SEARCHED:
        paths += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in KINDS]
    return tuple(
        (str(path.relative_to(ROOT)), path.read_text("utf-8"))
        for path in paths
        if path.is_file() and path != Path(__file__) and not _is_data(path)
    )


def _is_data(path: Path) -> bool:
    return bool({"__pycache__", "node_modules", "pictures", "bad", "corpus"} & set(path.parts))


@cache
def anchors(page: str) -> frozenset[str]:
    """Return the anchors of the headings of a page of the specification."""
    headings = re.findall(r"^#+ (.+)$", (SPECIFICATION / page).read_text("utf-8"), re.MULTILINE)
    return frozenset(slug(heading) for heading in headings)


def slug(heading: str) -> str:
    """Return the anchor that the site gives to ``heading``."""
    plain = re.sub(r"[^\w\s-]", "", heading.lower())
    return re.sub(r"[-\s]+", "-", plain).strip("-")


def places(pattern: re.Pattern[str], text: str, path: str) -> list[tuple[str, re.Match[str]]]:
    """Return ``file:line`` and match of every place that ``pattern`` finds."""
    return [
        (f"{path}:{text.count(chr(10), 0, found.start()) + 1}", found)
        for found in pattern.finditer(text)
    ]


def unresolved(pattern: re.Pattern[str]) -> list[str]:
    """Return references of the form ``pattern`` to a page or a section that is not there."""
    return [
        f"{place}: {' '.join(found[0].split())}"
        for path, text in texts()
        for place, found in places(pattern, text, path)
        if not resolves(found[1], found[2] or "")
    ]


def resolves(page: str, section: str) -> bool:
    """Say whether ``section`` of ``page`` exists: ``#anchor``, ``, rule 3``, or nothing."""
    if not (SPECIFICATION / page).is_file():
        return False
    if rule := re.match(r", rule (\d+)", section):
        return f"\n{rule[1]}. " in (SPECIFICATION / page).read_text("utf-8")
    return not section.startswith("#") or section[1:].strip() in anchors(page)


def test_a_reference_to_the_specification_resolves() -> None:
    assert unresolved(NAMED) == []


def test_a_link_into_the_specification_resolves() -> None:
    assert unresolved(LINKED) == []


def test_links_within_the_specification_resolve() -> None:
    links = re.compile(r"\]\((\w+\.md)?(#[\w-]+)?\)")
    wrong = [
        f"{page.name}: {found[0]}"
        for page in sorted(SPECIFICATION.glob("*.md"))
        for found in links.finditer(page.read_text("utf-8"))
        if not resolves(found[1] or page.name, found[2] or "")
    ]

    assert wrong == []


def test_an_invariant_that_a_test_names_is_in_the_specification() -> None:
    page = (SPECIFICATION / "invariants.md").read_text("utf-8")
    defined = set(re.findall(r"^\| (P\d+) \|", page, re.MULTILINE))
    named = {
        (place, found[0])
        for path, text in texts()
        if path.startswith(("tests/", "exporter/"))
        for place, found in places(INVARIANT, text, path)
    }

    assert defined == {f"P{number}" for number in range(1, 20)}
    assert {(place, name) for place, name in named if name not in defined} == set()


def test_the_tests_of_an_invariant_exist() -> None:
    page = (SPECIFICATION / "invariants.md").read_text("utf-8")
    rows = re.findall(r"^\| (P\d+) \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    missing = [
        f"{name}: {path}"
        for name, cell in rows
        for path in re.findall(r"`([^`]+)`", cell)
        if not (ROOT / path).is_file()
    ]

    assert missing == []


@pytest.mark.parametrize("pattern", ABROAD, ids=lambda pattern: pattern.pattern[:30])
def test_nothing_outside_the_repository_is_referred_to(pattern: re.Pattern[str]) -> None:
    found = [
        f"{place}: {hit[0]}" for path, text in texts() for place, hit in places(pattern, text, path)
    ]

    assert found == []
