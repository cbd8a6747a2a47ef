"""The unit: well formed, confined, and consistent with the settings that it is documented with."""

import json
import re
import sys
from pathlib import Path

import yaml

from exporter.config import loads
from exporter.exposition import catalogue
from exporter.providers import PROVIDERS
from tests.packaging.programs import ROOT, needed, said

UNIT = ROOT / "deploy" / "systemd" / "chatbot-exporter.service"
TEXT = UNIT.read_text(encoding="utf-8")
MOST_EXPOSURE = 2.0


def test_the_unit_is_well_formed(tmp_path: Path) -> None:
    analyze = needed("systemd-analyze", "systemd")
    here = Path(sys.executable).with_name("chatbot-exporter")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("/opt/chatbot-exporter/bin/.*? ", f"{here} ", TEXT), encoding="utf-8")

    assert said(analyze, "verify", "--man=no", unit) == ""


def test_the_service_is_exposed_to_little() -> None:
    analyze = needed("systemd-analyze", "systemd")

    shown = said(analyze, "security", "--offline=true", "--no-pager", UNIT)

    overall = re.search(r"Overall exposure level .*: (\d+\.\d)", shown)
    assert overall, shown
    assert float(overall[1]) < MOST_EXPOSURE


def test_faults_of_the_unit_are_noticed(tmp_path: Path) -> None:
    analyze = needed("systemd-analyze", "systemd")
    unit = tmp_path / UNIT.name
    unit.write_text(TEXT.replace("ProtectSystem=strict", "ProtectSistem=strict"), encoding="utf-8")

    assert "ProtectSistem" in said(analyze, "verify", "--man=no", unit, fails=True)


def test_the_settings_in_its_comment_name_what_it_provides() -> None:
    lines = re.findall(r"^#   (\w+: \{.*\})$", TEXT, re.MULTILINE)
    shown = {key: value for line in lines for key, value in yaml.safe_load(line).items()}
    folder = f"/run/credentials/{UNIT.name}/keys_"

    assert "LoadCredential=keys:" in TEXT
    assert shown["api_key"]["file"].startswith(folder)
    assert f"sqlite:////var/lib/{_setting('StateDirectory')}/" in shown["ledger"]["url"]
    assert _setting("DynamicUser") == "yes"


def test_those_settings_load(tmp_path: Path) -> None:
    key = tmp_path / "voiceflow"
    key.write_text("k\n", encoding="utf-8")
    lines = re.findall(r"^#   (\w+: \{.*\})$", TEXT, re.MULTILINE)
    ledger, secret = (yaml.safe_load(line) for line in lines)
    secret["api_key"]["file"] = str(key)
    target = {"name": "shop", "provider": "voiceflow", "projects": [{"id": "a"}]} | secret
    document = {"version": 1, "targets": [target]} | ledger
    options = {name: kind.options for name, kind in PROVIDERS.items()}

    settings = loads(
        json.dumps(document), options, {}, file="unit", families=catalogue.capped(PROVIDERS)
    )

    assert settings.ledger.url == ledger["ledger"]["url"]


def _setting(name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", TEXT, re.MULTILINE)
    assert found
    return found[1]
