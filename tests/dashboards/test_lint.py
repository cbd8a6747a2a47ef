"""Boards and rules pass our linter, name only metrics that exist, and show all there are."""

import copy
import fnmatch
import json
import re
from collections.abc import Callable
from typing import Any, get_args

import pytest
import yaml

from dashboards.source.files import FOLDER
from dashboards.source.metrics_shown import NOT_SHOWN
from dashboards.source.metrics_shown import PROVIDERS as SHOWN_BY
from dashboards.source.rule_files import GRAFANA, RUNBOOKS
from exporter.exposition.catalogue import entries
from exporter.providers import BUILT_IN, PROVIDERS
from exporter.providers.chatlayer.provider import Collector
from exporter.providers.manifest import loader
from exporter.providers.voiceflow.provider import QueryName
from tests.dashboards.lint import Fault, board_faults, expressions, metrics, rule_faults
from tests.providers.vendor import build_target

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
RULES = yaml.safe_load((FOLDER / "rules/chatbot-alerts.yaml").read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in RULES for rule in group["rules"] if "alert" in rule}
RECORDS = {rule["record"] for group in RULES for rule in group["rules"] if "record" in rule}
EXCLUSIONS = yaml.safe_load((FOLDER / ".lint").read_text())["exclusions"]
MANIFESTS = [loader.load(loader.find(name, loader.SHIPPED)) for name in loader.shipped()]
CATALOGUE = {entry.family.name: entry for entry in entries(PROVIDERS)}
OF_MANIFESTS = {family.name for manifest in MANIFESTS for family in manifest.families}
CHOICE = re.compile(r"{{ if match `(.*?)` .labels.provider }}(.*?){{ else }}(.*?){{ end }}")
PROMETHEUS_OWN = {
    *("up", "ALERTS", "scrape_samples_post_metric_relabeling", "scrape_duration_seconds"),
    *("prometheus_rule_evaluation_failures_total", "process_cpu_seconds_total"),
    *("process_resident_memory_bytes", "process_open_fds", "process_max_fds"),
}


USED = {
    uid: {name for _, expr in expressions(board) for name in metrics(expr)}
    for uid, board in BOARDS.items()
} | {
    "rules": {name for group in RULES for rule in group["rules"] for name in metrics(rule["expr"])}
}
"""The metrics that are read, by board, and by the rules."""


def excused(fault: Fault) -> bool:
    names = [fault.rule]
    if fault.rule in {"target-job-rule", "target-instance-rule"}:
        names.append("target-promql-job-instance-rule")
    entries_ = [entry for name in names for entry in EXCLUSIONS.get(name, {}).get("entries", ())]
    return any(
        entry["dashboard"] == fault.dashboard and entry.get("panel", fault.panel) == fault.panel
        for entry in entries_
    )


@pytest.mark.parametrize("uid", BOARDS)
def test_a_board_has_no_fault_that_is_not_excused(uid: str) -> None:
    faults = [fault for fault in board_faults(BOARDS[uid], BOARDS) if not excused(fault)]

    assert faults == []


def test_every_excuse_is_needed_and_has_its_reason() -> None:
    faults = [fault for board in BOARDS.values() for fault in board_faults(board, BOARDS)]
    used = {(fault.rule, fault.dashboard) for fault in faults}

    for name, exclusion in EXCLUSIONS.items():
        rules = {"target-job-rule"} if name == "target-promql-job-instance-rule" else {name}
        assert exclusion["reason"]
        assert {entry["dashboard"] for entry in exclusion["entries"]} <= {
            dashboard for rule, dashboard in used if rule in rules
        }


def test_rules_have_no_fault() -> None:
    assert list(rule_faults(RULES)) == []


@pytest.mark.parametrize("reader", USED)
def test_boards_and_rules_read_only_metrics_that_exist(reader: str) -> None:
    known = CATALOGUE.keys() | RECORDS | PROMETHEUS_OWN
    known |= set() if reader == "rules" else OF_MANIFESTS

    assert {_family(name) for name in USED[reader]} - known == set()


def test_every_record_is_read_by_a_rule_or_a_board() -> None:
    assert set().union(*USED.values()) >= RECORDS


def test_a_manifests_own_families_are_on_its_board() -> None:
    for manifest in MANIFESTS:
        queries = manifest.queries.values()
        fed = {feed.family.name for query in queries for feed in query.program.feeds}
        own = {family.name for family in manifest.families}
        assert USED[f"chatbot-{manifest.settings.name}"] >= fed | own


def test_every_family_is_on_a_board_or_listed_as_not_shown() -> None:
    shown = {_family(name) for uid in BOARDS for name in USED[uid]}
    unlisted = [
        name
        for name in CATALOGUE.keys() - shown
        if not any(fnmatch.fnmatch(name, listed) for listed in NOT_SHOWN)
    ]

    assert sorted(unlisted) == []


