"""What of an alert is a guard, so that none is without a case that needs it."""

import re
from collections.abc import Iterable

from dashboards.source.thresholds import Thresholds
from tests.dashboards.ruleset import rules

_COMPARED = re.compile(r"(?:[<>]=?|==) [\d.]+")


def untried(thresholds: Thresholds, alert: str, mutations: Iterable[str]) -> list[str]:
    """Return the comparisons of ``alert``, and how long it must last, that no mutation changes."""
    (group,) = rules(thresholds, (alert,))["groups"]
    rule = group["rules"][-1]
    tried = sorted(mutations, key=len, reverse=True)
    expr = rule["expr"]
    for old in tried:
        expr = expr.replace(old, "")
    return [*_COMPARED.findall(expr), *({rule["for"]} - set(tried))]
