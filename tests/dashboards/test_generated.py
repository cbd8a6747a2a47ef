"""The committed boards and rules are those that the source generates."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dashboards.source.files import FOLDER, generated, importable_boards
from dashboards.source.rule_files import Links
from dashboards.source.thresholds import Thresholds

FILES = generated(Thresholds(), Links())


@pytest.mark.parametrize("name", FILES)
def test_a_generated_file_is_committed_as_the_source_writes_it(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == FILES[name], (
        "run python -m dashboards.source"
    )


def test_no_generated_file_is_left_from_an_older_source() -> None:
    kept = {path.name for path in FOLDER.glob("*.json")}

    assert kept == {name for name in FILES if name.endswith(".json")}


def test_a_board_for_import_by_hand_asks_for_the_data_source_and_is_otherwise_the_same() -> None:
    provisioned = json.loads(FILES["chatbot-overview.json"])
    imported = json.loads(importable_boards()["chatbot-overview.json"])

    assert [each["name"] for each in imported["__inputs"]] == ["DS_PROMETHEUS"]
    assert imported["templating"]["list"][0]["current"]["value"] == "${DS_PROMETHEUS}"
    assert imported["panels"] == provisioned["panels"]


def test_links_can_be_given_an_address() -> None:
    own = Links("https://docs.example.com/alerts", "https://grafana.example.com")

    alerts = generated(Thresholds(), own)["rules/chatbot-alerts.yaml"]

    assert "runbook_url: https://docs.example.com/alerts#chatbotdatastale" in alerts
    assert "dashboard_url: https://grafana.example.com/d/chatbot-exporter" in alerts


def test_boards_for_import_are_written_to_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboards.source", "--import", str(tmp_path / "boards")]

    subprocess.run(command, check=True, cwd=FOLDER.parent)  # noqa: S603 - our own command

    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "boards").iterdir()}
    assert written == importable_boards()