@pytest.mark.parametrize("provider", BUILT_IN)
def test_a_providers_board_shows_what_the_provider_feeds(provider: str) -> None:
    kind = PROVIDERS[provider]
    fed = kind.feeds | {family.name for family in kind.families}
    shown = [f"chatbot_{name}" for row in SHOWN_BY[provider][1] for name in row.families]

    assert sorted(shown) == sorted(fed - NOT_SHOWN.keys())


EVERYTHING: dict[str, dict[str, Any]] = {
    "voiceflow": {"projects": [{"id": "a"}], "queries": get_args(QueryName)},
    "inkeep": {"project": "p"},
    "flowxo": {"project": "p", "top_flows": {}},
    "xenioo": {"service_url": "https://a.example.com", "bot": "*", "timezone": "UTC"},
    "chatlayer": {"bots": [{"id": "b"}], "team_id": "t", "collectors": get_args(Collector)},
}
"""Settings with every query, beside the key."""
KEYS = {"xenioo": "account_key", "chatlayer": "token"}


def fed_by_query(provider: str, settings: dict[str, Any]) -> dict[str, set[str]]:
    """Return the families that each query of a target feeds, by the query's kind."""
    key: Any = {KEYS.get(provider, "api_key"): "a:b"}
    built = build_target(provider=provider, **key, **settings)
    found: dict[str, set[str]] = {}
    for query in built.queries:
        found.setdefault(query.spec.name.partition("/")[0], set()).update(query.spec.fields)
    return found


@pytest.mark.parametrize("provider", BUILT_IN)
def test_a_row_shows_what_its_query_feeds_and_is_open_where_that_is_on_by_default(
    provider: str,
) -> None:
    fed = fed_by_query(provider, EVERYTHING[provider])
    lists = {"queries", "collectors", "top_flows"}
    without = {k: v for k, v in EVERYTHING[provider].items() if k not in lists}
    by_default = fed_by_query(provider, without).keys()

    for row in SHOWN_BY[provider][1]:
        families = {f"chatbot_{name}" for name in row.families}
        if row.setting.rpartition(".")[2] not in {"units", "messages_are_sent", "event_map"}:
            assert (row.query in by_default) is not bool(row.setting), row
            assert families - {"chatbot_active_conversations"} <= fed[row.query], row
        assert row.query in fed


@pytest.mark.parametrize("provider", BUILT_IN)
def test_a_row_that_the_settings_have_to_ask_for_is_closed_and_says_so(provider: str) -> None:
    rows = [panel for panel in BOARDS[f"chatbot-{provider}"]["panels"] if panel["type"] == "row"]
    asked_for = {row.title for row in SHOWN_BY[provider][1] if row.setting}

    closed = {row["title"].partition(" (setting `")[0] for row in rows if row["collapsed"]}
    assert closed == asked_for
    for panel in (each for row in rows if row["collapsed"] for each in row["panels"]):
        states = [each["expr"] for each in panel["targets"] if '"state"' in each["expr"]]
        assert any('"Not configured' in expr for expr in states), panel["title"]


def test_a_boards_title_is_in_plain_words() -> None:
    titles = [board["title"] for board in BOARDS.values()]

    assert [each for each in titles if not re.fullmatch(r"Chatbots: [A-Za-z ()]+", each)] == []
    assert len(set(titles)) == len(titles)


def test_every_alert_has_its_section_in_the_runbook() -> None:
    runbook = (FOLDER.parent / "docs/alerts.md").read_text()
    sections = {
        heading.lower() for heading in re.findall(r"^### (Chatbot\w+)$", runbook, re.MULTILINE)
    }

    assert {rule["annotations"]["runbook_url"] for rule in ALERTS.values()} == {
        f"{RUNBOOKS}#{section}" for section in sections
    }
    assert RUNBOOKS.startswith("https://")


def test_the_page_has_the_severity_and_the_duration_of_every_alert() -> None:
    page = (FOLDER.parent / "docs/alerts.md").read_text().splitlines()
    rules = [rule for group in RULES for rule in group["rules"] if "alert" in rule]
    rows = [
        f"| {rule['alert']} | {rule['labels']['severity']} | {rule['for']} |"
        for rule in rules
        if "provisional" not in rule["labels"]
    ]

    assert [line for line in page if line in rows] == rows


def test_every_alert_leads_to_a_board_that_exists() -> None:
    for rule in ALERTS.values():
        url = rule["annotations"]["dashboard_url"].removeprefix(f"{GRAFANA}/d/")
        for provider in (*SHOWN_BY, *loader.shipped(), "acme"):
            found = CHOICE.search(url)
            chosen = found[2 if re.search(found[1], provider) else 3] if found else ""
            uid = CHOICE.sub(chosen, url).partition("?")[0]
            assert uid.replace("{{ $labels.provider }}", provider) in BOARDS


