"""What is committed is what the source says."""

import json

import pytest

from dashboards.source.files import FOLDER, generated
from dashboards.source.tuning import Tuning

FILES = generated(Tuning())


@pytest.mark.parametrize("name", FILES)
def test_a_generated_file_is_committed_as_the_source_writes_it(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == FILES[name], (
        "run python -m dashboards.source"
    )


def test_no_generated_file_is_left_from_an_older_source() -> None:
    kept = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json")}

    assert kept == {name for name in FILES if name.endswith(".json")}


def test_a_board_for_import_by_hand_asks_for_the_data_source_and_is_otherwise_the_same() -> None:
    provisioned = json.loads(FILES["chatbot-overview.json"])
    imported = json.loads(FILES["import/chatbot-overview.json"])

    assert [asked["name"] for asked in imported["__inputs"]] == ["DS_PROMETHEUS"]
    assert imported["templating"]["list"][0]["current"]["value"] == "${DS_PROMETHEUS}"
    assert imported["panels"] == provisioned["panels"]


def test_links_can_be_given_an_address() -> None:
    tuned = Tuning(runbooks="https://git.example.com/bots/", grafana="https://grafana.example.com")

    alerts = generated(tuned)["rules/chatbot-alerts.yaml"]

    assert "https://git.example.com/bots/docs/alerts.md#chatbotdatastale" in alerts
    assert "dashboard_url: https://grafana.example.com/d/chatbot-exporter" in alerts
