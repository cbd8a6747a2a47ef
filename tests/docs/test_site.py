"""The site builds without a warning, what is generated is current, and what pages name is there."""

import logging
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli import main
from exporter.exposition import catalogue
from exporter.providers import BUILT_IN, PROVIDERS
from scripts.counting_pictures import FOLDER, STORIES, Story, counted, drawn
from tests.docs.pages import PAGES, ROOT, snippets, words_in_backquotes

DOCS = ROOT / "docs"
FAMILIES = {entry.family.name for entry in catalogue.entries(PROVIDERS)}
PATH = re.compile(
    r"(?<![\w/.<>*-])(?:exporter|scripts|tests|docs|dashboards|deploy|changelog\.d)/[\w./-]++(?![<*…])"
)
TITLES = [each.title for each in snippets("python", "markdown", "text") if each.title]


def test_the_reference_of_metrics_is_current() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    table = CliRunner().invoke(main, ["metrics", "--format", "markdown"]).stdout

    assert page.endswith(table), "run scripts/metrics-page"
    assert all(f"`{entry.family.name}`" in page for entry in catalogue.entries(BUILT_IN))


def test_every_page_can_be_reached_and_every_provider_has_one() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = set(re.findall(r"[\w./-]+\.md\b", text))
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}

    assert shown == pages
    assert {f"providers/{name}.md" for name in BUILT_IN} <= shown


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_site_builds_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build = pytest.importorskip("mkdocs.commands.build")
    config = pytest.importorskip("mkdocs.config").load_config(
        str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)
    )

    with caplog.at_level(logging.WARNING, "mkdocs"):
        build.build(config)

    assert [record.getMessage() for record in caplog.records] == []
    assert (tmp_path / "operations" / "index.html").exists()


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    theme = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["theme"]

    assert theme["font"] is False


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


def test_a_way_back_to_an_older_ledger_raises_its_counters() -> None:
    texts = [page.read_text("utf-8").split("\n\n") for page in PAGES]
    ways = [each for paragraphs in texts for each in paragraphs if "To go back" in each]

    assert len(ways) == 2
    assert all("ledger restore --floor-from" in way for way in ways)


def test_files_that_pages_name_exist_or_are_written_there() -> None:
    named = {(page, path) for page, word in words_in_backquotes() for path in PATH.findall(word)}
    missing = {
        (page, path)
        for page, path in named
        if not (ROOT / path).exists() and not any(title.startswith(path) for title in TITLES)
    }

    assert len(named) > 30
    assert not missing


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_picture_of_counting_is_current(story: Story) -> None:
    assert (FOLDER / f"{story.name}.svg").read_text("utf-8") == drawn(story)


def test_the_stories_show_what_their_titles_say() -> None:
    late, retraction, write_off = map(counted, STORIES)

    assert [each.counter for each in late] == [each.vendor for each in late]
    assert late[-1].counter == 104 + 97 + 60 + 9 - 130
    assert any(each.counter > each.vendor for each in retraction)
    assert retraction[-1].counter == retraction[-1].vendor
    assert write_off[-1].counter > write_off[-1].vendor
    assert write_off[-1].counter > max(each.counter for each in write_off[:-1])