def test_each_bot_on_the_overview_leads_to_a_board_that_exists() -> None:
    (table,) = [each for each in BOARDS["chatbot-overview"]["panels"] if "data.fields" in str(each)]
    for target in table["targets"]:
        (names,) = re.findall(r'"board", "\$1", "provider", "\((.*?)\)"', target["expr"])
        assert {f"chatbot-{name}" for name in names.split("|")} <= BOARDS.keys()
        assert '"board", "overview"' in target["expr"]


def test_grafanas_rules_are_the_same_alerts_and_quiet_without_data() -> None:
    managed = yaml.safe_load((FOLDER / "provisioning/alerting/chatbot.yaml").read_text())
    rules = [rule for group in managed["groups"] for rule in group["rules"]]

    assert {rule["title"].removesuffix("Provisional") for rule in rules} == ALERTS.keys()
    assert len({rule["title"] for rule in rules}) == len(rules)
    assert len({rule["uid"] for rule in rules}) == len(rules)
    assert all(len(rule["uid"]) <= 40 for rule in rules)
    loud = {rule["title"] for rule in rules if rule["noDataState"] != "OK"}
    assert loud == {"ChatbotExporterDown"}


def _family(name: str) -> str:
    """Return the family of a sample's name."""
    return name if name in CATALOGUE else re.sub(r"_(bucket|count|sum)$", "", name)


def board() -> dict[str, Any]:
    return copy.deepcopy(BOARDS["chatbot-exporter"])


def _panel(changed: dict[str, Any]) -> dict[str, Any]:
    return next(panel for panel in changed["panels"] if panel["type"] == "timeseries")


BREACHES: dict[str, Callable[[dict[str, Any]], object]] = {
    "uneditable-dashboard-rule": lambda b: b.update(editable=True),
    "template-datasource-rule": lambda b: b["templating"]["list"][0].update(label="Source"),
    "template-job-rule": lambda b: b["templating"]["list"].pop(1),
    "template-on-time-change-reload-rule": lambda b: b["templating"]["list"][1].update(refresh=1),
    "template-label-promql-rule": lambda b: b["templating"]["list"][1].update(query="up"),
    "unique-panel-id": lambda b: b["panels"][1].update(id=1),
    "no-overlap": lambda b: b["panels"][1].update(gridPos=b["panels"][2]["gridPos"]),
    "siblings": lambda b: b["links"][0].update(keepTime=False),
    "link-uid": lambda b: b["panels"][1].update(links=[{"url": "/d/chatbot-gone?x=1"}]),
    "panel-title-description-rule": lambda b: _panel(b).update(description=""),
    "panel-no-targets-rule": lambda b: _panel(b).update(targets=[]),
    "panel-datasource-rule": lambda b: _panel(b)["datasource"].update(uid="abc"),
    "panel-units-rule": lambda b: _panel(b)["fieldConfig"]["defaults"].update(unit="bananas"),
    "no-value": lambda b: _panel(b)["fieldConfig"]["defaults"].pop("noValue"),
    "target-rate-interval-rule": lambda b: _asks(b, "rate(chatbot_exporter_polls_total[5m])"),
    "target-counter-agg-rule": lambda b: _asks(b, "sum(chatbot_exporter_polls_total)"),
    "target-job-rule": lambda b: _asks(b, 'up{job="x"}'),
    "replicas": lambda b: _asks(b, "sum by (target) (chatbot_exporter_quarantined)"),
    "promql/features": lambda b: _asks(b, "mad_over_time(up[1h])"),
    "promql/offset": lambda b: _asks(b, "up offset 9w"),
    "promql/range_query": lambda b: _asks(b, "avg_over_time(up[6w] offset 1w)"),
}


def _asks(changed: dict[str, Any], expr: str) -> None:
    _panel(changed)["targets"][0]["expr"] = expr


@pytest.mark.parametrize("rule", BREACHES)
def test_the_linter_sees_a_breach(rule: str) -> None:
    changed = board()

    BREACHES[rule](changed)

    assert rule in {fault.rule for fault in board_faults(changed, BOARDS)}


RULE_BREACHES: dict[str, dict[str, Any]] = {
    "alerts/comparison": {"expr": "chatbot_exporter_overhang"},
    "alerts/for": {"for": "0s"},
    "alerts/absent": {"expr": "absent(up)", "for": "1m"},
    "alerts/annotation": {"annotations": {"summary": "x"}},
    "alerts/template": {"labels": {"severity": "info", "left": "{{ $value }}"}},
    "rule/label": {"labels": {}},
    "rule/duplicate": {"alert": "ChatbotExporterAbsent", "labels": {"severity": "critical"}},
}


@pytest.mark.parametrize("kind", RULE_BREACHES)
def test_the_linter_sees_a_breach_of_a_rule(kind: str) -> None:
    groups = copy.deepcopy(RULES)

    groups[-1]["rules"][-1].update(RULE_BREACHES[kind])

    assert kind in {fault.rule for fault in rule_faults(groups)}
