"""Problems of a manifest with their positions, and the checks of its requests."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticCustomError

from exporter.config.source import Path as Steps
from exporter.config.source import Source
from exporter.config.values import check_url, suggestion
from exporter.errors import SettingsProblem
from exporter.model.samples import DAY_MS, HOUR_MS
from exporter.providers.manifest.expressions import (
    Conversion,
    ExpressionError,
    check_format,
    has_whole_hours,
)
from exporter.providers.manifest.model import (
    CallBudget,
    Manifest,
    ManifestAuth,
    ManifestQuery,
)
from exporter.providers.manifest.program import ANSWER, EACH
from exporter.providers.manifest.templates import (
    bounds,
    check_header,
    check_path,
    leaves,
    names,
)

_NEEDED = {
    "bearer": ("token",),
    "basic": ("username",),
    "header": ("header", "token"),
    "query": ("param", "token"),
    "oauth2_client_credentials": ("token_url", "client_id", "client_secret"),
    "none": (),
}
_OPTIONAL = {"basic": {"password"}, "oauth2_client_credentials": {"scope"}}
_SECRET = ("token", "password", "client_secret")

Names = Mapping[str, Collection[str]]
"""The names that a text may use, by root; under ``secrets`` and ``window``, any name."""


@dataclass(frozen=True, slots=True)
class Problems:
    """Collects in ``found`` the problems of a file, in its part at ``base``."""

    source: Source
    found: list[SettingsProblem]
    base: Steps = ()

    def within(self, *steps: str) -> "Problems":
        """Return the same collection for a part of the file."""
        return Problems(self.source, self.found, (*self.base, *steps))

    def add(self, steps: Steps, problem: str, hint: str = "", *, key: bool = False) -> None:
        """Note a problem with a value or, if ``key``, with its key."""
        whole = (*self.base, *steps)
        at = self.source.keys.get(whole) if key else None
        self.found.append(self.source.problem(whole, problem, hint, at=at))

    def attempt(self, steps: Steps, check: Callable[..., Any], *arguments: Any) -> Any:
        """Return what ``check`` returns; if it raises ``ExpressionError``, note it, return None."""
        try:
            return check(*arguments)
        except ExpressionError as error:
            self.add(steps, str(error), error.hint)
            return None

    def names_in(self, steps: Steps, value: Any, known: Names) -> set[tuple[str, str]]:
        """Return the names in all texts of ``value``; note those that are not ``known``."""
        used = set()
        for place, text in leaves(value):
            at = (*steps, *place)
            for root, name in self.attempt(at, names, text) or () if isinstance(text, str) else ():
                used.add((root, name))
                if root not in known:
                    hint = "only in auth, headers and the body" if root == "secrets" else ""
                    self.add(at, f"{root}.{name} cannot be used here", hint)
                elif root in ("variables", EACH) and name not in known[root]:
                    hint = suggestion(name, known[root]) or f"declare it under {root}"
                    self.add(at, f"no such name: {root}.{name}", hint)
        return used


def check_account(problems: Problems, manifest: Manifest) -> set[str]:
    """Check what all requests share, and how they are signed; return the secrets they name."""
    auth = manifest.auth
    known: Names = {"variables": manifest.variables, "secrets": ()}
    for name, value in manifest.headers.items():
        problems.attempt(("headers", name), check_header, name, value)
    if auth.header is not None:
        problems.attempt(("auth", "header"), check_header, auth.header)
    _check_auth_keys(problems, auth)
    used = problems.names_in(("headers",), manifest.headers, known)
    for name in (*_SECRET, "username", "client_id", "scope"):
        text = getattr(auth, name)
        named_here = problems.names_in(("auth", name), text, known)
        if text and name in _SECRET and "secrets" not in {root for root, _ in named_here}:
            problems.add(("auth", name), "literal secret", "write secrets.NAME")
        used |= named_here
    return {name for root, name in used if root == "secrets"}


def _check_auth_keys(problems: Problems, auth: ManifestAuth) -> None:
    needed, given = _NEEDED[auth.kind], auth.model_fields_set - {"kind"}
    for name in needed:
        if getattr(auth, name) is None:
            problems.add(("auth", name), "missing", f"{auth.kind} needs {', '.join(needed)}")
    for name in sorted(given - {*needed} - _OPTIONAL.get(auth.kind, set())):
        problems.add(("auth", name), f"not used by {auth.kind}")
    if auth.token_url is not None and auth.token_url.startswith("/"):
        if not {*" ?#{}"}.isdisjoint(auth.token_url):
            problems.add(("auth", "token_url"), "expected a path alone, such as /oauth/token")
    elif auth.token_url is not None:
        try:
            check_url(auth.token_url)
        except PydanticCustomError as error:
            problems.add(("auth", "token_url"), error.message())


def check_window(problems: Problems, query: ManifestQuery, budget: CallBudget | None) -> None:
    """Check what one request covers; a ``budget`` needs one request per poll."""
    window = query.window
    if window.bucket not in (HOUR_MS, DAY_MS):
        hint = "for numbers of trailing days, use a gauge of class: level"
        problems.add(("window", "bucket"), "expected 1h or 1d", hint)
    if window.bucket == DAY_MS and window.timezone != "UTC":
        hint = "read hours, and the exporter sums the days of any zone"
        problems.add(("window", "timezone"), "days must be UTC days", hint)
    elif not has_whole_hours(window.timezone):
        hint = "use UTC if the API supports it"
        problems.add(("window", "timezone"), "its hours do not begin with UTC hours", hint)
    if window.max_span is not None and window.max_span % window.bucket:
        problems.add(("window", "max_span"), "not a whole number of buckets")
    poll, span = window.lookback + query.newest_ms(budget), window.max_span
    several = {
        "pages": query.pages.kind != "none",
        "shape": query.shape == "range",
        "window": span is not None and poll > span,
    }
    for name in (name for name, makes in several.items() if makes and budget):
        words = f"rate.budget needs one call per poll, and {name} makes several"
        problems.add((name,), words, "use rate.requests_per_second")


def check_shape(
    problems: Problems, query: ManifestQuery, at: Collection[str], until: Collection[str]
) -> None:
    """Check what rows of a shape need; ``at`` and ``until`` are the lists they are read from."""
    given = query.model_fields_set
    records, spans = query.shape == "records", query.shape == "range"
    one, alone = not query.rows, spans and query.pages.kind == "none"
    for wrong, steps, problem, hint in (
        (one and not alone, (), "rows is missing", "only a range of one object needs no list"),
        (not (query.at or spans), (), "at is missing", "give the field with a row's time"),
        (query.until and not (spans and query.at), ("until",), "only for range, with at", ""),
        (
            query.until and at != until,
            ("until",),
            "at and until are read from different lists",
            "",
        ),
        (
            at == {ANSWER} and not spans and query.window.max_span != query.window.bucket,
            ("at",),
            "the answer has one time, but several buckets are requested",
            "use shape: range, or a max_span of one bucket",
        ),
        (
            spans and query.at and not query.until,
            ("at",),
            "a range counts all its rows, whatever their time",
            "give until, too",
        ),
        (records and not query.id, (), "id is missing", "give the field that identifies a record"),
        (not records and "id" in given, ("id",), "only for shape: records", ""),
        (not records and "mutable" in given, ("mutable",), "only for shape: records", ""),
        (query.missing != "zero" and (records or spans), ("missing",), "only for buckets", ""),
        (
            spans and query.window.end == "unstated" and not query.until,
            ("window",),
            "a range must state whether its end is included",
            "give end: exclusive or inclusive",
        ),
        (records and query.gauge, ("gauge",), "records are counted, not shown as gauges", ""),
    ):
        if wrong:
            problems.add(steps, problem, hint)


def check_request(
    problems: Problems, query: ManifestQuery, variables: Collection[str], auth: ManifestAuth
) -> set[str]:
    """Check every text of a request; return the secrets that it names."""
    if auth.param in query.request.params:
        problems.add(("request", "params", auth.param), "already sent by auth", key=True)
    request, base, before = query.request, ("request",), len(problems.found)
    for name, value in request.headers.items():
        problems.attempt((*base, "headers", name), check_header, name, value)
    problems.attempt((*base, "path"), check_path, request.path)
    if request.body is not None and request.method == "GET":
        problems.add((*base, "body"), "a GET has no body", "write method: POST")
    given: Names = {"variables": variables, EACH: query.for_each}
    window, secrets = {"window": ()}, {"secrets": ()}
    headers = problems.names_in((*base, "headers"), request.headers, {**given, **secrets})
    used = problems.names_in((*base, "path"), request.path, given)
    used |= problems.names_in((*base, "params"), request.params, {**given, **window})
    _check_params(problems, (*base, "params"), request.params)
    used |= problems.names_in((*base, "body"), request.body, {**given, **window, **secrets})
    for steps, bound in sent_bounds(query):
        problems.attempt(steps, check_format, bound, query.window.bucket, query.window.timezone)
    if not used >= {("window", "start"), ("window", "end")} and len(problems.found) == before:
        hint = "counts need fixed bounds: send window.start and window.end"
        problems.add(base, "the request does not send its window", hint)
    _check_loops(problems, query, used)
    return {name for root, name in used | headers if root == "secrets"}


def _check_loops(problems: Problems, query: ManifestQuery, used: Collection[Any]) -> None:
    """Note loops that repeat nothing, request the same twice, or feed nothing."""
    for name, values in query.for_each.items():
        at: Steps = ("for_each", name)
        if (EACH, name) not in used:
            problems.add(at, "the request does not use it", f"write each.{name}")
        if not values or len({*values}) < len(values) or {"", ".", ".."} & {*values}:
            problems.add(at, "expected distinct values, none of them empty, . or ..")
        if isinstance(values, dict) and EACH not in {*query.count, *query.gauge}:
            problems.add(at, "nothing feeds these families", "give count.each")


def _check_params(problems: Problems, steps: Steps, params: Mapping[str, Any]) -> None:
    """Note what a query string cannot hold: it would be left out, or sent in no defined form."""
    for name, value in params.items():
        if isinstance(value, dict) and "json" in value and len(value) > 1:
            words = "keys beside json are not sent"
            problems.add((*steps, name), words, "move them into json")
        if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
            problems.add((*steps, name), "a list may hold only single values", "use {json: …}")


def sent_bounds(query: ManifestQuery) -> Iterator[tuple[Steps, Conversion]]:
    """Yield where and how a request writes each bound of the window; skip texts with errors."""
    sent = {"params": query.request.params, "body": query.request.body}
    for steps, text in leaves(sent):
        with suppress(ExpressionError):  # noted by names_in
            for bound in bounds(text) if isinstance(text, str) else ():
                yield ("request", *steps), bound
