"""Rules in the forms that Prometheus, Grafana and Alertmanager read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from dashboards.source.alerts import Alert, alerts
from dashboards.source.records import records
from dashboards.source.thresholds import Thresholds

RUNBOOKS = "https://github.com/chatbot-exporter/chatbot-exporter/blob/main/docs/alerts.md"
GRAFANA = "http://localhost:3000"
NOTE = "# Written by `python -m dashboards.source` from dashboards/source: change it there.\n"
DATASOURCE = "prometheus"
GRAFANA_EVERY_S = 60


@dataclass(frozen=True, slots=True)
class Links:
    """Where the links of alerts lead: the page of runbooks, and Grafana without a final /."""

    runbooks: str = RUNBOOKS
    grafana: str = GRAFANA


class _Plain(yaml.SafeDumper):
    """YAML as people write it: expressions in blocks, keys in order."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Plain.add_representer(str, _Plain.represent_str)


def dumped(document: Any) -> str:
    """Return YAML with a note of where it comes from."""
    return NOTE + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=1_000)


def recording_rules(thresholds: Thresholds) -> dict[str, Any]:
    """Return the recording rules as Prometheus' rule file."""
    rules = [{"record": each.name, "expr": each.expr} for each in records(thresholds)]
    return _groups([_group("chatbot-engagement.records", thresholds.interval_s, rules)])


def alert_rules(thresholds: Thresholds, links: Links) -> dict[str, Any]:
    """Return the alert rules as Prometheus' rule file."""
    engagement = [_rule(each, links) for each in alerts(thresholds) if each.of_engagement]
    exporter = [_rule(each, links) for each in alerts(thresholds) if not each.of_engagement]
    return _groups(
        [
            _group("chatbot-engagement.alerts", thresholds.interval_s, engagement),
            _group("chatbot-exporter.alerts", min(60, thresholds.interval_s), exporter),
        ]
    )


def grafana_rules(thresholds: Thresholds, links: Links) -> dict[str, Any]:
    """Return the alerts as Grafana's alerting provisioning file; recorded series stay Prometheus'."""
    groups = []
    for name, of_engagement, every in (
        ("chatbot-engagement", True, thresholds.interval_s),
        ("chatbot-exporter", False, GRAFANA_EVERY_S),
    ):
        chosen = [each for each in alerts(thresholds) if each.of_engagement is of_engagement]
        rules = [_managed(each, links) for each in chosen]
        groups.append(
            {
                "orgId": 1,
                "name": name,
                "folder": "Chatbots",
                "interval": f"{every}s",
                "rules": rules,
            }
        )
    return {"apiVersion": 1, "groups": groups}


def _groups(groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {"groups": groups}


def _group(name: str, interval_s: int, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "interval": f"{interval_s}s", "rules": rules}


def _rule(alert: Alert, links: Links) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.hold,
        **({"keep_firing_for": alert.keep} if alert.keep else {}),
        "labels": {"severity": alert.severity},
        "annotations": _annotations(alert, links),
    }


def _annotations(alert: Alert, links: Links) -> dict[str, str]:
    return {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": f"{links.runbooks}#{alert.name.lower()}",
        "dashboard_url": f"{links.grafana}{alert.board}",
    }


def _managed(alert: Alert, links: Links) -> dict[str, Any]:
    """Return one Grafana-managed rule: the expression, counted, and a threshold on it.

    No data is no alarm: lateness has an alert of its own. Only of the exporter itself, silence is
    an alarm.
    """
    if alert.instead:
        expr, least = alert.instead
        evaluator = {"type": "lt", "params": [least]}
    else:
        labels = instance_labels(alert)
        expr = f"count by ({', '.join(labels)}) (\n{alert.expr}\n)" if labels else alert.expr
        evaluator = {"type": "gt", "params": [0]}
    return {
        "uid": _uid(alert.name),
        "title": alert.name,
        "condition": "B",
        "data": [_asked(expr), _threshold(evaluator)],
        "noDataState": "Alerting" if alert.instead else "OK",
        "execErrState": "KeepLast",
        "for": alert.hold,
        **({"keepFiringFor": alert.keep} if alert.keep else {}),
        "labels": {"severity": alert.severity},
        "annotations": _annotations(alert, links),
        "isPaused": False,
    }


def instance_labels(alert: Alert) -> list[str]:
    """Return the labels that the alert's instances have."""
    if alert.of_engagement:
        return ["provider", "target", "project", "bot_environment"]
    if alert.expr.startswith("absent("):
        return []
    if "(job, instance)" in alert.expr:
        return ["job", "instance"]
    if "(provider, target, family)" in alert.expr:
        return ["provider", "target", "family"]
    return ["family"] if "(family)" in alert.expr else ["provider", "target", "query"]


def _asked(expr: str) -> dict[str, Any]:
    model = {"refId": "A", "expr": expr, "instant": True, "range": False}
    return {
        "refId": "A",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": DATASOURCE,
        "model": model,
    }


def _threshold(evaluator: dict[str, Any]) -> dict[str, Any]:
    model = {
        "refId": "B",
        "type": "threshold",
        "expression": "A",
        "conditions": [{"evaluator": evaluator}],
    }
    return {"refId": "B", "datasourceUid": "__expr__", "model": model}


def _uid(name: str) -> str:
    """Return a uid that is stable and at most 40 characters."""
    return "chatbot-" + name.removeprefix("Chatbot").lower()


def rule_files(thresholds: Thresholds, links: Links) -> Iterator[tuple[str, str]]:
    """Yield the rule files' paths under ``dashboards/`` and their text."""
    yield "rules/chatbot-records.yaml", dumped(recording_rules(thresholds))
    yield "rules/chatbot-alerts.yaml", dumped(alert_rules(thresholds, links))
    yield "provisioning/alerting/chatbot.yaml", dumped(grafana_rules(thresholds, links))
