"""Renders rules in the formats of Prometheus and Grafana."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from dashboards.source import spend
from dashboards.source.alerts import Alert, alerts, records
from dashboards.source.thresholds import Thresholds

RUNBOOKS = "https://github.com/chatbot-exporter/chatbot-exporter/blob/main/docs/alerts.md"
GRAFANA = "http://localhost:3000"
NOTE = "# Written by `python -m dashboards.source` from dashboards/source: change it there.\n"
DATASOURCE = "prometheus"
GRAFANA_EVERY_S = 60


@dataclass(frozen=True, slots=True)
class Links:
    """The targets of links in alerts: the runbook page, and Grafana without a trailing /."""

    runbooks: str = RUNBOOKS
    grafana: str = GRAFANA


class _Plain(yaml.SafeDumper):
    """YAML as people write it: expressions as blocks, keys in order."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Plain.add_representer(str, _Plain.represent_str)


def dumped(document: Any) -> str:
    """Return YAML, headed by a note on its source."""
    return NOTE + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=1_000)


def prometheus_rules(thresholds: Thresholds, links: Links) -> dict[str, Any]:
    """Return Prometheus' rule file, with recording rules before the alerts that use them."""
    shares = (thresholds.fallback, thresholds.handover)
    recorded = [{"record": name, "expr": expr} for share in shares for name, expr in records(share)]
    recorded.append(dict(zip(("record", "expr"), spend.record(), strict=True)))
    engagement = [_rule(each, links) for each in alerts(thresholds) if each.of_engagement]
    exporter = [_rule(each, links) for each in alerts(thresholds) if not each.of_engagement]
    interval_s = thresholds.interval_s
    return {
        "groups": [
            _group("chatbot-engagement", interval_s, [*recorded, *engagement]),
            _group("chatbot-exporter", min(60, interval_s), exporter),
        ]
    }


def grafana_rules(thresholds: Thresholds, links: Links) -> dict[str, Any]:
    """Return the alerts as Grafana's alerting provisioning file."""
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


def _group(name: str, interval_s: int, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "interval": f"{interval_s}s", "rules": rules}


def _rule(alert: Alert, links: Links) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.pending,
        **({"keep_firing_for": alert.keep_firing} if alert.keep_firing else {}),
        "labels": {"severity": alert.severity, **alert.labels},
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
    """Return one Grafana-managed rule: each result of the expression counts 1, and fires above 0.

    No data is no alarm, because lateness has its own alert; only silence of the exporter itself is.
    Grafana requires unique titles, so provisional alerts have their own.
    """
    if alert.grafana_below:
        expr, least = alert.grafana_below
        evaluator = {"type": "lt", "params": [least]}
    else:
        expr = f"count without () (\n{alert.expr}\n)"
        evaluator = {"type": "gt", "params": [0]}
    provisional = "provisional" in alert.labels
    return {
        "uid": _uid(alert.name) + ("-p" if provisional else ""),
        "title": f"{alert.name}Provisional" if provisional else alert.name,
        "condition": "B",
        "data": [_asked(expr), _threshold(evaluator)],
        "noDataState": "Alerting" if alert.grafana_below else "OK",
        "execErrState": "KeepLast",
        "for": alert.pending,
        **({"keepFiringFor": alert.keep_firing} if alert.keep_firing else {}),
        "labels": {"severity": alert.severity, **alert.labels},
        "annotations": _annotations(alert, links),
        "isPaused": False,
    }


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
    """Return a stable uid of at most 40 characters."""
    return "chatbot-" + name.removeprefix("Chatbot").lower()


def rule_files(thresholds: Thresholds, links: Links) -> Iterator[tuple[str, str]]:
    """Yield the rule files' paths under ``dashboards/`` and their text."""
    yield "rules/chatbot-alerts.yaml", dumped(prometheus_rules(thresholds, links))
    yield "provisioning/alerting/chatbot.yaml", dumped(grafana_rules(thresholds, links))
