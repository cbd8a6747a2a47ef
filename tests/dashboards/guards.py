"""Alerts over made-up series: what fires by the rules, and what fires without one of their guards."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

from dashboards.source.thresholds import Thresholds
from tests.dashboards.promtool import BUILDS, Build, Values, firing, mutated, rules

CASE = "THE CASE"
"""What the series of a case have for its name."""
Series: TypeAlias = Mapping[str, Values]
_COMPARED = re.compile(r"(?:[<>]=?|==) [\d.]+")


class Guard(NamedTuple):
    """A part of an alert's rule, a case that needs it, and the rule's text with it and without."""

    alert: str
    case: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bench:
    """Cases, which are the values of a label of their series, and guards that need them.

    A case is the alert that must fire for it (None: no alert may) and its series.
    """

    thresholds: Thresholds
    probes: Sequence[int]
    alerts: Sequence[str]
    cases: Mapping[str, tuple[str | None, Series]]
    guards: Sequence[Guard]

    def fired(self, folder: Path, build: Build) -> dict[tuple[str, str], int]:
        """Return the first probe at which an alert fires for a case.

        So does each alert without one of its guards, under the guard's number, if that is a part of
        its own rule; its probe means nothing.
        """
        ruleset = rules(self.thresholds, self.alerts)
        (group,) = ruleset["groups"]
        without = [
            _without(rule, guard) | {"alert": str(number)}
            for rule in group["rules"]
            for number, guard in enumerate(self.guards)
            if rule.get("alert") == guard.alert and _has(rule, guard)
        ]
        group["rules"].extend(without)
        return self._first(folder, ruleset, self.cases, build)

    def fires_without(
        self, fired: Mapping[tuple[str, str], int], number: int, folder: Path
    ) -> bool:
        """Return whether a guard's case fires without it; ``fired`` knows if it is no record's."""
        guard = self.guards[number]
        ruleset = rules(self.thresholds, (guard.alert,))
        if _has(ruleset["groups"][0]["rules"][-1], guard):
            return (str(number), guard.case) in fired
        changed = mutated(ruleset, guard.old, guard.new)
        return (guard.alert, guard.case) in self._first(folder, changed, [guard.case])

    def untried(self, alert: str) -> list[str]:
        """Return the comparisons of ``alert``, and how long it must last, that no guard changes."""
        rule = rules(self.thresholds, (alert,))["groups"][0]["rules"][-1]
        tried = {guard.old for guard in self.guards if guard.alert == alert}
        expr = rule["expr"]
        for old in sorted(tried, key=len, reverse=True):
            expr = expr.replace(old, "")
        return [*_COMPARED.findall(expr), *({rule["for"]} - tried)]

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
            for name, values in self.cases[case][1].items()
        }
        step_s = self.thresholds.interval_s
        found = firing(folder, ruleset, series, self.probes, step_s=step_s, build=build)
        first: dict[tuple[str, str], int] = {}
        for probe, samples in sorted(found.items()):
            for sample in samples:
                case = sample.get("target") or sample.get("instance") or sample["family"]
                first.setdefault((sample["alertname"], case), probe)
        return first


def checks(bench: Bench) -> tuple[Any, Any, Any, Any]:
    """Return the fixture ``fired`` and the three tests of a bench, for its module to name."""

    @pytest.fixture(scope="module", params=BUILDS)
    def fired(
        request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> dict[tuple[str, str], int]:
        return bench.fired(tmp_path_factory.mktemp("bench"), request.param)

    @pytest.mark.parametrize("name", bench.cases)
    def case_fires_its_alert_only(fired: dict[tuple[str, str], int], name: str) -> None:
        alert, _ = bench.cases[name]

        found = {found for found, case in fired if case == name and not found.isdigit()}
        assert found == ({alert} if alert else set())

    @pytest.mark.parametrize("number", range(len(bench.guards)), ids=map(str, bench.guards))
    def guard_is_needed(fired: dict[tuple[str, str], int], number: int, tmp_path: Path) -> None:
        guard = bench.guards[number]
        rightly = bench.cases[guard.case][0] == guard.alert

        assert bench.fires_without(fired, number, tmp_path) is not rightly

    @pytest.mark.parametrize("alert", bench.alerts)
    def comparisons_are_tried(alert: str) -> None:
        assert bench.untried(alert) == []

    return fired, case_fires_its_alert_only, guard_is_needed, comparisons_are_tried


def _has(rule: Mapping[str, Any], guard: Guard) -> bool:
    return guard.old == rule["for"] or guard.old in rule["expr"]


def _without(rule: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    if guard.old == rule["for"]:
        return {**rule, "for": guard.new}
    return {**rule, "expr": rule["expr"].replace(guard.old, guard.new)}
