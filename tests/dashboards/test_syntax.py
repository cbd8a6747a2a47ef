"""Rules and the boards' queries are well-formed, for Prometheus 2 and for 3 where it is built."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.source.files import FOLDER
from tests.dashboards.lint import expressions
from tests.dashboards.live import GRAFANA, substituted
from tests.dashboards.promtool import BUILDS, Build, needed
from tests.packaging.programs import said

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
