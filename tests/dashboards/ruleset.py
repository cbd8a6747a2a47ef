"""The shipped rules, evaluated at a chosen interval, all of them or only what some alerts need."""

import re
from collections.abc import Iterable
from typing import Any

from dashboards.source.rule_files import Links, prometheus_rules
from dashboards.source.thresholds import Thresholds

HOUR_S = 3600
NAME = re.compile(r"bot:chatbot_\w+:\w+")


def rules(thresholds: Thresholds, alerts: Iterable[str]) -> dict[str, Any]:
    """Return a rule file of ``alerts`` and the records that they read, in one group."""
    wanted = set(alerts)
    every = [
        rule for group in prometheus_rules(thresholds, Links())["groups"] for rule in group["rules"]
    ]
    chosen = [rule for rule in every if rule.get("alert") in wanted]
    assert {rule["alert"] for rule in chosen} == wanted
    needed = {name for rule in chosen for name in NAME.findall(rule["expr"])}
    kept = [rule for rule in every if rule.get("record") in needed]
    group = {"name": "all", "interval": f"{thresholds.interval_s}s", "rules": [*kept, *chosen]}
    return {"groups": [group]}


def mutated(ruleset: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return the rules with ``old`` replaced; it must occur.

    Where it is how long an alert must last, there; otherwise in the expressions.
    """
    (group,) = ruleset["groups"]
    changed = [rule | {"for": new} if rule.get("for") == old else rule for rule in group["rules"]]
    if changed == group["rules"]:
        changed = [rule | {"expr": rule["expr"].replace(old, new)} for rule in group["rules"]]
    assert changed != group["rules"], f"no rule has {old!r}"
    return {"groups": [group | {"rules": changed}]}
