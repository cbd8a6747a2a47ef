"""Every query of every board, and of every rule, runs in a real Prometheus and finds data."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
import yaml

from dashboards.source.files import FOLDER
from dashboards.source.tuning import Tuning
from tests.dashboards.lint import expressions
from tests.dashboards.live import asked, prometheus

pytestmark = pytest.mark.slow

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
RULES = {
    rule.get("alert") or rule["record"]: rule["expr"]
    for name in ("chatbot-records", "chatbot-alerts")
    for group in yaml.safe_load((FOLDER / f"rules/{name}.yaml").read_text())["groups"]
    for rule in group["rules"]
}
GRAFANA = {"$__rate_interval": "5m", "$__interval": "1h", "$__range": "2h"}
EMPTY_RULES = {
    f"bot:chatbot_engagement{kind}:{drop.window}": "wants hours, the data is of half an hour"
    for drop in Tuning().drops
    for kind in ("", "_earlier", "_weeks", "_expected")
}
"""Records that find no data here, and why; alerts find none because all is well."""


def substituted(expr: str) -> str:
    for name, value in GRAFANA.items():
        expr = expr.replace(name, value)
    return re.sub(r'"\$\w+"', '".*"', expr)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as found:
        yield found


@pytest.mark.parametrize("uid", BOARDS)
def test_every_query_of_a_board_finds_data(client: httpx.Client, uid: str) -> None:
    empty = [
        (title, expr)
        for title, expr in expressions(BOARDS[uid])
        if not asked(client, substituted(expr))
    ]

    assert empty == []


@pytest.mark.parametrize("uid", BOARDS)
def test_every_variable_and_annotation_of_a_board_finds_data(
    client: httpx.Client, uid: str
) -> None:
    board = BOARDS[uid]
    for variable in board["templating"]["list"][1:]:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        assert found is not None
        samples = asked(client, substituted(found[1]))
        label = "" if found[2] == "bot_environment" else found[2]  # empty equals absent
        assert any(not label or label in sample["metric"] for sample in samples), variable["name"]
    for annotation in board["annotations"]["list"]:
        asked(client, substituted(annotation["expr"]))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_can_be_evaluated(client: httpx.Client, name: str) -> None:
    found = asked(client, RULES[name])

    if name.startswith("bot:"):
        assert bool(found) is (name not in EMPTY_RULES)
