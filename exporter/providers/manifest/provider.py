"""The queries of a manifest's target, and how they are read: windows, pages, completeness."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urljoin

import httpx
import msgspec
from msgspec import UNSET, UnsetType

from exporter.errors import Refused, SchemaError, Truncated, Unauthorized
from exporter.http_client.client import ApiCall, ApiClient, decode
from exporter.http_client.transport import Response
from exporter.model.numbers import count
from exporter.model.query import Budget, Cost, PollRequest, QuerySpec
from exporter.model.samples import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Reading,
    Readings,
    Window,
    ceil_to,
    floor_to,
)
from exporter.providers.base.declared import NO_CURSOR, ListPage, halved, read_pages, with_member
from exporter.providers.base.plugin import Feed, LabelSettings, Provider, Query, spec_for
from exporter.providers.base.rows import Rows
from exporter.providers.base.times import spans
from exporter.providers.manifest import mapping
from exporter.providers.manifest.checks import sent_bounds
from exporter.providers.manifest.expressions import ExpressionError, write
from exporter.providers.manifest.mapping import Collector
from exporter.providers.manifest.options import ManifestAccount, ManifestOptions
from exporter.providers.manifest.program import CompiledQuery, RowFeed, as_text, or_none
from exporter.providers.manifest.templates import (
    Omitted,
    Substitutes,
    fill,
    fill_headers,
    fill_path,
    leaves,
    names,
)

_LINK = re.compile(r"<([^<>]+)>([^<]*)")
_REL = re.compile(r""";\s*rel\s*=\s*(["']?)([^"';,]*)\1""", re.IGNORECASE)

RESTARTS = 2
MORE = "more calls if an answer has several pages"


def next_query(link: str, base_url: str, path: str) -> str:
    """Return the query string of the next page; raise ``SchemaError`` if it leads elsewhere."""
    with suppress(ValueError, httpx.InvalidURL):
        there = httpx.URL(urljoin(base_url + path, link))
        if there.copy_with(query=None, fragment=None) == httpx.URL(base_url + path):
            return there.query.decode()
    raise SchemaError(f"{path}: the next page is at another address, which is not followed")


def next_link(header: str | None) -> str | None:
    """Return the address that a ``Link`` header calls ``next`` (RFC 8288)."""
    for link, parameters in _LINK.findall(header or ""):
        relation = _REL.search(parameters)
        if relation and "next" in relation[2].lower().split():
            return str(link)
    return None


@dataclass(frozen=True, slots=True)
class ManifestReader:
    """One query of a target; see ``Query``. ``given``: variables and the value of its loop."""

    spec: QuerySpec
    query: CompiledQuery
    given: Substitutes
    account: ManifestAccount

    async def read(self, client: ApiClient, request: PollRequest, /) -> Readings:
        """Yield one reading per span of the window, oldest first."""
        if self.spec.stream:
            async for streamed in self._stream(client, request):
                yield streamed
            return
        step_ms = self.spec.granularity_ms
        windows = list(spans(request.window, step_ms, self.spec.span_ms))
        for window in windows:
            rows = Rows(window, self.spec, request.memo)
            collector = Collector(self.query, self.spec, rows, request.now_ms)
            async for part, answers in self._complete(client, request, window, rows):
                collector.add(answers, part)
            collector.finish()
            reading = rows.reading(more=window != windows[-1])
            if step_ms == DAY_MS:
                reading = replace(reading, daily=True)
            yield self._missing(reading, collector.present, request)

    def _missing(self, reading: Reading, present: set[int], request: PollRequest) -> Reading:
        """Return ``reading``, with missing buckets treated as the manifest demands."""
        step_ms, rule = self.spec.granularity_ms, self.query.settings.missing
        starts = range(reading.window.start_ms, reading.window.end_ms, step_ms)
        absent = frozenset(starts) - present
        if rule == "error" and any(at_ms + step_ms <= request.now_ms for at_ms in absent):
            raise Truncated(f"{self.spec.request}: a bucket is missing from the answer")
        return replace(reading, absent=absent) if rule == "keep" else reading

    async def _stream(self, client: ApiClient, request: PollRequest) -> Readings:
        """Yield the records since the watermark, with the overlap before it.

        The first poll reads the end of the lookback, to check its rows, and yields none of them. So
        does one with nothing to read, as after the clock was set back: the source must answer.
        """
        since_ms = request.watermark_ms if request.window.length_ms else None
        probes, now_ms = since_ms is None, request.now_ms
        whole = Window(now_ms - self.spec.lookback_ms, now_ms) if probes else request.window
        windows = self._spans(whole, since_ms)
        for window in windows:
            rows = Rows(window, self.spec, request.memo)
            collector = Collector(self.query, self.spec, rows, now_ms)
            async for part, answers in self._complete(client, request, window, rows):
                collector.add(answers, part)
            events = collector.finish()
            rows.remember(ids=rows.memo.get("ids", self.spec.name))  # a new name keeps the ids
            reading = replace(rows.reading(more=window != windows[-1]), watermark_ms=window.end_ms)
            if probes:
                yield replace(reading, window=Window(now_ms, now_ms))
            else:
                yield replace(reading, events=events)

    def _spans(self, whole: Window, watermark_ms: int | None) -> list[Window]:
        """Return ``whole`` in the spans that a stream reads, or the newest if there is no watermark.

        With a call budget, what is too much for one call is left out of the overlap first.
        """
        step_ms, span_ms = self.spec.granularity_ms, self.spec.span_ms
        one_call = watermark_ms is None or self.spec.budget is not None
        if one_call and span_ms is not None:
            # A bound as coarse as a bucket includes the open one, or leaves it out.
            settings = self.query.settings
            included = settings.window.end == "inclusive" and any(
                write(bound, 0, "UTC") == write(bound, SECOND_MS, "UTC")
                for _, bound in sent_bounds(settings)
            )
            end_ms = ceil_to(whole.end_ms, step_ms if included else SECOND_MS)
            start_ms = reach_ms = end_ms - span_ms
            if watermark_ms is not None:
                start_ms = min(reach_ms, floor_to(watermark_ms, step_ms))
            whole = Window(max(whole.start_ms, start_ms), whole.end_ms)
            if whole.start_ms >= reach_ms:
                return [whole]
        grown = spans(whole, step_ms, span_ms)
        return [Window(max(w.start_ms, whole.start_ms), min(w.end_ms, whole.end_ms)) for w in grown]

    def _complete(
        self, client: ApiClient, request: PollRequest, window: Window, rows: Rows
    ) -> AsyncIterator[tuple[Window, Sequence[Any]]]:
        """Yield the answers for ``window``, in parts if the whole is cut off.

        A call budget has no call for parts, so there an answer that is cut off is an error.
        """
        drain = partial(self._drain, client, request, rows)
        step_ms, one = self.spec.granularity_ms, f"{self.spec.request}: one bucket"
        if self.spec.budget is not None:
            step_ms, one = window.length_ms, f"{self.spec.request}: the one call of rate.budget"
        return halved(window, step_ms, drain, self._is_complete, one)

    def _is_complete(self, answers: Sequence[Any]) -> bool:
        rule, program = self.query.settings.complete, self.query.program
        if rule is None:
            return True
        rows = list(mapping.contexts(program, answers, len(program.levels)))
        outer = range(1, len(program.levels))  # the limit may count these, even empty ones
        most = max([len(rows), *(len([*mapping.contexts(program, answers, n)]) for n in outer)])
        below = rule.rows_below is None or most < rule.rows_below
        if program.total is None:
            return below
        one_each = {mapping.record_id(program.id, row) for row in rows} if program.id else rows
        return below and len(one_each) >= count(
            or_none(program.total((answers[-1],))), rule.total or ""
        )

    async def _drain(
        self, client: ApiClient, request: PollRequest, rows: Rows, window: Window
    ) -> list[Any]:
        """Return every page of ``window``; begin again if a cursor has expired."""
        pages = self.query.settings.pages
        for _ in range(RESTARTS):
            try:
                return await self._pages(client, request, window, rows)
            except Refused as error:
                expired = error.status == HTTPStatus.GONE and pages.kind != "none"
                if not expired or pages.on_expired != "restart":
                    raise
        return await self._pages(client, request, window, rows)

    async def _pages(
        self, client: ApiClient, request: PollRequest, window: Window, rows: Rows
    ) -> list[Any]:
        pages, endpoint = self.query.settings.pages, self.spec.request
        first = {"page": pages.first, "offset": 0}.get(pages.kind)
        answer, body, kept = None, b"", list[Any]()

        async def fetch(cursor: Any) -> ListPage[Any]:
            nonlocal answer, body
            page, previous = first if cursor is None else cursor, body
            response, answer = await self._fetch(client, request, window, page)
            mapping.check_expected(self.query.program.expect_answer, (answer,))
            body, found = response.body, mapping.items(self.query.program, (answer,))
            inner = mapping.contexts(self.query.program, (answer,), len(self.query.program.levels))
            rows.volume.add(sum(1 for _ in inner), body)
            if first is not None and found and body == previous:
                raise Truncated(f"{endpoint}: a page was repeated: is {pages.send} its parameter?")
            next_ = self._next(page, found, answer, response, rows)
            return ListPage(found, next_, response.body)

        full, most = pages.size or 1, pages.max
        read = read_pages(fetch, endpoint, page_rows=full, most_pages=most, drift=rows.drift)
        async for found in read:
            if found or not kept:
                kept.append(answer)
        return kept

    def _next(
        self, page: Any, found: Sequence[Any], answer: Any, response: Response, rows: Rows
    ) -> Any:
        """Return what the request after that of ``page`` sends, or None at the end of the list.

        An empty page ends a list of numbered pages. Elsewhere its cursor is followed, unless it is
        the one that led there.
        """
        kind, more = self.query.settings.pages.kind, self._more(answer)
        if kind == "none" or more is False:
            return None
        if kind == "page":
            return page + 1 if found or more is True else None
        if kind == "offset":
            cursor = page + len(found) if found else None
        else:
            cursor = self._cursor(answer, response)
        if cursor is UNSET:
            self._note_no_cursor(answer, rows, first=page is None, found=len(found), more=more)
            cursor = None
        elif more is UNSET and cursor not in NO_CURSOR:
            _note_wrong(rows, f"pages.more ({self.query.settings.pages.more})")
        if cursor in NO_CURSOR and more is True:
            words = f"there are more rows, but {self._from} leads nowhere: is its path right?"
            raise Truncated(f"{self.spec.request}: {words}")
        if cursor not in NO_CURSOR and kind not in ("cursor", "offset"):
            cursor = next_query(str(cursor), self.account.options.base_url, self._path)
        return None if cursor == page and not (found or more is True) else cursor

    def _more(self, answer: Any) -> Any:
        """Return True or False, None if no field is configured, or ``UNSET`` if it is missing."""
        read = self.query.program.more
        if read is None:
            return None
        more = read((answer,))
        if not isinstance(more, bool | None | UnsetType):  # 1 is neither
            raise SchemaError(f"{self.spec.request}: pages.more: expected true or false")
        return UNSET if more is None else more

    def _cursor(self, answer: Any, response: Response) -> Any:
        """Return the cursor in an answer, ``UNSET`` if there is none.

        If its object is null there is none, unless a total proves that the list is complete.
        """
        program = self.query.program
        if program.next is None:
            return next_link(response.headers.get("link")) or UNSET
        holder = None if program.total else program.next_holder
        no_place = holder is not None and holder((answer,)) is None
        return UNSET if no_place else program.next((answer,))

    @property
    def _from(self) -> str:
        return f"pages.from ({self.query.settings.pages.source or 'Link'})"

    def _note_no_cursor(
        self, answer: Any, rows: Rows, *, first: bool, found: int, more: Any
    ) -> None:
        """Note that an answer has no cursor; it is drift if the answer seems to lack one.

        It does if ``pages.more`` is missing, too, if nothing could hold a cursor, or if the page is
        full: it has as many items as ``pages.size`` or, without that, as any number that the
        request sends, since one of them may be the limit.
        """
        settings, top = self.query.settings, self.query.program.next_top
        pages = settings.pages
        if pages.size is not None:
            full = found >= pages.size
        else:
            no_place = top is not None and top((answer,)) is UNSET
            full = found in settings.request.numbers or (no_place and pages.more is None)
        if first and (full or more is UNSET):
            _note_wrong(rows, self._from)
        else:
            rows.note(f"{self._from} is not in the last answer")

    @property
    def _path(self) -> str:
        return self.spec.request.partition(" ")[2]

    def _call(self, window: Window, page: Any, secrets: Mapping[str, str]) -> ApiCall:
        """Return the request for ``page`` of a window, as ``_next`` returned it (None: the first).

        For ``next_url`` and ``link_header`` it is the query string of the next request.
        """
        given, request = self._given(window, secrets), self.query.settings.request
        params = self._params(given)
        body = fill({"body": request.body}, given).get("body")
        pages = self.query.settings.pages
        if page is not None and pages.kind in ("next_url", "link_header"):
            key = self.account.options.manifest.settings.auth.param  # a link may repeat it
            params = [pair for pair in parse_qsl(page, keep_blank_values=True) if pair[0] != key]
        elif page is not None and body is not None:
            body = with_member(body, (pages.send or "").split("."), page)
        elif page is not None:
            params = [pair for pair in params if pair[0] != pages.send]
            params.append((pages.send or "", str(page)))
        headers = fill_headers(request.headers, given)
        call = ApiCall(request.method, self._path, params=params, json=body, headers=headers)
        return call if self.spec.budget is None else replace(call, retries=0)

    def _given(self, window: Window, secrets: Mapping[str, str]) -> Substitutes:
        settings, shape = self.query.settings.window, self.query.settings.shape
        margin_ms = {"buckets": settings.bucket, "records": SECOND_MS}.get(shape, 0)
        return replace(
            self.given,
            secrets=secrets,
            window=window,
            zone=settings.timezone,
            inclusive=settings.end == "inclusive",
            margin_ms=margin_ms if settings.end == "unstated" else 0,
            past_repeated=shape != "range",
        )

    def _params(self, given: Substitutes) -> list[tuple[str, str]]:
        found = []
        for name, value in self.query.settings.request.params.items():
            as_json = isinstance(value, dict)
            filled = fill(value.get("json", value) if as_json else value, given)
            if filled is Omitted:
                continue
            if as_json:
                found.append((name, msgspec.json.encode(filled).decode()))
            elif isinstance(value, list):
                found += self._array(name, [as_text(each) or "" for each in filled])
            else:
                found.append((name, as_text(filled) or ""))
        return found

    def _array(self, name: str, values: list[str]) -> list[tuple[str, str]]:
        match self.query.settings.request.arrays:
            case "repeat":
                return [(name, value) for value in values]
            case "brackets":
                return [(f"{name}[]", value) for value in values]
            case "comma":
                return [(name, ",".join(values))] if values else []

    async def _fetch(
        self, client: ApiClient, request: PollRequest, window: Window, page: Any
    ) -> tuple[Response, Any]:
        secrets = await client.read_key(self.account.read)
        call = self._call(window, page, secrets)

        async def send() -> Response:
            signed = await self.account.signed(client, call, secrets, request.now_ms)
            await request.spend()
            return await client.exchange(signed)

        try:
            response = await send()
        except Unauthorized as error:
            if not self.account.renews(error) or self.spec.budget is not None:
                raise  # a budget has no second call: the next poll fetches a token
            response = await send()
        return response, decode(response.body, self.query.program.answer, call.endpoint)


def _note_wrong(rows: Rows, what: str) -> None:
    """Note as drift that an answer lacks ``what``, by which its list would continue."""
    note = f"{what} is missing from an answer that should have it"
    rows.drift["missing"] += 1
    rows.note(note)
    rows.unfit = rows.unfit or f"{note}; check the path, or give pages.more or pages.size"


MEANING: Any = {
    "request": {"method", "path", "params", "arrays", "body"},
    "window": {"bucket", "timezone", "end"},
    **dict.fromkeys(("shape", "rows", "at", "until", "id", "mutable", "only", "excluded"), True),
    **dict.fromkeys(("labels", "null_labels", "count"), True),
}
"""The settings that change what a query's numbers mean; others change without a new baseline."""


def queries(options: ManifestOptions, settings: LabelSettings) -> Iterator[Query]:
    """Yield the queries of a target."""
    account = ManifestAccount(options)
    for name in options.queries or options.manifest.queries:
        for each, query in options.manifest.queries[name].bind(options.texts()):
            yield _query(options, settings, account, query, each)


def _query(
    options: ManifestOptions,
    settings: LabelSettings,
    account: ManifestAccount,
    query: CompiledQuery,
    each: Mapping[str, str],
) -> Query:
    given, request = Substitutes(options.texts(), each), query.settings.request
    name = "/".join((query.name, *each.values()))
    meaning = query.settings.model_dump(include=MEANING) | {"each": each}
    meaning |= {"per_unit": {f.family.name: f.family.per_unit for f in query.program.feeds}}
    spec = spec_for(
        options,
        settings,
        name,
        f"{request.method} {fill_path(request.path, given)}",
        [_feed(feed) for feed in query.program.feeds],
        meaning={"query": meaning, "variables": _variables(options, query)},
        label_rules=query.label_rules,
    )
    return ManifestReader(_with_window(spec, account, query), query, given, account)


def _variables(options: ManifestOptions, query: CompiledQuery) -> dict[str, str]:
    """Return the variables that the requests and labels of a query name; others mean nothing."""
    manifest, used = options.manifest.settings, set[tuple[str, str]]()
    own = query.settings.model_dump(include={"request", "labels", "count", "gauge"})
    for _, text in leaves([own, manifest.headers, manifest.auth.model_dump()]):
        with suppress(ExpressionError):  # a field's path may look like a misspelt value
            used.update(names(text) if isinstance(text, str) else ())
    return {n: text for n, text in options.texts().items() if ("variables", n) in used}


def _with_window(spec: QuerySpec, account: ManifestAccount, query: CompiledQuery) -> QuerySpec:
    """Add the manifest's windows and costs; the target's own settings take precedence."""
    options = account.options
    asked, given = query.settings, options.model_fields_set
    window, rate = asked.window, options.manifest.settings.rate
    lookback_ms, settle_ms = options.times(window)
    initial_ms = spec.initial_lookback_ms
    if asked.stream:  # a bound as coarse as a bucket excludes the open one until it is over
        lookback_ms = max(lookback_ms, window.bucket)
        initial_ms = None  # nothing before a stream's epoch counts
    span_ms = window.bucket if asked.shape == "range" else window.max_span
    if rate.budget and asked.complete and span_ms is None:  # a longer answer may be cut off
        span_ms = ceil_to(lookback_ms + asked.newest_ms(rate.budget), window.bucket)
    if rate.budget and span_ms and initial_ms:  # the first call reads the past, too
        initial_ms = min(initial_ms, span_ms - window.bucket)
    pages = asked.pages
    budget = Budget(account.name, rate.budget.period_ms) if rate.budget else None
    return replace(
        spec,
        granularity_ms=window.bucket,
        span_ms=span_ms,
        settle_ms=settle_ms,
        lookback_ms=lookback_ms,
        initial_lookback_ms=initial_ms,
        interval_ms=spec.interval_ms if "interval" in given else asked.interval or spec.interval_ms,
        timezone="UTC" if window.bucket > HOUR_MS else spec.timezone,  # days are UTC days
        stream=asked.stream,
        ids_kept_ms=lookback_ms + HOUR_MS if asked.stream else spec.ids_kept_ms,
        cost=Cost() if pages.kind == "none" else Cost(page_rows=pages.size or 0, note=MORE),
        budget=budget,
    )


def _feed(feed: RowFeed) -> Feed:
    """Return a family and its field; a series whose labels are all known shows 0 from the start."""
    return Feed(feed.family, feed.field, feed.constants if feed.of == "additive" else None)


PROVIDER = Provider(
    name="manifest",
    options=ManifestOptions,
    families=(),
    feeds=frozenset[str](),
    sign=lambda _: {},
    queries=queries,
    keys=lambda options: ManifestAccount(options).read(),
)
