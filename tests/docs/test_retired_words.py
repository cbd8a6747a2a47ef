"""Words that the project no longer uses stay out of the tree; ``RETIRED`` is the list, with reasons."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
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
BOARDS = sorted((ROOT / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "dashboards" / "rules").glob("*.yaml"))
SIMULATORS = "exporter/simulator/"
HELP_TEXTS = ("exporter/model/families.py", "exporter/telemetry/counters.py", "docs/metrics.md")
"""Help texts of families are read by others' programs, and change only with the family."""
COMMENTS = re.compile(r"(?:^ *|  )#.*(?:\n *#.*)*", re.MULTILINE)
ANNOTATIONS = re.compile(r"^ *(?:summary|description): .*(?:\n {10,}.*)*", re.MULTILINE)
SHOWN = {"title", "description", "displayName", "legendFormat"}


@dataclass(frozen=True, slots=True)
class Retired:
    """A word, what to write instead, where it is looked for, and why it went.

    ``where`` is ``class`` (its name), ``function`` (its name), ``name`` (anything that code names:
    classes, functions, arguments, variables, attributes, modules), ``text`` (pages, messages,
    docstrings, comments, titles of dashboards) or ``title`` (a whole title of a dashboard).
    ``pattern`` is a regular expression where the word alone is not enough: of the whole name, or
    found in lower-case text. ``but`` are beginnings of paths where the word is right.
    """

    word: str
    instead: str
    where: str
    reason: str
    pattern: str = ""
    but: tuple[str, ...] = ()

    @property
    def regex(self) -> re.Pattern[str]:
        """Return what finds the word; words of a text may be on two lines."""
        if self.where in {"text", "title"}:
            found = self.pattern or rf"\b{re.escape(self.word.lower())}\b"
            return re.compile(found.replace("\\ ", " ").replace(" ", r"[\s#]+"))
        return re.compile(self.pattern or rf"_?{re.escape(self.word)}")


QUAINT = "quaint; not what an engineer would say"
INVERTED = "inverted; hard to read"
FIELD = "the field has a word for it"
VAGUE = "says nothing about what it is"
MANY = "had several meanings"

