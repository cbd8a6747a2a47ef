"""The shipped rules, evaluated at a chosen interval, all of them or only what some alerts need."""

import re
from collections.abc import Iterable
from typing import Any

from dashboards.source.forms import alert_rules, recording_rules
from dashboards.source.tuning import Tuning

HOUR_S = 3600
DAY_S = 24 * HOUR_S
NAME = re.compile(r"bot:chatbot_\w+:\w+")


def rules(tuning: Tuning, alerts: Iterable[str]) -> dict[str, Any]:
    """Return a rule file of ``alerts`` and the records that they read.

    In one group, since promtool evaluates groups in no order of its own.
    """
    wanted = set(alerts)
    chosen = [
        rule
        for group in alert_rules(tuning)["groups"]
        for rule in group["rules"]
        if rule["alert"] in wanted
    ]
    assert {rule["alert"] for rule in chosen} == wanted
    records = recording_rules(tuning)["groups"][0]["rules"]
    needed = {name for rule in chosen for name in NAME.findall(rule["expr"])}
    for record in reversed(records):
        if record["record"] in needed:
            needed |= set(NAME.findall(record["expr"]))
    kept = [record for record in records if record["record"] in needed]
    group = {"name": "all", "interval": f"{tuning.interval_s}s", "rules": [*kept, *chosen]}
    return {"groups": [group]}


def mutated(ruleset: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return the rules with ``old`` replaced in an expression or a `for`; it must occur."""
    found = 0
    groups = []
    for group in ruleset["groups"]:
        changed = []
        for rule in group["rules"]:
            text = rule["expr"] if old in rule["expr"] else rule.get("for", "")
            found += text.count(old)
            field = "expr" if old in rule["expr"] else "for"
            changed.append(rule | {field: text.replace(old, new)} if old in text else rule)
        groups.append(group | {"rules": changed})
    assert found, f"no rule has {old!r}"
    return {"groups": groups}


def replaced(ruleset: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return the rules with ``old`` replaced in every expression."""
    groups = [
        group
        | {"rules": [rule | {"expr": rule["expr"].replace(old, new)} for rule in group["rules"]]}
        for group in ruleset["groups"]
    ]
    return {"groups": groups}
