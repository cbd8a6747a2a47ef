"""Committed boards and rules are generated, well-formed for Prometheus 2 and 3, and drawn as they are."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.source.files import FOLDER, generated, importable_boards
from dashboards.source.rule_files import Links
from dashboards.source.thresholds import Thresholds
from scripts.panel_pictures import PANELS, Drawn, panel_of, path_of, picture
from tests.dashboards.lint import expressions
from tests.dashboards.live import GRAFANA, HOUR_S, substituted
from tests.dashboards.promtool import BUILDS, Build, needed
from tests.packaging.programs import said

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


RULES = sorted((FOLDER / "rules").glob("*.yaml"))
BOARDS = sorted(FOLDER.glob("*.json"))


def check(build: Build, file: Path, *, fails: bool = False) -> None:
    promtool = needed("promtool", build)
    said(promtool, "check", "rules", "--lint=all", "--lint-fatal", file, fails=fails)


def as_rules(board: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule file that records every query of a board."""
    asked = [expr for _, expr in expressions(board)]
    asked += [each["expr"] for each in board["annotations"]["list"]]
    rules = [
        {"record": f"board:query:{number}", "expr": substituted(expr, GRAFANA)}
        for number, expr in enumerate(asked)
    ]
    return {"groups": [{"name": "board", "rules": rules}]}


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_promtool_has_nothing_against_the_rules(build: Build, file: Path) -> None:
    check(build, file)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_promtool_can_read_every_query_of_a_board(build: Build, file: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(as_rules(json.loads(file.read_text()))))

    check(build, rules)


@pytest.mark.parametrize("build", BUILDS)
def test_a_query_that_cannot_be_read_is_noticed(build: Build, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES[0].read_text().replace("[3h]", "[3 hours]"))

    check(build, rules, fails=True)


SPAN = (0, 24 * HOUR_S)


@pytest.mark.parametrize(("uid", "title", "days"), PANELS)
def test_a_picture_is_of_a_panel_with_its_legend(uid: str, title: str, days: int) -> None:
    committed = path_of(uid, title).read_text(encoding="utf-8")

    assert days > 0
    assert f"<title>{title}</title>" in committed
    for target in panel_of(uid, title)["targets"]:
        fixed = target["legendFormat"].rpartition("}}")[2].strip()
        assert fixed in committed


def test_hours_without_data_stay_open() -> None:
    points = [(at * HOUR_S, 10.0) for at in (0, 1, 2, 6, 7, 8)]

    shown = picture("Engagement", SPAN, [Drawn("shop", 'stroke="#000"', points)])

    assert shown.count("<polyline") == 2


def test_values_have_their_place_on_the_axis() -> None:
    shown = picture("Engagement", SPAN, [Drawn("a & b", "", [(0, 0.0), (SPAN[1], 50.0)])])

    assert [mark for mark in range(100) if f'"end">{mark}<' in shown] == [0, 20, 40]
    assert '"848.0,49.0"' in shown  # 50 of the 54 at which the axis ends, above the highest value
    assert ">a &amp; b<" in shown
