"""promtool as an engine: series in, firing alerts out, by the rules as they are shipped.

The rules are evaluated at a chosen interval, all of them or only what some alerts need. A bench tells what
fires by the rules over made-up series, and what fires without one of their guards.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import pytest
import yaml

from dashboards.source.rule_files import Links, prometheus_rules
from dashboards.source.thresholds import Thresholds
from tests.packaging import programs

Values: TypeAlias = Sequence[float | None]
Build: TypeAlias = Literal["installed", "newest"]
BUILDS: tuple[Build, ...] = ("installed", "newest")
"""The distribution's, Prometheus 2, and what ``scripts/newest-prometheus`` builds, Prometheus 3."""

NEWEST = Path(__file__).parents[2] / ".cache/prometheus"
HOUR_S = 3600
_RECORD = re.compile(r"bot:chatbot_\w+:\w+")
_GOT = re.compile(r"time: (\S+),\n\s+exp: ?.*\n\s+got: ?(.*)\n")
_SAMPLE = re.compile(r"\{(.*?)\} [0-9.E+]+(?:, |\"|$)")
_LABEL = re.compile(r'(\w+)=\\?"(.*?)\\?"')
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
DEADLINE_S = 600
ACCEPTED = {
    'chatbot_engagement_history_weeks use base unit "seconds" instead of "weeks"',
    'chatbot_exporter_history_days use base unit "seconds" instead of "days"',
}
"""What ``promtool check metrics`` finds and is accepted: a history is counted in weeks or days."""


def needed(program: str, build: Build = "installed") -> str:
    """Return the program's path; skip aloud where it is absent, fail where CI promises it."""
    if build == "installed":
        packaged = f"prometheus-{program}"
        return programs.needed(packaged if shutil.which(packaged) else program, "make tools")
    found = NEWEST / program
    if not found.exists():
        pytest.skip(f"the newest {program} is not built: scripts/newest-prometheus builds it")
    return str(found)


def findings(page: str) -> set[str]:
    """Return what ``promtool check metrics`` finds wrong with a page of the text format."""
    done = subprocess.run(  # noqa: S603 - promtool itself
        [needed("promtool"), "check", "metrics"],
        input=page,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return {*done.stdout.splitlines(), *done.stderr.splitlines()} - ACCEPTED


def rules(thresholds: Thresholds, alerts: Iterable[str]) -> dict[str, Any]:
    """Return a rule file of ``alerts`` and the records that they read, in one group."""
    wanted = set(alerts)
    every = [
        rule for group in prometheus_rules(thresholds, Links())["groups"] for rule in group["rules"]
    ]
    chosen = [rule for rule in every if rule.get("alert") in wanted]
    assert {rule["alert"] for rule in chosen} == wanted
    needed = {name for rule in chosen for name in _RECORD.findall(rule["expr"])}
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


def firing(
    folder: Path,
    rules: Mapping[str, Any],
    series: Mapping[str, Values],
    probes: Sequence[int],
    *,
    step_s: int,
    build: Build = "installed",
) -> dict[int, list[dict[str, str]]]:
    """Return the alerts that fire at each probe (seconds from the start), as their labels.

    ``series`` are one value a step from the start on; None is a step without a sample. Alerts that
    are not ours by name are those of the last probe, if they fired at any of the probes' time.
    """
    rule_file = folder / "rules.yaml"
    rule_file.write_text(yaml.safe_dump(dict(rules), sort_keys=False), encoding="utf-8")
    ours = 'ALERTS{alertstate="firing",alertname=~"Chatbot.*"}'
    span = f"[{probes[-1] - probes[0] + step_s}s]"
    others = f'count_over_time(ALERTS{{alertstate="firing",alertname!~"Chatbot.*"}}{span})'
    asked = [(ours, probe) for probe in probes] + [(others, probes[-1])]
    test = {
        "interval": f"{step_s}s",
        "input_series": [
            {"series": name, "values": encoded(values)} for name, values in series.items()
        ],
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{at}s", "exp_samples": []} for expr, at in asked
        ],
    }
    document = {
        "rule_files": [rule_file.name],
        "evaluation_interval": f"{step_s}s",
        "tests": [test],
    }
    test_file = folder / "test.yaml"
    test_file.write_text(yaml.dump(document, Dumper=_Dumper, sort_keys=False), encoding="utf-8")
    return parsed(_run(needed("promtool", build), test_file))


def encoded(values: Values) -> str:
    """Return the values in promtool's notation, repeats shortened."""
    words: list[str] = []
    start = 0
    for number in range(1, len(values) + 1):
        if number < len(values) and values[number] == values[start]:
            continue
        words.append(_repeated(values[start], number - start))
        start = number
    return " ".join(words)


def parsed(output: str) -> dict[int, list[dict[str, str]]]:
    """Return the alerts in what promtool says it got instead of nothing, by probe."""
    found: dict[int, list[dict[str, str]]] = {}
    for instant, got in _GOT.findall(output):
        samples = [dict(_LABEL.findall(labels)) for labels in _SAMPLE.findall(got)]
        assert samples, f"not understood: {got[:200]}"
        found.setdefault(_seconds(instant), []).extend(samples)
    return found


def _run(promtool: str, test_file: Path) -> str:
    done = subprocess.run(  # noqa: S603 - promtool itself
        [promtool, "test", "rules", test_file.name],
        cwd=test_file.parent,
        env=os.environ | {"GOGC": "400"},  # a quarter less time for some more memory
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    said = done.stdout + done.stderr
    if "SUCCESS" not in said and "FAILED" not in said:
        pytest.fail(f"promtool could not run: {said[:2000]}")
    return said


def _repeated(value: float | None, times: int) -> str:
    if value is None:
        return "_" if times == 1 else f"_x{times}"
    shown = f"{value:g}" if value == round(value, 3) else f"{value:.6g}"
    shown = str(int(value)) if float(value).is_integer() else shown
    return shown if times == 1 else f"{shown}+0x{times - 1}"


def _seconds(text: str) -> int:
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([wdhms])", text))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The fast writer where there is one."""


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
