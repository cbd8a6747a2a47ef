"""Turns a manifest file into compiled queries; reports every error at once, with its position."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import iter_modules

from exporter.config.files import SETTINGS_BYTES, read_regular, why
from exporter.config.messages import checked
from exporter.config.source import Path as Steps
from exporter.config.source import read, unusable
from exporter.config.values import kind_of, suggestion
from exporter.errors import SettingsError, SettingsProblem
from exporter.model.families import NORMALISED
from exporter.model.samples import BASE, Family, MetricType, Series
from exporter.providers.manifest.checks import Problems, check_account, sent_bounds
from exporter.providers.manifest.compiler import QueryCompiler
from exporter.providers.manifest.expressions import changes_clock
from exporter.providers.manifest.model import Manifest, ManifestQuery, OwnFamily
from exporter.providers.manifest.program import EACH, CompiledQuery

SHIPPED = Path(__file__).parent / "shipped"
BUILT_IN = frozenset(each.name for each in iter_modules([str(SHIPPED.parent.parent)]))
_JOBS = "asynchronous exports are not supported: a manifest reads answers, not jobs"
_FILES = "files are not supported: a manifest reads JSON answers"
_SESSIONS = "browser sessions are not supported: use an API key"
_RELATIVE = "windows relative to now are not supported: counts need fixed bounds"
NOT_EXPRESSIBLE = {
    **dict.fromkeys(("export", "poll_job"), _JOBS),
    **dict.fromkeys(("file", "csv"), _FILES),
    "subscription": "GraphQL subscriptions are not supported: a manifest sends requests",
    "sigv4": "SigV4 signatures are not supported",
    **dict.fromkeys(("session", "cookies"), _SESSIONS),
    **dict.fromkeys(("relative", "last"), _RELATIVE),
}
"""Keys that people expect, and why they do not exist."""

BEGIN = "begin with manifest: 1"
TEXTS = frozenset({"params", "body", "headers", "labels", "default", "only", "except", "expect"})
"""Keys below which a number is sent, compared or shown as text."""

_MISNAMED = frozenset(  # as in promlint
    {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"}
    | {"counter", "gauge", "histogram", "summary"}
)


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """A manifest without errors, from ``file``; ``warnings`` are about what is valid but risky.

    It is equal to another of the same settings, since ``queries`` are made from them: functions and
    decoders, which equal only themselves.
    """

    file: str
    settings: Manifest
    families: tuple[Family, ...]
    queries: Mapping[str, CompiledQuery] = field(compare=False)
    secrets: frozenset[str]
    warnings: tuple[SettingsProblem, ...] = field(compare=False)

    @property
    def fed(self) -> frozenset[str]:
        """Return the names of the families that its queries feed."""
        feeds = (feed for query in self.queries.values() for feed in query.program.feeds)
        return frozenset(feed.family.name for feed in feeds)


def find(reference: str, base: Path = Path()) -> Path:
    """Return the file of ``reference``: a shipped name, or a path from the folder ``base``.

    Raises ``LookupError``, with a message for users, if no manifest of this name is shipped.
    """
    if "/" in reference or reference.endswith((".yaml", ".yml")):
        return base / reference
    if reference not in shipped():
        hint = suggestion(reference, shipped()) or f"expected one of {', '.join(shipped())}"
        path = "a path has a slash or ends in .yaml"
        raise LookupError(f"the exporter ships no manifest of this name; {hint}; {path}")
    return SHIPPED / f"{reference}.yaml"


def shipped() -> list[str]:
    """Return the names of the manifests that come with the exporter."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(path: Path) -> LoadedManifest:
    """Return the manifest at ``path``; raise ``SettingsError`` with every problem of the file."""
    file = str(path)
    try:
        raw = read_regular(path, SETTINGS_BYTES)
    except (OSError, ValueError) as error:
        raise unusable(file, f"the file cannot be read: {why(error)}") from None
    return loads(raw, file)


def loads(raw: bytes, file: str = "manifest.yaml") -> LoadedManifest:
    """Return the manifest in a text; see ``load``."""
    source = read(raw, file, BEGIN)
    if not isinstance(source.data, dict):
        found = f"expected keys and values, found {kind_of(source.data)}"
        raise SettingsError([source.problem((), found, BEGIN), *source.problems])
    data = {key: value for key, value in source.data.items() if not key.startswith("x-")}
    manifest, wrong = checked(Manifest, data)
    if manifest is None:
        explained = (_explain(each.located(source, ())) for each in wrong)
        raise SettingsError([*source.problems, *explained])
    problems = Problems(source, [*source.problems, *source.not_as_written(TEXTS)])
    if manifest.name in BUILT_IN:
        problems.add(
            ("name",), "a built-in provider has this name", "use another, such as acme_api"
        )
    for name, family in manifest.families.items():
        _check_family(problems, name, family)
    own = {name: own_family(name, family) for name, family in manifest.families.items()}
    secrets = check_account(problems, manifest)
    queries = _compile(problems, manifest, {**NORMALISED, **own})
    if problems.found:
        one_a_place = {(p.line, p.column, p.path, p.problem): p for p in problems.found}
        raise SettingsError([*one_a_place.values()])
    secrets = secrets.union(*(query.secrets for query in queries.values()))
    warnings = Problems(source, [])
    for name, query in manifest.queries.items():
        _warn(warnings.within("queries", name), query)
    return LoadedManifest(
        file, manifest, tuple(own.values()), queries, frozenset(secrets), tuple(warnings.found)
    )


