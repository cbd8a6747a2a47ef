"""The page "Add a provider in an hour" adds one: its files, its lines, its commands."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Snippet, snippets

PARTS = ("exporter", "dashboards", "deploy", "docs", "scripts", "tests")
FILES = ("exporter.yaml", "mkdocs.yml", "pyproject.toml", "README.md", "CONTRIBUTING.md")
AFTER: Mapping[str, tuple[str, ...]] = {
    "exporter/providers/__init__.py": ("from exporter.providers.base.plugin import", "PROVIDERS: "),
    "exporter/simulator/__init__.py": ("from exporter.clock import", "SIMULATORS: "),
    "tests/faults/test_faults.py": ("SCENARIOS: ",),
    "dashboards/source/metrics_shown.py": ("PROVIDERS: ",),
    "mkdocs.yml": ("  - Providers:",),
    "docs/configuration.md": (),
    "exporter.yaml": (),
}
"""Where lines of files that are there already go: below these, one after another, or at the end."""
SCHEMA = "deploy/helm/chatbot-exporter/values.schema.json"


def of_the_page(*kinds: str) -> list[Snippet]:
    return [each for each in snippets(*kinds) if each.place.startswith("docs/add-a-provider.md:")]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of this tree, with what is compiled already."""
    unwanted = shutil.ignore_patterns("artifacts")
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True, ignore=unwanted)
    for file in FILES:
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def write(tree: Path, snippet: Snippet) -> None:
    """Write the file that the snippet is, or add its lines to the one there is."""
    path = tree / snippet.title
    if snippet.title not in AFTER:
        assert not path.exists(), snippet.title
        path.parent.mkdir(exist_ok=True)
        path.write_text(snippet.text, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    places = AFTER[snippet.title]
    for place, lines in zip(places, parts_of(snippet, len(places)), strict=True):
        at = text.index("\n", text.index(f"\n{place}") + 1) + 1
        text = f"{text[:at]}{lines}{text[at:]}"
    path.write_text(text if places else text + snippet.text, encoding="utf-8")


def parts_of(snippet: Snippet, count: int) -> list[str]:
    """Return the spans of lines that an empty line parts."""
    parts = [f"{part.strip(chr(10))}\n" for part in snippet.text.split("\n\n")]
    return parts if count else []


def run(tree: Path, *words: str) -> str:
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(tree)}
    done = subprocess.run(  # noqa: S603 - the page's own words
        words, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_adds_a_provider_that_keeps_to_every_rule(tree: Path) -> None:
    for snippet in of_the_page("python", "markdown", "text"):
        write(tree, snippet)
    schema = (tree / SCHEMA).read_text(encoding="utf-8")
    (tree / SCHEMA).write_text(schema.replace('["chatlayer"', '["acme", "chatlayer"'), "utf-8")

    first, last = of_the_page("sh")
    for line in last.text.splitlines():
        if not line.startswith("make") and "pytest" not in line:
            run(tree, *line.replace(".venv/bin/python", sys.executable).split())
    changed = sorted({each.title for each in of_the_page("python")})
    run(tree, sys.executable, "-m", "ruff", "check", "--fix", "--select", "I", *changed)
    run(tree, sys.executable, "-m", "ruff", "format", "--check", *changed)
    run(tree, sys.executable, "-m", "ruff", "check", *changed)

    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    wanted = last.text.partition("pytest -q ")[2].split()
    assert first.text.split()[-1] in wanted
    others = ("tests/config/test_reference.py", "tests/dashboards/test_generated.py")
    faults = ("tests/faults/test_faults.py", "-k", "not test_faults or acme or every_provider_is")
    found = run(tree, *pytest_, "-v", *wanted, *others, *faults)
    assert "test_acme" in found
    assert re.search(r"tests/faults/test_faults\.py( \.{2,}|::.*PASSED)", found)
