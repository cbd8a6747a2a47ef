"""Every board has the types of Grafana's own schema, and those of three versions of its SDK."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.source.files import FOLDER
from tests.dashboards.lint import panels
from tests.e2e.processes import ROOT
from tests.packaging.programs import needed, said

BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}
NPM = ("@grafana/schema@13.2.3", "typescript@5.9.3")
TSC = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "boards.ts")
SDKS = ("1769699734!11.0.0", "1769699590!11.3.0", "1769699379!11.6.0")
PANELS = {
    "timeseries": "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
    "stat": "stat/panelcfg/x/StatPanelCfg_types.gen",
    "table": "table/panelcfg/x/TablePanelCfg_types.gen",
    "text": "text/panelcfg/x/TextPanelCfg_types.gen",
    "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
}
WITH_FIELDS = ("timeseries", "table", "state-timeline")
HEAD = """import type { Dashboard } from '@grafana/schema';
/** T as JSON has it: the values of its enumerations instead of their names, what it lacks left out. */
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]?: Plain<T[K]> } : T;
"""
ROUND_TRIP = """import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
for board in json.load(sys.stdin):
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    print(json.dumps(read))
"""


def typescript(boards: Iterable[dict[str, Any]]) -> str:
    """Return a module that gives the types of the schema to boards, options and fields of panels."""
    lines = [HEAD]
    for name, module in PANELS.items():
        kind = name.replace("-", "")
        lines.append(
            f"import type * as {kind} from '@grafana/schema/dist/esm/raw/composable/{module}';"
        )
    for board in map(copy.deepcopy, boards):
        for annotation in board["annotations"]["list"]:
            assert isinstance(annotation.pop("expr"), str)  # of the data source, not of the schema
        name = board["uid"].replace("-", "_")
        lines.append(f"export const {name}: Plain<Dashboard> = {json.dumps(board)};")
        for panel in panels(board):
            kind, place = panel["type"].replace("-", ""), f"{name}_{panel['id']}"
            options = json.dumps(panel.get("options", {}))
            lines.append(f"export const {place}: Plain<{kind}.Options> = {options};")
            if panel["type"] in WITH_FIELDS:
                custom = json.dumps(panel["fieldConfig"]["defaults"].get("custom", {}))
                lines.append(f"export const {place}_field: Plain<{kind}.FieldConfig> = {custom};")
    return "\n".join(lines)


def fetched(*command: str | Path, cwd: Path) -> None:
    """Run what fetches packages; skip aloud where it cannot, fail where CI promises it."""
    try:
        said(*command, cwd=cwd)
    except AssertionError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{command[-1]} cannot be fetched, so types are not proven here: {error}")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Grafana's schema and the compiler."""
    folder = tmp_path_factory.mktemp("schema")
    options = ("--silent", "--no-save", "--no-audit")
    fetched(needed("npm", "npm"), "install", *options, *NPM, cwd=folder)
    return folder


def compiled(folder: Path, boards: Iterable[dict[str, Any]], *, fails: bool = False) -> str:
    (folder / "boards.ts").write_text(typescript(boards), "utf-8")
    return said(folder / "node_modules" / ".bin" / "tsc", *TSC, cwd=folder, fails=fails)


def test_boards_have_the_types_of_grafanas_schema(schema: Path) -> None:
    assert compiled(schema, BOARDS.values()) == ""


def test_a_board_of_another_type_is_noticed(schema: Path) -> None:
    board = copy.deepcopy(BOARDS["chatbot-exporter"])
    stat, graph = (
        next(each for each in board["panels"] if each["type"] == kind)
        for kind in ("stat", "timeseries")
    )
    stat["options"]["graphMode"] = "areas"
    graph["fieldConfig"]["defaults"]["custom"]["lineWidht"] = 2
    overview = BOARDS["chatbot-overview"] | {"refresh": 5}

    shown = compiled(schema, [board, overview], fails=True)

    assert shown.count("error TS") == 3, shown
    assert [word for word in ('"areas"', "lineWidht", "'number'") if word not in shown] == []


@pytest.mark.parametrize("version", SDKS)
def test_boards_survive_the_sdk_of_a_version_of_grafana(version: str, tmp_path: Path) -> None:
    uv = needed("uv", "a development dependency")
    package = f"grafana-foundation-sdk=={version}"
    options = ("--quiet", "--python", sys.executable, "--target", tmp_path)
    fetched(uv, "pip", "install", *options, package, cwd=tmp_path)
    done = subprocess.run(  # noqa: S603 - our own lines
        [sys.executable, "-c", ROUND_TRIP],
        env={"PYTHONPATH": str(tmp_path)},
        input=json.dumps(list(BOARDS.values())),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    for board, line in zip(BOARDS.values(), done.stdout.splitlines(), strict=True):
        assert list(lost(board, json.loads(line))) == []


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield the members of ``before`` that ``after`` lacks or has with another value."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"
