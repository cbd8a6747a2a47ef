"""The unit: well formed, confined, and consistent with the settings that it is documented with."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.packaging.programs import ROOT, needed, said
from tests.support.vendors import read_text

UNIT = ROOT / "deploy" / "systemd" / "chatbot-exporter.service"
TEXT = UNIT.read_text(encoding="utf-8")
KEYS = UNIT.with_name("keys.conf").read_text(encoding="utf-8")
MOST_EXPOSURE = 2.0


def test_the_unit_is_well_formed_with_and_without_its_drop_in(tmp_path: Path) -> None:
    analyze = needed("systemd-analyze", "systemd")
    here = Path(sys.executable).with_name("chatbot-exporter")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("/opt/chatbot-exporter/bin/.*? ", f"{here} ", TEXT), encoding="utf-8")

    drop_in = tmp_path / f"{UNIT.name}.d" / "keys.conf"
    drop_in.parent.mkdir()

    alone = said(analyze, "verify", "--man=no", unit)
    drop_in.write_text(KEYS, encoding="utf-8")

    assert alone == said(analyze, "verify", "--man=no", unit) == ""


def test_the_service_is_exposed_to_little() -> None:
    analyze = needed("systemd-analyze", "systemd")

    shown = said(analyze, "security", "--offline=true", "--no-pager", UNIT)

    overall = re.search(r"Overall exposure level .*: (\d+\.\d)", shown)
    assert overall, shown
    assert float(overall[1]) < MOST_EXPOSURE


def test_a_user_of_variables_needs_no_other_file() -> None:
    assert _settings("EnvironmentFile") == ["-/etc/chatbot-exporter/environment"]
    assert _settings("LoadCredential") == []
    assert _settings("LoadCredential", KEYS) == ["keys:/etc/chatbot-exporter/keys"]
    assert _settings("DynamicUser") == ["yes"]


@pytest.mark.parametrize("text", [TEXT, TEXT + KEYS], ids=["variables", "files"])
def test_the_settings_in_the_comments_load_and_name_what_the_unit_provides(
    text: str, tmp_path: Path
) -> None:
    lines = re.findall(r"^#   (\w+: \{.*\})$", text, re.MULTILINE)
    shown = {key: value for line in lines for key, value in yaml.safe_load(line).items()}
    assert shown["ledger"]["url"].startswith(
        f"sqlite:////var/lib/{_settings('StateDirectory')[0]}/"
    )
    if file := shown["api_key"].get("file"):
        assert file.startswith(f"/run/credentials/{UNIT.name}/keys_")
        shown["api_key"] = {"file": str(tmp_path / "key")}
        (tmp_path / "key").write_text("k\n", encoding="utf-8")
    target = {"name": "shop", "provider": "voiceflow", "projects": [{"id": "a"}]}
    document = {"version": 1, "ledger": shown["ledger"]}

    text = json.dumps(document | {"targets": [target | {"api_key": shown["api_key"]}]})
    settings = read_text(text, {"VOICEFLOW_API_KEY": "k"})

    assert settings.ledger.url == shown["ledger"]["url"]


def _settings(name: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