def _explain(problem: SettingsProblem) -> SettingsProblem:
    """Return an unknown key with the reason why it does not exist, if there is one."""
    last = problem.path.rpartition(".")[2]
    words = NOT_EXPRESSIBLE.get(last) if problem.problem == "unknown key" else None
    if words is None:
        return problem
    return SettingsProblem(problem.file, problem.line, problem.column, problem.path, words)


def _check_family(problems: Problems, name: str, family: OwnFamily) -> None:
    """Note what promlint would report about an own family, and labels that it has anyway."""
    base: Steps = ("families", name)
    words = name.removesuffix("_total").split("_")
    counter = family.type == "counter"
    if counter != name.endswith("_total"):
        hint = "a counter's name ends in _total, a gauge's does not"
        problems.add(base, f"not the name of a {family.type}", hint, key=True)
    if not counter and name.endswith(("_count", "_sum", "_bucket", "_info", "_created")):
        problems.add(base, "this suffix is reserved", key=True)
    if wrong := {*words} & _MISNAMED:
        hint = "spell units out, as in seconds or bytes"
        problems.add(base, f"the name contains {min(wrong)}", hint, key=True)
    if family.unit and not name.removesuffix("_total").endswith(f"_{family.unit}"):
        hint = f"such as …_{family.unit}{'_total' if counter else ''}"
        problems.add((*base, "unit"), "the name does not end with the unit", hint)
    if not counter and family.resolution is not None:
        problems.add((*base, "resolution"), "only counters have a resolution")
    if {*BASE, "period"} & {*family.labels} or len({*family.labels}) < len(family.labels):
        hint = f"every family has {', '.join(BASE)}"
        problems.add((*base, "labels"), "a label that already exists", hint)


def _compile(
    problems: Problems, manifest: Manifest, families: Mapping[str, Family]
) -> Mapping[str, CompiledQuery]:
    """Return the queries that have no error."""
    queries = dict[str, CompiledQuery]()
    for name, query in manifest.queries.items():
        before, within = len(problems.found), problems.within("queries", name)
        compiled = QueryCompiler(name, query, manifest, families, within)()
        if len(problems.found) == before:
            queries[name] = compiled
    _check_fed_once(problems, manifest, queries.values())
    return queries


def _check_fed_once(
    problems: Problems, manifest: Manifest, queries: Iterable[CompiledQuery]
) -> None:
    """Note series that two queries, or two values of a loop, feed: each may have one source."""
    variables = {name: f"{{variables.{name}}}" for name in manifest.variables}
    fed_by = dict[Series, tuple[str, Mapping[str, str]]]()
    for compiled in queries:
        for each, query in compiled.bind(variables):
            for series, feed in query.fixed.items():
                name, looped = fed_by.setdefault(series, (query.name, each))
                if (name, looped) == (query.name, each):
                    continue
                place: Steps = ("for_each", *each)
                words, hint = "its values would feed", f"write labels: each.{''.join(each)}"
                if name != query.name:
                    kind = "count" if feed.of == "additive" else "gauge"
                    named = series[0] in getattr(query.settings, kind)
                    place = (kind, series[0] if named else EACH)
                    words, hint = f"the query {name} also feeds", "tell them apart by a label"
                within = problems.within("queries", query.name)
                within.add(place, f"{words} one series of {series[0]}", hint, key=True)


def own_family(name: str, family: OwnFamily) -> Family:
    """Return a manifest's own family as the rest of the exporter knows it."""
    counter = family.type == "counter"
    return Family(
        name,
        MetricType.COUNTER if counter else MetricType.GAUGE,
        family.help,
        (*BASE, *family.labels),
        family.cap,
        "Defined by a manifest",
        period=counter,
        per_unit=family.per_unit if counter else 1,
    )


def _warn(warnings: Problems, query: ManifestQuery) -> None:
    window, pages = query.window, query.pages
    total = query.complete is not None and query.complete.total
    if not (query.complete or query.until or query.missing == "error") and pages.kind == "none":
        hint = "give complete, until, pages, or missing: error"
        warnings.add((), "warning: nothing shows that an answer is complete", hint)
    noticed = pages.more or pages.size or total or query.missing == "error"
    if pages.kind in ("cursor", "next_url") and not noticed and not query.request.numbers:
        words = "warning: nothing would show that pages.from is wrong"
        warnings.add(("pages",), words, "give pages.more or pages.size")
    if window.end == "unstated" and query.shape != "range":
        words = "warning: it is not stated whether the end of the window is included"
        warnings.add(("window",), words, "give window.end: exclusive or inclusive")
    formats = [bound.argument for _, bound in sent_bounds(query)]
    local = any("%" in each and "%z" not in each for each in formats)
    if query.shape == "range" and local and changes_clock(window.timezone):
        words = "warning: in these local times, the hour that a clock change repeats is read twice"
        warnings.add(("window", "timezone"), words, "write %z, or use UTC if the API supports it")
    if window.lookback < window.settle:
        words = "warning: lookback is shorter than settle, so late changes are not seen"
        warnings.add(("window",), words, "a bucket must be read again until it has settled")
