"""A linter for boards and rules: the rules of dashboard-linter and of pint that need no server.

Sources: https://github.com/grafana/dashboard-linter and https://cloudflare.github.io/pint/
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.source.promql import SELF_COUNTED

METRIC = re.compile(
    r"\b(?:bot:\w+:\w+|(?:chatbot|process|python|scrape|prometheus)_\w+|up|ALERTS)\b(?=[\s{\[)]|$)"
)
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
STRING = re.compile(r'"[^"]*"')
GROUPING = re.compile(r"\b(?:by|on|group_left|group_right|without|ignoring)\s*\([^)]*\)")
RECORD_NAME = re.compile(r"^bot:chatbot_[a-z_]+:(sum|ratio)\d+h$")
EXPERIMENTAL = ("mad_over_time", "double_exponential_smoothing", "limitk", "sort_by_label", "info(")
RETENTION_S = 45 * 86_400
UNITS = frozenset(
    {"short", "none", "s", "percentunit", "bytes", "reqps", "bool_yes_no", "currencyUSD"}
)
EACH_REPLICA_ITS_OWN = frozenset(
    f"chatbot_exporter_{name}"
    for name in (
        *(f"{counter}_total" for counter in SELF_COUNTED),
        *("api_request_duration_seconds_bucket", "poll_duration_seconds_bucket"),
        *("ledger_errors_total", "build_info"),
    )
)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Fault:
    """One breach of a rule, where it is and what it is."""

    rule: str
    dashboard: str
    panel: str
    text: str


def board_faults(board: Mapping[str, Any], uids: Iterable[str]) -> Iterator[Fault]:
    """Yield every fault of one board; ``uids`` are all boards there are."""
    title = board["title"]
    for rule, text in (
        *_frame(board),
        *_variables(board["templating"]["list"]),
        *_places(_with_rows(board)),
        *_links(board, frozenset(uids)),
    ):
        yield Fault(rule, title, "", text)
    for panel in panels(board):
        for rule, text in (*_panel(panel), *_targets(panel)):
            yield Fault(rule, title, panel["title"], text)


def rule_faults(groups: Iterable[Mapping[str, Any]]) -> Iterator[Fault]:
    """Yield every fault of the rule groups."""
    seen: set[tuple[str, str]] = set()
    for group in groups:
        if seconds(group["interval"]) > 300:
            yield Fault("group/interval", group["name"], "", "leaves gaps in five-minute lookback")
        for rule in group["rules"]:
            name = rule.get("alert") or rule["record"]
            faults = _alert(rule) if "alert" in rule else _record(rule)
            for kind, text in (*faults, *_expression(rule["expr"])):
                yield Fault(kind, group["name"], name, text)
            unique = (name, rule.get("labels", {}).get("severity", ""))
            if unique in seen:
                yield Fault("rule/duplicate", group["name"], name, "twice")
            seen.add(unique)


def metrics(expr: str) -> set[str]:
    """Return the metrics that an expression reads."""
    return set(METRIC.findall(GROUPING.sub("", STRING.sub('""', expr))))


def expressions(board: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every query of a board, with the title of its panel."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def seconds(text: str) -> int:
    """Return a duration of Prometheus in seconds."""
    return sum(int(n) * _SECONDS[unit] for n, unit in re.findall(r"(\d+)([smhdw])", text))


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a board and of its collapsed rows, without the rows."""
    return [panel for panel in _with_rows(board) if panel["type"] != "row"]


