"""The tutorial of docs/manifests.md does what it says, with nothing but what it shows."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.cli import main
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/manifests.md").read_text("utf-8")
TITLED = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FILES = dict(TITLED.findall(PAGE))
COMMANDS = re.findall(r"^chatbot-exporter (manifest .*)$", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("exporter.yaml", "parrot.yaml", "page1.json", "page2.json"):
        (tmp_path / name).write_text(FILES[name], "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARROT_KEY", "k")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_each_command_of_the_tutorial_prints_what_the_page_shows() -> None:
    check, test = COMMANDS

    checked = CliRunner().invoke(main, check.split())
    tried = CliRunner().invoke(main, test.split())
    config = CliRunner().invoke(main, ["check-config"])

    assert checked.exit_code == 0
    assert checked.stderr == ""
    assert "last_user" not in checked.stdout
    assert tried.exit_code == 0, tried.stderr
    assert tried.stdout == FILES["output"]
    assert config.exit_code == 0, config.stderr
    assert "parrot (stats)" in config.stdout


def test_a_mistake_in_the_manifest_is_reported_by_check_config_too(folder: Path) -> None:
    wrong = FILES["parrot.yaml"].replace("row.in}", "rwo.in}").replace("/v2/stats", "v2/stats")
    (folder / "parrot.yaml").write_text(wrong, "utf-8")

    done = CliRunner().invoke(main, ["check-config"])

    assert done.exit_code == 2
    assert "parrot.yaml:11:13: queries.stats.request.path: expected a path" in done.stderr
    assert "begin with answer or hour or row" in done.stderr
    assert "exporter.yaml:5:15: targets[0].manifest: " in done.stderr