RETIRED = (
    # Names of the counting and the ledger.
    Retired("purse", "budget", "name", QUAINT, r"_*(\w+_)?purses?(_\w+)?"),
    Retired("purse", "budget", "text", QUAINT, r"\bpurses?\b"),
    Retired("Told", "LastReading", "class", VAGUE),
    Retired("told", "last, shown, described …", "name", QUAINT, r"_*told"),
    Retired("enrol", "sync_queries", "name", QUAINT, r"_*enrol\w*"),
    Retired("Naming", "LabelRule", "class", FIELD),
    Retired("naming", "label_rules", "name", FIELD, r"_*(\w+_)?naming"),
    Retired("membership", "label_rules", "name", FIELD),
    Retired("relabelled", "label_rules_changed", "name", FIELD),
    Retired("Tally", "CounterState", "class", MANY, r"_?Tally"),
    Retired("tally", "counter state", "name", MANY, r"_*(\w+_)?(tally|tallies)(_\w+)?"),
    Retired("tally", "counter state", "text", MANY, r"\b(tally|tallies)\b"),
    Retired("Figures", "values", "name", FIELD, r"_*[Ff]igures?"),
    Retired("figures", "numbers, values, metrics", "text", FIELD, r"\bfigures?\b(?!\.py)"),
    Retired("tend", "maintain", "name", QUAINT, r"_*tend(s|ed)?"),
    Retired("rest_dormant", "mark_dormant", "name", QUAINT),
    Retired("BITE", "BATCH_ROWS", "name", QUAINT, r"_*BITE|bite"),
    Retired("bites", "batches", "text", QUAINT, r"\bbites?\b"),
    Retired("forget", "delete_removed, prune", "function", QUAINT, "forget"),
    Retired("foresee", "create_known_series", "name", QUAINT, r"_*foresee\w*"),
    Retired("reveal", "confirm_zero_scraped", "name", QUAINT, r"_*reveal\w*"),
    Retired("reveal", "show", "text", QUAINT, r"\breveal(s|ed|ing)?\b"),
    Retired("carried", "scraped_zeros", "name", VAGUE, r"_*carried"),
    Retired("odd", "suspicious, looks_collapsed", "name", QUAINT, r"_*odd"),
    Retired(
        "fold",
        "overflow (caps), retire (old buckets), aggregate (sums), normalize (case)",
        "name",
        MANY,
        r"_*(\w+_)?(fold|folds|folded|unfold)(_\w+)?",
        ("exporter/providers/xenioo/",),  # datetime calls an hour's second turn "fold"
    ),
    Retired(
        "folded into",
        "overflow, retire, aggregate",
        "text",
        MANY,
        r"(?<!case.)\bfold(s|ed|ing)?\b",
        HELP_TEXTS,
    ),
    Retired("expected_lag_ms", "period_grace_ms", "name", "one name, one number"),
    # Names of polling, requests and the composition root.
    Retired("Desk", "PollContext", "class", QUAINT),
    Retired("desk", "context", "name", QUAINT, r"_*(\w+_)?desk"),
    Retired("desk", "poll context", "text", QUAINT),
    Retired("Line", "ScheduledQuery", "class", FIELD),
    Retired("Ended", "PollResult", "class", FIELD),
    Retired("Outside", "Environment", "class", VAGUE),
    Retired("outside", "environment", "name", VAGUE),
    Retired("Surroundings", "SecretContext", "class", QUAINT),
    Retired("surroundings", "secret context", "name", QUAINT),
    Retired("Ask", "PollRequest", "class", FIELD),
    Retired("ask", "request", "name", FIELD),
    Retired("Wire", "Transport", "class", FIELD),
    Retired("wire", "transport", "name", FIELD),
    Retired("Message", "Request", "class", FIELD),
    Retired("ProviderKind", "Provider", "class", FIELD),
    Retired("KIND", "PROVIDER", "name", FIELD, "KIND"),
    Retired("fault", "error, problem", "name", FIELD, r"_*(\w+_)?faults?", (SIMULATORS,)),
    Retired(
        "every fault at once",
        "reports all errors",
        "text",
        FIELD,
        r"\bfaults?\b",
        (SIMULATORS, "CONTRIBUTING.md", "docs/add-a-provider.md", "docs/specification/", "tests/"),
    ),
    # Names of the exposition and the status.
    Retired("Shelf", "FamilyPage", "class", QUAINT),
    Retired("shelf", "family page", "name", QUAINT, r"_*(shelf|shelves)"),
    Retired("shelf", "page of a family", "text", QUAINT, r"\b(shelf|shelves)\b"),
    Retired("Place", "Shard", "class", VAGUE),
    Retired("Run", "FamilySlice", "class", VAGUE),
    Retired("Layout", "SeriesSet", "class", VAGUE),
    Retired("Board", "MetricsPage", "class", "a board is a dashboard"),
    Retired("board", "page", "name", "a board is a dashboard"),
    Retired("Display", "Publisher", "class", FIELD),
    Retired("display", "publisher", "name", FIELD),
    Retired("cautions", "warnings", "name", QUAINT, r"_*cautions?"),
    Retired("cautions", "warnings", "text", QUAINT, r"\bcautions?\b"),
    Retired("wording", "messages", "name", VAGUE, r"_*wordings?"),
    Retired("words", "format, messages", "function", VAGUE),
    Retired("overview", "status", "name", VAGUE),
    Retired("report", "self_metrics", "function", VAGUE, "report"),
    # What a rename left in sentences.
    Retired("PollRequest for", "request", "text", "a name is no verb", r"\bpollrequest (for|the|a)\b"),
    Retired("label_rules `path`", "naming", "text", "a name is no verb", r"\blabel_rules `"),
    # Sentences.
    Retired("told", "reported, shown, logged", "text", QUAINT),
    Retired("said", "reported", "text", QUAINT),
    Retired("is had", "is available", "text", INVERTED, r"\b(is|are|be) had\b"),
    Retired("is not to be had", "is not available", "text", INVERTED, r"\bto be had\b"),
    Retired("as it was", "unchanged", "text", QUAINT, r"\bas (it was|they were)\b"),
    Retired("mend", "repair, fix", "text", QUAINT, r"\bmend(s|ed|ing)?\b"),
    Retired(
        "stands in the file",
        "is in the file",
        "text",
        INVERTED,
        r"\bstands? (in\b(?! for\b)|there\b|here\b|beside\b)",
    ),
    Retired("made-up vendors", "simulated vendors", "text", FIELD, r"\bmade-up (vendors?|accounts?)\b"),
    Retired("refused for rate", "rate-limited", "text", FIELD, r"\brefused for rate\b"),
    Retired("passed over", "skipped", "text", QUAINT),
    Retired("by why", "by reason", "text", INVERTED),
    Retired("the most unusual first", "by anomaly score", "text", INVERTED),
    Retired("Answers held back", "Suspicious responses (quarantined)", "text", VAGUE),
    Retired("over the last four", "vs. previous 4 weeks", "text", INVERTED),
    Retired("baseline not learnt", "needs 3 weeks of history", "text", VAGUE),
    Retired("in a form that is not known", "API response schema changed", "text", INVERTED),
    Retired("has never been read", "no successful poll yet", "text", INVERTED),
    Retired("before anything is asked", "preview API usage", "text", INVERTED),
    Retired("likely to be regretted", "risky", "text", QUAINT),
    Retired("was there before counting began", "predates the first poll", "text", INVERTED),
    Retired("this ledger is no file", "see ledger.key", "text", INVERTED, r"\bis no file\b"),
    Retired("what its elders cut off", "older versions truncated them", "text", QUAINT, r"\belders\b"),
    Retired("only those in trouble", "problems only", "text", QUAINT),
    Retired("skipped aloud", "skipped with a message", "text", QUAINT, r"\baloud\b"),
    Retired("Where", "Bots", "title", VAGUE, r"where"),
    Retired("Course", "Trends", "title", VAGUE, r"course"),
    Retired("Reading this board", "About this dashboard", "title", QUAINT, r"reading this board"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Something that is named or written: file, line, and the name or the text in lower case."""

    path: str
    line: int
    text: str


@cache
def _modules() -> tuple[tuple[str, str, ast.Module], ...]:
    sources = ((str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in PACKAGE)
    return tuple((path, source, ast.parse(source)) for path, source in sources)


@cache
def named() -> tuple[tuple[str, Place], ...]:
    """Return everything that the package names, with what it is."""
    found = []
    for path, _, tree in _modules():
        found.append(("module", Place(path, 1, Path(path).stem)))
        found += [(kind, Place(path, line, name)) for kind, line, name in _names(tree)]
    return tuple(found)


def _names(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef():
                yield "class", node.lineno, node.name
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield "function", node.lineno, node.name
            case ast.arg():
                yield "argument", node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield "variable", node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield "attribute", node.lineno, node.attr
            case _:
                pass


@cache
def written() -> tuple[Place, ...]:
    """Return every text: pages, messages, docstrings, comments, titles and rules."""
    found = [
        Place(str(path.relative_to(ROOT)), 1, path.read_text("utf-8").lower())
        for path in (*PAGES, *OTHER_TEXTS)
    ]
    for path, source, tree in _modules():
        found += [Place(path, line, text.lower()) for line, text in _strings(tree)]
        found += [
            Place(path, source.count("\n", 0, each.start()) + 1, each[0].lower())
            for each in COMMENTS.finditer(source)
        ]
    return (*found, *shown())


def _strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@cache
def shown() -> tuple[Place, ...]:
    """Return titles and descriptions of dashboards, and what alerts say."""
    found = [
        Place(str(path.relative_to(ROOT)), 0, text.lower())
        for path in BOARDS
        for text in _titles(json.loads(path.read_text("utf-8")))
    ]
    found += [
        Place(str(path.relative_to(ROOT)), 0, each[0].lower())
        for path in RULES
        for each in ANNOTATIONS.finditer(path.read_text("utf-8"))
    ]
    return tuple(found)


def _titles(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in SHOWN and isinstance(value, str):
                yield value
            else:
                yield from _titles(value)
    elif isinstance(node, list):
        for value in node:
            yield from _titles(value)


def uses(word: Retired) -> list[str]:
    """Return where ``word`` is still used, as ``file:line: text``."""
    regex = word.regex
    match word.where:
        case "text":
            places = [
                Place(each.path, each.line + each.text.count("\n", 0, hit.start()), hit[0])
                for each in written()
                for hit in regex.finditer(each.text)
            ]
        case "title":
            places = [each for each in shown() if regex.fullmatch(each.text)]
        case where:
            places = [
                each
                for kind, each in named()
                if where in {kind, "name"} and regex.fullmatch(each.text)
            ]
    return [
        f"{each.path}:{each.line}: {' '.join(each.text.split())}"
        for each in places
        if not each.path.startswith(word.but or ("\0",))
    ]


@pytest.mark.parametrize("word", RETIRED, ids=lambda word: f"{word.where}-{word.word}")
def test_a_retired_word_is_not_used(word: Retired) -> None:
    assert uses(word) == [], f"write {word.instead!r} instead of {word.word!r}: {word.reason}"


@pytest.mark.parametrize("word", RETIRED, ids=lambda word: f"{word.where}-{word.word}")
def test_every_pattern_finds_its_own_word(word: Retired) -> None:
    text = word.word.lower() if word.where in {"text", "title"} else word.word

    assert word.regex.search(text)


def test_a_class_name_has_one_meaning() -> None:
    names = Counter(each.text for kind, each in named() if kind == "class")
    repeated = {name for name, number in names.items() if number > 1}

    assert {
        f"{each.path}:{each.line}: {each.text}"
        for kind, each in named()
        if kind == "class" and each.text in repeated
    } == set()
