"""promtool as an engine: series in, firing alerts out, by the rules as they are shipped.

The rules are evaluated at a chosen interval, all of them or only what some alerts need.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

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
        debians = f"prometheus-{program}"
        return programs.needed(debians if shutil.which(debians) else program, "make tools")
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
