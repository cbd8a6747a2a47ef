"""Rules and the boards' queries are well-formed, for Prometheus 2 and for 3 where it is built."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.source.files import FOLDER
from tests.dashboards.lint import expressions
from tests.dashboards.live import GRAFANA, substituted
from tests.dashboards.promtool import BUILDS, Build, needed

RULES = sorted((FOLDER / "rules").glob("*.yaml"))
BOARDS = sorted(FOLDER.glob("*.json"))


def checked(build: Build, file: Path) -> subprocess.CompletedProcess[str]:
    command = [needed("promtool", build), "check", "rules", "--lint=all", "--lint-fatal", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


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
    done = checked(build, file)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_promtool_can_read_every_query_of_a_board(build: Build, file: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(as_rules(json.loads(file.read_text()))))

    done = checked(build, rules)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("build", BUILDS)
def test_a_query_that_cannot_be_read_is_noticed(build: Build, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES[0].read_text().replace("[3h]", "[3 hours]"))

    assert checked(build, rules).returncode != 0
