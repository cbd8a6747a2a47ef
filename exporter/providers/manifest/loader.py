"""A manifest file to compiled queries, with every error at once and its position."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from exporter.config.files import SETTINGS_BYTES, read_regular, why
from exporter.config.messages import problems_of
from exporter.config.source import Path as Steps
from exporter.config.source import Source, read, unusable
from exporter.config.values import check_url, kind_of, suggestion
from exporter.errors import SettingsError, SettingsProblem
from exporter.model.families import NORMALISED
from exporter.model.samples import BASE, Family, MetricType
from exporter.providers.manifest.compiler import QueryCompiler
from exporter.providers.manifest.expressions import ExpressionError
from exporter.providers.manifest.model import Manifest, ManifestAuth, OwnFamily
from exporter.providers.manifest.program import CompiledQuery
from exporter.providers.manifest.templates import check_header, expressions, named

SHIPPED = Path(__file__).parent / "shipped"
BUILT_IN = frozenset(each.name for each in iter_modules([str(SHIPPED.parent.parent)]))
NOT_EXPRESSIBLE = {
    "export": "asynchronous exports are not supported: a manifest reads answers, not jobs",
    "poll_job": "asynchronous exports are not supported: a manifest reads answers, not jobs",
    "file": "files are not supported: a manifest reads JSON answers",
    "csv": "files are not supported: a manifest reads JSON answers",
    "subscription": "GraphQL subscriptions are not supported: a manifest asks and reads",
    "sigv4": "SigV4 signatures are not supported",
    "session": "browser sessions are not supported: use an API key",
    "cookies": "browser sessions are not supported: use an API key",
    "relative": "windows relative to now are not supported: counts need fixed bounds",
    "last": "windows relative to now are not supported: counts need fixed bounds",
}
"""Keys that people reach for, and why there is no such thing."""

_MISNAMED = frozenset(  # as promlint has them
    {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"}
    | {"counter", "gauge", "histogram", "summary"}
)
_NEEDED = {
    "bearer": ("token",),
    "basic": ("username",),
    "header": ("header", "token"),
    "query": ("param", "token"),
    "oauth2_client_credentials": ("token_url", "client_id", "client_secret"),
    "none": (),
}


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """A manifest without errors, from ``file``; ``warnings`` are valid but risky places."""

    file: str
    settings: Manifest
    families: tuple[Family, ...]
    queries: Mapping[str, CompiledQuery]
    secrets: frozenset[str]
    warnings: tuple[SettingsProblem, ...]


def find(reference: str, base: Path = Path()) -> Path:
    """Return the file of ``reference``: a shipped name, or a path from the folder ``base``.

    Raises ``LookupError``, in words for people, where no manifest of this name is shipped.
    """
    if "/" in reference or reference.endswith((".yaml", ".yml")):
        return base / reference
    if reference not in shipped():
        hint = suggestion(reference, shipped()) or f"known are {', '.join(shipped())}"
        path = "a path has a slash or ends in .yaml"
        raise LookupError(f"no manifest of this name comes with the exporter; {hint}; {path}")
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
    source = read(raw, file)
    if not isinstance(source.data, dict):
        found = f"expected keys and values, found {kind_of(source.data)}"
        raise SettingsError([source.problem((), found, "begin with manifest: 1"), *source.problems])
    data = {key: value for key, value in source.data.items() if not key.startswith("x-")}
    try:
        manifest = Manifest.model_validate_json(json.dumps(data))
    except ValidationError as error:
        wrong = [each.located(source, ()) for each in problems_of(error, data, Manifest)]
        raise SettingsError([*source.problems, *map(_explain, wrong)]) from None
    check = _Check(source, manifest, problems=list(source.problems))
    queries = check.queries()
    if check.problems:
        raise SettingsError(_one_a_place(check.problems))
    secrets = check.secrets | frozenset[str]().union(*(q.secrets for q in queries.values()))
    own, warned = tuple(check.own.values()), tuple(_warnings(source, manifest))
    return LoadedManifest(file, manifest, own, queries, secrets, warned)


def _explain(problem: SettingsProblem) -> SettingsProblem:
    """Return an unknown key with the reason why there is no such thing, where there is one."""
    last = problem.path.rpartition(".")[2]
    words = NOT_EXPRESSIBLE.get(last) if problem.problem == "unknown key" else None
    if words is None:
        return problem
    return SettingsProblem(problem.file, problem.line, problem.column, problem.path, words)


def _one_a_place(problems: Iterable[SettingsProblem]) -> list[SettingsProblem]:
    return list({(p.line, p.column, p.path, p.problem): p for p in problems}.values())


@dataclass(slots=True)
class _Check:
    """What the shape of a file cannot show; goes on after a problem so as to find them all."""

    source: Source
    manifest: Manifest
    problems: list[SettingsProblem] = field(default_factory=list)
    own: dict[str, Family] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()

    def queries(self) -> dict[str, CompiledQuery]:
        """Return the compiled queries; ``problems`` says whether they may be used."""
        if self.manifest.name in BUILT_IN:
            self.add(("name",), "a built-in provider has this name", "such as acme_api")
        for name, family in self.manifest.families.items():
            self.own[name] = own_family(name, family)
            self.problems += self._family(name, family)
        self.secrets = frozenset(self._auth(self.manifest.auth)) | frozenset(
            self._texts(("headers",), self.manifest.headers, secrets=True)
        )
        named_headers = [(("headers", name), name) for name in self.manifest.headers]
        if self.manifest.auth.header is not None:
            named_headers.append((("auth", "header"), self.manifest.auth.header))
        for steps, name in named_headers:
            try:
                check_header(name)
            except ExpressionError as error:
                self.add(steps, str(error), error.hint)
        compiled = {}
        for name, query in self.manifest.queries.items():
            families = {**NORMALISED, **self.own}
            compiler = QueryCompiler(name, query, self.manifest, families, self.source)
            compiled[name] = compiler.compile()
            self.problems += compiler.problems
        return compiled

    def add(self, steps: Steps, problem: str, hint: str = "") -> None:
        self.problems.append(self.source.problem(steps, problem, hint))

    def _auth(self, auth: ManifestAuth) -> Iterator[str]:
        needed, given = _NEEDED[auth.kind], auth.model_fields_set - {"kind"}
        for name in needed:
            if getattr(auth, name) is None:
                self.add(("auth", name), "missing", f"{auth.kind} needs {', '.join(needed)}")
        optional = {"basic": {"password"}, "oauth2_client_credentials": {"scope"}}
        for name in sorted(given - {*needed} - optional.get(auth.kind, set())):
            self.add(("auth", name), f"not used by {auth.kind}")
        for name in ("token", "password", "client_secret", "username", "client_id"):
            text = getattr(auth, name)
            names = list(self._texts(("auth", name), text, secrets=True)) if text else []
            if text and not names and name in ("token", "password", "client_secret"):
                self.add(("auth", name), "literal secret", "write secrets.NAME")
            yield from names
        url = auth.token_url
        if url is not None and not url.startswith("/"):
            self._check_url(url)

    def _check_url(self, url: str) -> None:
        try:
            check_url(url)
        except PydanticCustomError as error:
            self.add(("auth", "token_url"), error.message())

    def _texts(self, steps: Steps, value: Any, *, secrets: bool) -> Iterator[str]:
        """Yield the names of the secrets in texts that have no window; note what is wrong."""
        try:
            found = [named(each) for each in expressions(value)]
        except ExpressionError as error:
            self.add(steps, str(error), error.hint)
            return
        for root, name in found:
            if root == "secrets" and secrets:
                yield name
            elif root != "variables":
                self.add(steps, f"{root}.{name} cannot be used here")
            elif name not in self.manifest.variables:
                hint = suggestion(name, self.manifest.variables) or "declare it under variables"
                self.add(steps, f"no variable is called {name}", hint)

    def _family(self, name: str, family: OwnFamily) -> Iterator[SettingsProblem]:
        """Yield what promlint would say of an own family, and labels that it has anyway."""
        base: Steps = ("families", name)
        key = self.source.keys[base]
        words = name.removesuffix("_total").split("_")
        counter = family.type == "counter"
        if counter != name.endswith("_total"):
            hint = "a counter's name ends in _total, a gauge's does not"
            yield self.source.problem(base, f"not the name of a {family.type}", hint, at=key)
        if not counter and name.endswith(("_count", "_sum", "_bucket", "_info", "_created")):
            yield self.source.problem(base, "this ending has a meaning of its own", at=key)
        if wrong := {*words} & _MISNAMED:
            hint = "spell units out, as in seconds or bytes"
            yield self.source.problem(base, f"the name holds {min(wrong)}", hint, at=key)
        if family.unit and not name.removesuffix("_total").endswith(f"_{family.unit}"):
            hint = f"such as …_{family.unit}{'_total' if counter else ''}"
            yield self.source.problem((*base, "unit"), "the name does not end with the unit", hint)
        if not counter and family.resolution is not None:
            yield self.source.problem((*base, "resolution"), "only counters have a resolution")
        taken = {*BASE, "period"} & {*family.labels}
        if taken or len({*family.labels}) < len(family.labels):
            hint = f"every family has {', '.join(BASE)}"
            yield self.source.problem((*base, "labels"), "a label that is there already", hint)


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


def _warnings(source: Source, manifest: Manifest) -> Iterator[SettingsProblem]:
    for name, query in manifest.queries.items():
        base: Steps = ("queries", name)
        window: Steps = (*base, "window")
        proven = query.complete or query.until or query.missing == "error"
        if not proven and query.pages.kind == "none":
            words = "warning: nothing shows that an answer is complete"
            yield source.problem(base, words, "give complete, until, pages, or missing: error")
        pages, total = query.pages, query.complete and query.complete.total
        noticed = pages.more or pages.size or total or query.missing == "error"
        if pages.kind in ("cursor", "next_url") and not noticed and not query.request.numbers:
            words = "warning: nothing would show that pages.from is wrong"
            yield source.problem((*base, "pages"), words, "give pages.more or pages.size")
        if query.window.end == "unstated" and query.shape != "range":
            words = "warning: it is not stated whether the end of the window is included"
            yield source.problem(window, words, "give window.end: exclusive or inclusive")
        if query.window.lookback < query.window.settle:
            words = "warning: lookback is shorter than settle, so late changes are not seen"
            yield source.problem(window, words, "a bucket must be read again until it has settled")
