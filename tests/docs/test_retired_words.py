"""Words that the project no longer uses stay out of the tree: what to write instead of which."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT

PACKAGE = sorted(
    path for path in (ROOT / "exporter").rglob("*.py") if "migrations" not in path.parts
)
"""Every module; migrations are history and keep the words of their time."""
OTHER_TEXTS = (
    ROOT / "exporter.yaml",
    *sorted((ROOT / "changelog.d").glob("*.md")),
    *sorted((ROOT / "exporter" / "web" / "templates").iterdir()),
    *sorted((ROOT / "deploy").rglob("*.yaml")),
    *sorted((ROOT / "deploy").rglob("*.service")),
)
COMMENTS = re.compile(r"(?:^ *|  )#.*(?:\n *#.*)*", re.MULTILINE)
ANNOTATIONS = re.compile(r"^ *(?:summary|description): .*(?:\n {10,}.*)*", re.MULTILINE)
SHOWN = {"title", "description", "displayName", "legendFormat"}

Words = Mapping[str, str]
"""Regular expressions of whole names, or of parts of a text in lower case, with better words."""

CLASSES: Words = {
    "Told": "LastReading", "Naming": "LabelRule", "_?Tally": "CounterState", "Desk": "PollContext",
    "Line": "ScheduledQuery", "Ended": "PollResult", "Outside": "Environment",
    "Surroundings": "SecretContext", "Ask": "PollRequest", "Wire": "Transport",
    "Message": "Request", "ProviderKind": "Provider", "Shelf": "FamilyPage", "Place": "Shard",
    "Run": "FamilySlice", "Layout": "SeriesSet", "Board": "MetricsPage", "Display": "Publisher",
}  # fmt: skip
FUNCTIONS: Words = {
    "forget": "delete_removed, prune", "_?words": "format, messages", "report": "self_metrics",
}  # fmt: skip
NAMES: Words = {
    r"_*(\w+_)?purses?(_\w+)?": "budget",
    r"_*told": "last, shown, described",
    r"_*enrol\w*": "sync_queries",
    r"_*(\w+_)?naming|_?membership": "label_rules",
    r"_?relabelled": "label_rules_changed",
    r"_*(\w+_)?(tally|tallies)(_\w+)?": "counter state",
    r"_*[Ff]igures?": "values",
    r"_*tend(s|ed)?|_?rest_dormant": "maintain, mark_dormant",
    r"_*BITE|bite": "BATCH_ROWS",
    r"_*foresee\w*": "create_known_series",
    r"_*reveal\w*": "confirm_zero_scraped",
    r"_*carried": "scraped_zeros",
    r"_*odd": "suspicious, looks_collapsed",
    r"_*(\w+_)?(fold|folds|folded|unfold)(_\w+)?": "overflow, retire, aggregate, normalize",
    r"_?expected_lag_ms": "period_grace_ms",
    r"_*(\w+_)?desk|_?surroundings|_?outside": "context, environment",
    r"_?ask|_?wire|KIND": "request, transport, PROVIDER",
    r"_*(\w+_)?faults?": "error, problem",
    r"_*(shelf|shelves)|_?board|_?display": "family page, page, publisher",
    r"_*cautions?|_*wordings?|_?overview": "warnings, messages, status",
}
TEXTS: Words = {
    r"\bpurses?\b": "budget",
    r"\b(tally|tallies)\b": "counter state",
    r"\bfigures?\b(?!\.py)": "numbers, values, metrics",
    r"\bbites?\b": "batches",
    r"\breveal(s|ed|ing)?\b": "show",
    r"(?<!case.)\bfold(s|ed|ing)?\b": "overflow, retire, aggregate",
    r"\b(desk|shelf|shelves|cautions?)\b": "poll context, page of a family, warnings",
    r"\bfaults?\b": "error, problem",
    r"\bpollrequest (for|the|a)\b|\blabel_rules `": "request, naming: a name is no verb",
    r"\b(told|said)\b": "reported, shown, logged",
    r"\b(is|are|be) had\b": "is available",
    r"\bas (it was|they were)\b": "unchanged",
    r"\bmend(s|ed|ing)?\b": "repair, fix",
    r"\bstands? (in\b(?! for\b)|there\b|here\b|beside\b)": "is in",
    r"\bmade-up (vendors?|accounts?)\b": "simulated",
    r"\brefused for rate\b": "rate-limited",
    r"\b(passed over|by why|aloud)\b": "skipped, by reason, with a message",
    r"\bthe most unusual first\b": "by anomaly score",
    r"\banswers held back\b": "suspicious responses (quarantined)",
    r"\bover the last four\b": "vs. previous 4 weeks",
    r"\bbaseline not learnt\b": "needs 3 weeks of history",
    r"\bin a form that is not known\b": "API response schema changed",
    r"\bhas never been read\b": "no successful poll yet",
    r"\bbefore anything is asked\b": "preview API usage",
    r"\blikely to be regretted\b": "risky",
    r"\bwas there before counting began\b": "predates the first poll",
    r"\bis no file\b|\belders\b": "see ledger.key, older versions",
    r"\bonly those in trouble\b": "problems only",
}
TITLES: Words = {
    "where": "Bots", "course": "Trends", "reading this board": "About this dashboard",
}  # fmt: skip
SIMULATORS = "exporter/simulator/"
RIGHT: Mapping[str, tuple[str, ...]] = {
    # datetime calls an hour's second turn "fold"
    r"_*(\w+_)?(fold|folds|folded|unfold)(_\w+)?": ("exporter/providers/xenioo/",),
    # Help texts of families are read by others' programs, and change only with the family.
    r"(?<!case.)\bfold(s|ed|ing)?\b": (
        *("exporter/model/families.py", "exporter/telemetry/counters.py", "docs/metrics.md"),
    ),
    r"\bfigures?\b(?!\.py)": ("exporter/web/templates/",),  # an element of HTML
    r"_*(\w+_)?faults?": (SIMULATORS,),
    r"\bfaults?\b": (
        *(SIMULATORS, "CONTRIBUTING.md", "docs/add-a-provider.md", "docs/specification/", "tests/"),
    ),
}
"""Beginnings of paths where a word is right."""

Found = tuple[str, int, str]
"""Something that is named or written: file, line, and the name, or the text in lower case."""


@cache
def modules() -> tuple[tuple[str, str, ast.Module], ...]:
    sources = ((str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in PACKAGE)
    return tuple((path, source, ast.parse(source)) for path, source in sources)


@cache
def named(node_type: Any = ast.AST) -> tuple[Found, ...]:
    """Return everything that the package names: modules, or only what ``node_type`` is."""
    found = [(path, 1, Path(path).stem) for path, _, _ in modules() if node_type is ast.AST]
    for path, _, tree in modules():
        nodes = (node for node in ast.walk(tree) if isinstance(node, node_type))
        found += [(path, node.lineno, name) for node in nodes if (name := name_of(node))]
    return tuple(found)


def name_of(node: Any) -> str:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return node.name
        case ast.arg():
            return node.arg
        case ast.Name(ctx=ast.Store()):
            return node.id
        case ast.Attribute(ctx=ast.Store()):
            return node.attr
        case _:
            return ""


@cache
def written() -> tuple[Found, ...]:
    """Return every text: pages, messages, docstrings, comments, titles and rules."""
    texts = [
        (str(path.relative_to(ROOT)), 1, path.read_text("utf-8")) for path in (*PAGES, *OTHER_TEXTS)
    ]
    for path, source, tree in modules():
        texts += [
            (path, node.lineno, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        texts += [
            (path, source.count("\n", 0, each.start()) + 1, each[0])
            for each in COMMENTS.finditer(source)
        ]
    return (*((path, line, text.lower()) for path, line, text in texts), *shown())


@cache
def shown() -> tuple[Found, ...]:
    """Return titles and descriptions of dashboards, and what alerts say."""
    boards, rules = (ROOT / "dashboards").glob("*.json"), (ROOT / "dashboards/rules").glob("*.yaml")
    found = [(path, text) for path in boards for text in titles(json.loads(path.read_text()))]
    found += [(path, each[0]) for path in rules for each in ANNOTATIONS.finditer(path.read_text())]
    return tuple((str(path.relative_to(ROOT)), 0, text.lower()) for path, text in found)


def titles(node: Any) -> Iterator[str]:
    inner: Any = node if isinstance(node, list) else ()
    if isinstance(node, dict):
        yield from (node[key] for key in SHOWN & node.keys() if isinstance(node[key], str))
        inner = node.values()
    for value in inner:
        yield from titles(value)


@pytest.mark.parametrize(
    ("pattern", "instead", "node_type"),
    [
        *((*each, ast.ClassDef) for each in CLASSES.items()),
        *((*each, (ast.FunctionDef, ast.AsyncFunctionDef)) for each in FUNCTIONS.items()),
        *((*each, ast.AST) for each in NAMES.items()),
    ],
)
def test_a_retired_name_is_not_used(pattern: str, instead: str, node_type: Any) -> None:
    uses = [each for each in named(node_type) if re.fullmatch(pattern, each[2])]

    assert wrong(pattern, uses) == [], f"write {instead}"


@pytest.mark.parametrize(("pattern", "instead"), TEXTS.items())
def test_a_retired_word_is_not_written(pattern: str, instead: str) -> None:
    regex = re.compile(pattern.replace(" ", r"[\s#]+"))  # its words may be on two lines
    uses = [
        (path, line + text.count("\n", 0, hit.start()), hit[0])
        for path, line, text in written()
        for hit in regex.finditer(text)
    ]

    assert wrong(pattern, uses) == [], f"write {instead}"


@pytest.mark.parametrize(("title", "instead"), TITLES.items())
def test_a_retired_title_is_not_shown(title: str, instead: str) -> None:
    assert [each for each in shown() if each[2] == title] == [], f"write {instead}"


def wrong(pattern: str, uses: list[Found]) -> list[str]:
    right = RIGHT.get(pattern, ("\0",))
    return [f"{path}:{line}: {word}" for path, line, word in uses if not path.startswith(right)]


def test_a_class_name_has_one_meaning() -> None:
    classes = named(ast.ClassDef)
    repeated = {name for name, n in Counter(name for *_, name in classes).items() if n > 1}

    assert [each for each in classes if each[2] in repeated] == []
