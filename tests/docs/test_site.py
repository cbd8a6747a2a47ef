"""The site builds without a warning, and what is generated is current."""

import logging
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli import main
from exporter.exposition import catalogue
from exporter.providers import BUILT_IN
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"


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
