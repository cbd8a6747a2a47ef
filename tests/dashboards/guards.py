"""Alerts over made-up series: what fires by the rules, and what fires without one of their guards."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dashboards.source.thresholds import Thresholds
from tests.dashboards.promtool import Build, Values, firing
from tests.dashboards.ruleset import in_hours, mutated, rules

CASE = "THE CASE"
"""What the series of a case have for its name."""
Series: TypeAlias = Mapping[str, Values]
_COMPARED = re.compile(r"(?:[<>]=?|==) [\d.]+")


@dataclass(frozen=True, slots=True)
class Guard:
    """A part of an alert's rule, a case that needs it, and the rule's text with it and without."""

    alert: str
    case: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bench:
    """Cases, which are the values of a label of their series, and guards that need them.

    ``by_the_hour``: the rules' ranges are shortened so that they hold as many values as hours.
    """

    thresholds: Thresholds
    probes: Sequence[int]
    cases: Mapping[str, Series]
    guards: Mapping[str, Guard]
    by_the_hour: bool = False

    def fired(
        self,
        folder: Path,
        alerts: Sequence[str],
        cases: Iterable[str] = (),
        build: Build = "installed",
    ) -> dict[tuple[str, str], int]:
        """Return the first probe at which an alert fires for a case (all of them, if none is given).

        So does each alert without one of its guards, under the guard's name, if that is a part of
        its own rule; its probe means nothing.
        """
        ruleset = self._rules(*alerts)
        (group,) = ruleset["groups"]
        without = [
            _without(rule, guard) | {"alert": name}
            for rule in group["rules"]
            for name, guard in self.guards.items()
            if rule.get("alert") == guard.alert and _has(rule, guard)
        ]
        group["rules"].extend(without)
        return self._first(folder, ruleset, cases or self.cases, build)

    def fires_without(self, fired: Mapping[tuple[str, str], int], name: str, folder: Path) -> bool:
        """Return whether the guard's case fires without it; ``fired`` knows if it is no record's."""
        guard = self.guards[name]
        ruleset = self._rules(guard.alert)
        if _has(ruleset["groups"][0]["rules"][-1], guard):
            return (name, guard.case) in fired
        changed = mutated(ruleset, guard.old, guard.new)
        return (guard.alert, guard.case) in self._first(folder, changed, [guard.case])

    def untried(self, alert: str) -> list[str]:
        """Return the comparisons of ``alert``, and how long it must last, that no guard changes."""
        rule = rules(self.thresholds, (alert,))["groups"][0]["rules"][-1]
        tried = {guard.old for guard in self.guards.values() if guard.alert == alert}
        expr = rule["expr"]
        for old in sorted(tried, key=len, reverse=True):
            expr = expr.replace(old, "")
        return [*_COMPARED.findall(expr), *({rule["for"]} - tried)]

    def _rules(self, *alerts: str) -> dict[str, Any]:
        chosen = rules(self.thresholds, alerts)
        return in_hours(chosen) if self.by_the_hour else chosen

    def _first(
        self,
        folder: Path,
        ruleset: dict[str, Any],
        cases: Iterable[str],
        build: Build = "installed",
    ) -> dict[tuple[str, str], int]:
        series = {
            name.replace(CASE, case): values
            for case in cases
            for name, values in self.cases[case].items()
        }
        step_s = self.thresholds.interval_s
        found = firing(folder, ruleset, series, self.probes, step_s=step_s, build=build)
        first: dict[tuple[str, str], int] = {}
        for probe, samples in sorted(found.items()):
            for sample in samples:
                case = sample.get("target") or sample.get("instance") or sample["family"]
                first.setdefault((sample["alertname"], case), probe)
        return first


def _has(rule: Mapping[str, Any], guard: Guard) -> bool:
    return guard.old == rule["for"] or guard.old in rule["expr"]


def _without(rule: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    if guard.old == rule["for"]:
        return {**rule, "for": guard.new}
    return {**rule, "expr": rule["expr"].replace(guard.old, guard.new)}