def _with_rows(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [each for top in board["panels"] for each in (top, *top.get("panels", ()))]


def _frame(board: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    variables = board["templating"]["list"]
    if board["editable"]:
        yield "uneditable-dashboard-rule", "can be edited"
    first = tuple(variables[0][key] for key in ("type", "name", "label"))
    if first != ("datasource", "datasource", "Data source"):
        yield "template-datasource-rule", "the first variable is not the data source"
    for name in ("job", "instance"):
        if name not in {variable["name"] for variable in variables}:
            yield f"template-{name}-rule", f"no variable {name}"


def _variables(variables: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for variable in variables[1:]:
        if variable["refresh"] != 2:
            yield "template-on-time-change-reload-rule", variable["name"]
        if not re.fullmatch(r"label_values\(.+, \w+\)", variable["query"]):
            yield "template-label-promql-rule", variable["query"]


def _places(found: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    ids = [panel["id"] for panel in found]
    if len(ids) != len(set(ids)):
        yield "unique-panel-id", "two panels have one number"
    for one, other in itertools.combinations(found, 2):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield "no-overlap", f"{one['title']} lies on {other['title']}"


def _links(board: Mapping[str, Any], uids: frozenset[str]) -> Iterator[tuple[str, str]]:
    tags = [link["tags"] for link in board["links"] if link["keepTime"] and link["includeVars"]]
    if tags != [["chatbot"]]:
        yield "siblings", "the dropdown of boards does not keep time and variables"
    for uid in re.findall(r'"/d/([\w-]+(?:\$\{[^}]+\})?)', str(board).replace("'", '"')):
        pattern = re.escape(uid).replace(re.escape("${__data.fields.board}"), r"\w+")
        if not any(re.fullmatch(pattern, known) for known in uids):
            yield "link-uid", uid


def _panel(panel: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not panel.get("title") or not panel.get("description"):
        yield "panel-title-description-rule", "says nothing of itself"
    if panel["type"] == "text":
        return
    if not panel.get("targets"):
        yield "panel-no-targets-rule", "asks nothing"
    if panel["datasource"]["uid"] != "${datasource}":
        yield "panel-datasource-rule", "another data source"
    defaults = panel["fieldConfig"]["defaults"]
    if defaults.get("unit") not in UNITS:
        yield "panel-units-rule", str(defaults.get("unit"))
    if not defaults.get("noValue"):
        yield "no-value", "does not say what no value means"


def _targets(panel: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for target in panel.get("targets", ()):
        expr = target["expr"]
        yield from _rates(expr)
        for name in ("job", "instance"):
            if any(f'{name}=~"${name}"' not in inside for _, inside in SELECTOR.findall(expr)):
                yield f"target-{name}-rule", expr
        if target["datasource"]["uid"] != "${datasource}":
            yield "panel-datasource-rule", expr
        yield from _expression(expr)


def _rates(expr: str) -> Iterator[tuple[str, str]]:
    for window in re.findall(r"\bi?rate\([^\[\]]*\[([^\]]+)\]", expr):
        if window != "$__rate_interval":
            yield "target-rate-interval-rule", expr
    if "$__rate_interval" in re.sub(r"\bi?rate\([^\[\]]*\[[^\]]+\]", "", expr):
        yield "target-rate-interval-rule", expr
    bare = re.sub(r"\b(?:rate|irate|increase)\(\w+(?:\{[^}]*\})?\[", "", STRING.sub('""', expr))
    bare = re.sub(r"\b(?:and|unless) on \([^)]*\) (?:group\()?\w+_total", "", bare)
    if re.search(r"\w+_total\b", bare):
        yield "target-counter-agg-rule", expr


def _alert(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not re.search(r"[<>]=?|==|absent\(", rule["expr"]):
        yield "alerts/comparison", "compares nothing"
    if seconds(rule.get("for", "")) <= 0:
        yield "alerts/for", "no time that it must last"
    if rule["expr"].startswith("absent(") and seconds(rule["for"]) < 120:
        yield "alerts/absent", "shorter than two scrapes"
    if set(rule["annotations"]) != {"summary", "description", "runbook_url", "dashboard_url"}:
        yield "alerts/annotation", str(sorted(rule["annotations"]))
    if "$value" in str(rule["labels"]) or "{{" in str(rule["labels"]):
        yield "alerts/template", "a value in a label makes a new alert each time"
    if rule["labels"].get("severity") not in {"critical", "warning", "info"}:
        yield "rule/label", "no severity"


def _record(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not RECORD_NAME.fullmatch(rule["record"]):
        yield "rule/name", rule["record"]


def _expression(expr: str) -> Iterator[tuple[str, str]]:
    for name in EXPERIMENTAL:
        if name in expr:
            yield "promql/features", name
    yield from _reach(expr)
    if _adds_replicas(expr):
        yield "replicas", expr
    if "topk(" in expr and "ALERTS" in expr:
        yield "promql/fragile", expr


def _reach(expr: str) -> Iterator[tuple[str, str]]:
    for window, offset in re.findall(r"\[(\w+)\](?: offset (\w+))?", expr):
        if seconds(window) + seconds(offset) > RETENTION_S:
            yield "promql/range_query", f"{window} {offset}"
    for offset in re.findall(r"offset (\w+)", expr):
        if seconds(offset) > RETENTION_S:
            yield "promql/offset", offset


def _adds_replicas(expr: str) -> bool:
    """Say whether a sum or a count takes the same series of several replicas several times."""
    expr = re.sub(r"\b(?:and|unless) on \([^)]*\) chatbot_\w+", "", expr)
    for start in re.finditer(r"\b(?:max|min|group)(?: (?:without|by) \([^)]*\))? ?\(", expr):
        inner = _parenthesis(expr, start.end() - 1)
        expr = expr.replace(inner, "()" + " " * (len(inner) - 2))  # positions stay
    added = re.finditer(r"\b(?:sum|count)(?: (?:without|by) \(([^)]*)\))? ?\(", expr)
    return any(
        "instance" not in (found[1] or "") and name not in EACH_REPLICA_ITS_OWN
        for found in added
        for name in re.findall(r"(?<!:)\bchatbot_\w+", _parenthesis(expr, found.end() - 1))
    )


def _parenthesis(text: str, start: int) -> str:
    """Return ``text`` from the parenthesis at ``start`` to the one that closes it."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return text[start : at + 1]
    return text[start:]


def _overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
