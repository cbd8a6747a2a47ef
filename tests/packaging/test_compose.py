"""The compose files: valid, pointing at what exists, and confined."""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.packaging.programs import ROOT, needed, said
from tests.support.vendors import read_text

FOLDER = ROOT / "deploy" / "compose"
BOARDS = "/var/lib/grafana/dashboards/chatbots"
PROVISIONING = "/etc/grafana/provisioning"


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


COMPOSE = read(FOLDER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("exporter", "history")


def mounts(service: str) -> dict[str, Path]:
    """Return what the service sees of this tree: path inside to path here."""
    split = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return {inside: (FOLDER / here).resolve() for here, inside, *_ in split if here.startswith(".")}


def seen_by(service: str, inside: str) -> Path:
    """Return what stands here for the path ``inside`` the service."""
    found = mounts(service)
    point = max((p for p in found if Path(inside).is_relative_to(p)), key=len)
    return found[point] / Path(inside).relative_to(point)


@pytest.mark.parametrize("name", ["compose.yaml", "real.yaml", "replicas.yaml"])
def test_a_file_fulfils_the_specification(name: str) -> None:
    schemas = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))

    jsonschema.validate(read(FOLDER / name), schema)


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_is_given_exists_or_is_declared(service: str) -> None:
    named = {volume.split(":")[0] for volume in SERVICES[service]["volumes"]}

    assert [path for path in mounts(service).values() if not path.exists()] == []
    assert {name for name in named if not name.startswith(".")} <= COMPOSE["volumes"].keys()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_confined_and_published_on_loopback_alone(service: str) -> None:
    keys = SERVICES[service]

    assert keys["read_only"] is True
    assert keys["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in keys.get("ports", ()))
    assert service in OURS or re.search(r":v?\d+\.\d+\.\d+$", keys["image"])


def test_prometheus_takes_its_settings_and_every_rule(tmp_path: Path) -> None:
    promtool = needed("promtool", "prometheus")
    (tmp_path / "prometheus.yml").symlink_to(
        seen_by("prometheus", "/etc/prometheus/prometheus.yml")
    )
    (tmp_path / "rules").symlink_to(seen_by("prometheus", "/etc/prometheus/rules"))

    shown = said(promtool, "check", "config", tmp_path / "prometheus.yml")

    rules = list((ROOT / "dashboards" / "rules").glob("*.yaml"))
    assert rules
    assert all(f"{rule.name}" in shown for rule in rules), shown


def test_prometheus_knows_services_that_are_there_under_the_name_that_rules_know() -> None:
    settings = read(FOLDER / "prometheus.yml")
    example = read(ROOT / "dashboards" / "prometheus.yml")
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in settings["scrape_configs"]
    }
    alerted = settings["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]

    assert jobs["chatbot-exporter"] == ["exporter:10877"]
    assert jobs.keys() == {job["job_name"] for job in example["scrape_configs"]}
    assert alerted == ["alertmanager:9093"]
    routes = seen_by("alertmanager", "/etc/alertmanager/alertmanager.yml")
    assert routes == ROOT / "dashboards" / "alertmanager.yml"  # which tests/dashboards tries
    # The demo's boards are to be filled within a minute.
    assert settings["global"] == example["global"] | {"scrape_interval": "15s"}
    assert "--storage.tsdb.retention.time=45d" in SERVICES["prometheus"]["command"]


def test_grafana_finds_its_data_source_and_its_boards() -> None:
    (source,) = read(seen_by("grafana", f"{PROVISIONING}/datasources/chatbot.yaml"))["datasources"]
    (provider,) = read(seen_by("grafana", f"{PROVISIONING}/dashboards/chatbot.yaml"))["providers"]
    given = {Path(i).name: p for i, p in mounts("grafana").items() if i.startswith(BOARDS)}
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in given.values()]
    example = read(ROOT / "dashboards" / "provisioning" / "datasources" / "chatbot.yaml")

    assert provider["options"]["path"] == BOARDS
    assert source["uid"] == example["datasources"][0]["uid"]
    assert source["url"] == "http://prometheus:9090"
    assert given.keys() == {path.name for path in (ROOT / "dashboards").glob("*.json")}
    assert len({board["uid"] for board in boards}) == len(boards) >= 6
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert seen_by("grafana", home).exists()


def test_accounts_are_named_in_copies_that_git_ignores() -> None:
    exporter = read(FOLDER / "real.yaml")["services"]["exporter"]
    (mounted,) = exporter["volumes"]
    copies = [mounted["source"].removeprefix("./"), *exporter["env_file"]]
    settings, keys = ((FOLDER / f"{name}.example").read_text("utf-8") for name in copies)

    assert copies == (FOLDER / ".gitignore").read_text("utf-8").replace("/", "").split()
    assert mounted["bind"] == {"create_host_path": False}
    assert mounted["target"] in exporter["command"]
    named = re.findall(r"^([A-Z_]+)=$", keys, re.MULTILINE)
    loaded = read_text(settings, dict.fromkeys(named, "k"))
    volumes = [volume.split(":")[1] for volume in SERVICES["exporter"]["volumes"]]
    assert str(Path(loaded.ledger.url.removeprefix("sqlite:///")).parent) in volumes
