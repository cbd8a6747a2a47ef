"""What pages name is there: families, files, keys of settings."""

import re
from pathlib import Path

import pytest

from exporter.exposition import catalogue
from exporter.providers import PROVIDERS
from tests.docs.pages import PAGES, ROOT, snippets, words_in_backquotes

FAMILIES = {entry.family.name for entry in catalogue.entries(PROVIDERS)}
PATH = re.compile(
    r"(?<![\w/.<>*-])(?:exporter|scripts|tests|docs|dashboards|deploy|changelog\.d)/[\w./-]++(?![<*…])"
)
TITLES = [each.title for each in snippets("python", "markdown", "text") if each.title]


def families_on(text: str) -> set[str]:
    """Return the names of families in the text, without beginnings of names (``chatbot_x_*``)."""
    names = set(re.findall(r"\bchatbot_\w+(?![\w*…])", text))
    return {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in names if name[-1] != "_"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_families_on_a_page_exist(page: Path) -> None:
    named = families_on(page.read_text("utf-8"))

    assert {name for name in named if not name.startswith("chatbot_custom_")} <= FAMILIES


def test_families_are_found_on_the_pages() -> None:
    assert families_on("`chatbot_old_total`, `chatbot_period_*`, `chatbot_x_…`") == {
        "chatbot_old_total"
    }
    assert families_on((ROOT / "README.md").read_text("utf-8"))


def test_files_that_pages_name_exist_or_are_written_there() -> None:
    named = {(page, path) for page, word in words_in_backquotes() for path in PATH.findall(word)}
    missing = {
        (page, path)
        for page, path in named
        if not (ROOT / path).exists() and not any(title.startswith(path) for title in TITLES)
    }

    assert len(named) > 30
    assert not missing
