"""Generates the files: boards, rules, and boards for import by hand."""

import json
from collections.abc import Iterator
from pathlib import Path

from dashboards.source import manifest, operations, overview, provider, spend
from dashboards.source.dashboard import DashboardPage, rendered
from dashboards.source.metrics_shown import PROVIDERS
from dashboards.source.rule_files import Links, rule_files
from dashboards.source.thresholds import Thresholds

FOLDER = Path(__file__).parents[1]
_INPUT = "DS_PROMETHEUS"


def boards() -> Iterator[DashboardPage]:
    """Yield every board."""
    yield overview.board()
    yield from (provider.board(name) for name in PROVIDERS)
    yield from manifest.boards()
    yield spend.board()
    yield operations.board()


def generated(thresholds: Thresholds, links: Links) -> dict[str, str]:
    """Return the text of every committed file, by its path under ``dashboards/``."""
    return dict(rule_files(thresholds, links)) | {
        f"{board.uid}.json": rendered(board) for board in boards()
    }


def importable_boards() -> dict[str, str]:
    """Return every board in the format of Grafana's import page, by file name."""
    return {f"{board.uid}.json": importable(rendered(board)) for board in boards()}


def importable(text: str) -> str:
    """Return a board for import by hand, for which Grafana asks for the data source."""
    document = json.loads(text)
    requirement = {
        "type": "datasource",
        "id": "prometheus",
        "name": "Prometheus",
        "version": "1.0.0",
    }
    asked = {
        "name": _INPUT,
        "label": "Prometheus",
        "description": "The Prometheus that scrapes the exporter",
        "type": "datasource",
        "pluginId": "prometheus",
        "pluginName": "Prometheus",
    }
    grafana = {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.0.0"}
    document |= {"__inputs": [asked], "__requires": [grafana, requirement], "editable": True}
    for variable in document["templating"]["list"]:
        if variable["type"] == "datasource":
            variable["current"] = {"text": "Prometheus", "value": f"${{{_INPUT}}}"}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
