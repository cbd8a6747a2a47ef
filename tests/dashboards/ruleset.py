"""The shipped rules, evaluated at a chosen interval, all of them or only what some alerts need."""

import re
from collections.abc import Iterable
from typing import Any

from dashboards.source.rule_files import Links, alert_rules, recording_rules
from dashboards.source.thresholds import Thresholds

HOUR_S = 3600
DAY_S = 24 * HOUR_S
NAME = re.compile(r"bot:chatbot_\w+:\w+")


def rules(thresholds: Thresholds, alerts: Iterable[str]) -> dict[str, Any]:
    """Return a rule file of ``alerts`` and the records that they read.

    In one group, since promtool evaluates groups in no order of its own.
    """
    wanted = set(alerts)
    chosen = [
        rule
        for group in alert_rules(thresholds, Links())["groups"]
        for rule in group["rules"]
        if rule["alert"] in wanted
    ]
    assert {rule["alert"] for rule in chosen} == wanted
    records = recording_rules(thresholds)["groups"][0]["rules"]
    needed = {name for rule in chosen for name in NAME.findall(rule["expr"])}
    for record in reversed(records):
        if record["record"] in needed:
            needed |= set(NAME.findall(record["expr"]))
    kept = [record for record in records if record["record"] in needed]
    group = {"name": "all", "interval": f"{thresholds.interval_s}s", "rules": [*kept, *chosen]}
    return {"groups": [group]}


def in_hours(ruleset: dict[str, Any]) -> dict[str, Any]:
    """Return the rules for steps of an hour.

    Ranges become a minute shorter than their name, so that three hours are three values in
    Prometheus 2 too, whose ranges hold both ends.
    """
    for hours in (1, 3, 6, 12, 24):
        ruleset = replaced(ruleset, f"[{hours}h]", f"[{60 * hours - 1}m]")
    return ruleset


def mutated(ruleset: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return the rules with ``old`` replaced; it must occur.

    Where it is how long an alert must last, there; otherwise in the expressions.
    """
    lasting = [
        group | {"rules": [r | {"for": new} if r.get("for") == old else r for r in group["rules"]]}
        for group in ruleset["groups"]
    ]
    if lasting != ruleset["groups"]:
        return {"groups": lasting}
    changed = replaced(ruleset, old, new)
    assert changed != ruleset, f"no rule has {old!r}"
    return changed


def replaced(ruleset: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return the rules with ``old`` replaced in every expression."""
    groups = [
        group
        | {"rules": [rule | {"expr": rule["expr"].replace(old, new)} for rule in group["rules"]]}
        for group in ruleset["groups"]
    ]
    return {"groups": groups}
