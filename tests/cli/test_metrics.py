"""``metrics``: the catalogue, as a command and as data."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.metrics_core import Metric

from exporter.cli import main
from exporter.exposition import catalogue
from exporter.model.families import NORMALISED
from exporter.providers import PROVIDERS
from exporter.telemetry.counters import FAMILIES


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["metrics", *arguments])
    assert result.exit_code == 0
    return result.stdout


def records() -> dict[str, dict[str, Any]]:
    listed = json.loads(printed("--format", "json"))
    return {record["name"]: record for record in listed}


def test_every_family_is_there_with_its_sources_and_labels() -> None:
    own = {family.name for kind in PROVIDERS.values() for family in kind.families}
    found = records()

    assert NORMALISED.keys() | own | {family.name for family in FAMILIES} <= found.keys()
    shown = found["chatbot_period_interactions"]
    assert shown["type"] == "gauge"
    assert shown["labels"] == ["provider", "target", "project", "bot_environment", "period"]
    assert found["chatbot_exporter_polls_total"]["labels"] == ["provider", "target", "query"]
    assert {name: found[name]["sources"] for name in SOURCES} == SOURCES


SOURCES = {
    "chatbot_exporter_polls_total": ["exporter"],
    "chatbot_period_interactions": ["chatlayer", "inkeep", "voiceflow"],
    "chatbot_interactions_total": ["chatlayer", "inkeep", "voiceflow"],
    "chatbot_flow_triggers_total": ["chatlayer", "flowxo", "inkeep"],
    "chatbot_llm_cost_usd_total": ["anthropic", "botpress", "openai"],
    "chatbot_llm_tokens_total": ["anthropic", "botpress", "chatlayer", "inkeep", "openai"],
    "chatbot_goals_reached_total": ["chatlayer", "inkeep", "xenioo"],
}


def test_every_family_is_there_once_with_a_help_text_and_a_name_that_fits_its_type() -> None:
    families = [entry.family for entry in catalogue.entries(PROVIDERS)]

    assert [family.name for family in families] == sorted({family.name for family in families})
    for family in families:
        assert family.help.endswith("."), family.name
        assert Metric(family.name, family.help, family.kind.value).name
        assert family.name.endswith("_total") == (family.kind.value == "counter"), family.name


def test_the_table_has_a_line_for_each_family() -> None:
    lines = printed().splitlines()

    assert lines[0].split() == ["NAME", "TYPE", "LABELS", "HELP"]
    assert len(lines) == len(records()) + 1
    assert any(line.startswith("chatbot_interactions_total ") for line in lines)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("name", "said"), [("/dev/full", "No space left on device"), ("out", "File too large")]
)
def test_an_output_that_cannot_be_written_whole_is_an_error_in_one_line(
    name: str, said: str, unbuffered: str, tmp_path: Path
) -> None:
    # The coverage of such a process could not be written either.
    usual = {each: value for each, value in os.environ.items() if not each.startswith("COV")}
    with (tmp_path / name).open("w") as full:
        done = subprocess.run(  # noqa: S603 - our own program
            ["/bin/sh", "-c", f"ulimit -f 2; exec '{sys.executable}' -m exporter metrics"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=usual | {"PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == f"Error: the output cannot be written: {said}\n"
