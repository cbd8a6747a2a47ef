"""Queries of HTTP APIs as data: what to request, where the items are, and one pure function."""

import codecs
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from exporter.errors import Truncated
from exporter.http_client.client import ApiCall, ApiClient, decode, with_whole_characters
from exporter.model.query import PollRequest, QuerySpec
from exporter.model.samples import HOUR_MS, Readings, Window, ceil_to
from exporter.providers.base.rows import Rows, TooLong
from exporter.providers.base.times import spans, trailing

A = TypeVar("A")
T = TypeVar("T")
ItemT = TypeVar("ItemT")
Parameters = Mapping[str, Any]
NO_CURSOR = (None, "", 0, "0")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Paging: each answer has a cursor or token, which the next request sends back unchanged.

    ``next`` returns an answer's cursor, and ``send`` is the path of the (nested) parameter that
    takes it. A full page has ``page_rows`` items. An empty page ends the list unless
    ``empty_pages``. ``drop_repeated_pages``: a page whose lists repeat those of an earlier one byte
    by byte is dropped. See ``read_pages``.
    """

    next: Callable[[Any], Any]
    send: Sequence[str]
    page_rows: int
    most_pages: int
    empty_pages: bool = False
    drop_repeated_pages: bool = False


@dataclass(frozen=True, slots=True)
class DeclaredQuery(Generic[A, ItemT]):
    """A query as data and one pure function, ``collect``.

    ``parameters`` returns what the request for a window sends: the query string of a GET, the JSON
    body of a POST. ``answer`` is the type that an answer is decoded as, after ``respell`` has
    converted its field names; ``items`` returns its items. ``collect`` adds the items of all pages
    to ``Rows``. Without ``pages``, ``complete`` returns whether an answer has every item; if not,
    half the window is requested. With ``trailing_ms``, a poll reads the newest whole hours of that
    length instead, and its gauges are lists of that window.
    """

    spec: QuerySpec
    answer: type[A]
    parameters: Callable[[Window], Parameters]
    items: Callable[[A], Sequence[ItemT]]
    collect: Callable[[Sequence[ItemT], Rows], None]
    pages: Cursor | None = None
    complete: Callable[[A], bool] = lambda _: True
    trailing_ms: int | None = None
    respell: Callable[[bytes], bytes] = bytes

    async def read(self, client: ApiClient, request: PollRequest, /) -> Readings:
        """Yield one reading per span of the window, grown to whole buckets, oldest first."""
        if self.trailing_ms is None:
            windows = list(spans(request.window, self.spec.granularity_ms, self.spec.span_ms))
        else:
            windows = [trailing(request.now_ms, self.trailing_ms)]
        memo = request.memo
        for window in windows:
            rows = Rows(window, self.spec, memo)
            if self.trailing_ms is not None:
                rows.list_of(*self.spec.fields)
            self.collect(await self._items(client, window, rows), rows)
            reading = rows.reading(more=window != windows[-1])
            memo = memo if reading.memo is None else reading.memo
            yield reading

    async def _items(self, client: ApiClient, window: Window, rows: Rows) -> Sequence[ItemT]:
        async def fetch(part: Window) -> A:
            answer, _ = await self._fetch(client, self.parameters(part), rows)
            return answer

        if self.pages is not None:
            return await self._paged(client, window, self.pages, rows)
        one = f"{self.spec.request}: one hour"
        parts = halved(window, HOUR_MS, fetch, self.complete, one)
        return [item async for _, answer in parts for item in self.items(answer)]

    async def _paged(
        self, client: ApiClient, window: Window, pages: Cursor, rows: Rows
    ) -> list[ItemT]:
        first = self.parameters(window)

        async def fetch(cursor: Any) -> ListPage[ItemT]:
            asked = first if cursor is None else with_member(first, pages.send, cursor)
            answer, body = await self._fetch(client, asked, rows)
            found = self.items(answer)
            more = found or pages.empty_pages
            return ListPage(found, pages.next(answer) if more else None, _lists(body))

        found = read_pages(
            fetch,
            self.spec.request,
            page_rows=pages.page_rows,
            most_pages=pages.most_pages,
            drift=rows.drift,
            drop_repeated_pages=pages.drop_repeated_pages,
        )
        return [item async for page in found for item in page]

    async def _fetch(
        self, client: ApiClient, parameters: Parameters, rows: Rows
    ) -> tuple[A, bytes]:
        """Return an answer and its body."""
        method, _, path = self.spec.request.partition(" ")
        sent: Any = {"params" if method == "GET" else "json": parameters}
        call = ApiCall(method, path, **sent)
        body = self.respell(await client.send(call))
        answer = decode(body, self.answer, call.endpoint)
        rows.volume.add(len(self.items(answer)), body)
        return answer, body


@dataclass(frozen=True, slots=True)
class ListPage(Generic[ItemT]):
    """A page of a list: its items, the next page's cursor, and the bytes that identify it.

    Equal items do not make pages equal: a field that distinguishes rows may not be decoded.
    """

    items: Sequence[ItemT]
    next: Any
    whole: bytes


def _lists(body: bytes) -> bytes:
    """Return an answer's lists: its rows with every field, without the cursors and times around."""
    text = body.removeprefix(codecs.BOM_UTF8).strip()
    if text.startswith(b"{"):
        try:
            members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Half a character in some text: ``decode`` would have failed on anything else.
            return _lists(with_whole_characters(text))
        return b"".join(_lists(bytes(member)) for member in members.values())
    return text if text.startswith(b"[") else b""


async def read_pages(
    fetch: Callable[[Any], Awaitable[ListPage[ItemT]]],
    request: str,
    *,
    page_rows: int,
    most_pages: int,
    drift: Counter[str],
    drop_repeated_pages: bool = False,
) -> AsyncIterator[Sequence[ItemT]]:
    """Yield the items of every page; raise ``Truncated`` if the pages do not come to an end.

    ``fetch`` returns the page of a cursor (None: the first); the next cursor is decoded or raw
    JSON. A cursor that is absent, null, empty or 0 ends the list. A repeated cursor is an
    incomplete read, unless a page of fewer than ``page_rows`` repeats the one before: then the
    server ignores cursors and the list has ended, which is drift. With ``drop_repeated_pages``, a page that
    repeats an earlier one under a new cursor yields nothing.
    """
    cursor: Any = None
    previous = b""
    seen: set[str] = set()
    pages: set[bytes] = set()
    for _ in range(most_pages):
        page = await fetch(cursor)
        cursor = page.next
        raw = type(cursor) is msgspec.Raw
        value = decode(bytes(cursor) or b"null", Any, f"{request}: cursor") if raw else cursor
        if str(value) in seen:
            if page.whole != previous or len(page.items) >= page_rows:
                raise Truncated(f"{request}: a page cursor was repeated")
            drift["unexpected_type"] += 1
            return
        digest = (
            hashlib.blake2b(page.whole, digest_size=16).digest() if drop_repeated_pages else b""
        )
        yield [] if digest in pages else page.items
        if value in NO_CURSOR:
            return
        seen.add(str(value))
        previous = page.whole
        if drop_repeated_pages:
            pages.add(digest)
    raise TooLong(f"{request}: more than {most_pages} pages")


async def halved(
    window: Window,
    step_ms: int,
    fetch: Callable[[Window], Awaitable[T]],
    complete: Callable[[T], bool],
    one: str,
) -> AsyncIterator[tuple[Window, T]]:
    """Yield the answers for ``window``, in parts if an answer is cut off.

    ``one`` is the error's name for a part of ``step_ms``, which cannot be halved.
    """
    start_ms, span_ms = window.start_ms, window.length_ms
    while start_ms < window.end_ms:
        part = Window(start_ms, min(start_ms + span_ms, window.end_ms))
        answer = await fetch(part)
        if complete(answer):
            yield part, answer
            start_ms = part.end_ms
        elif part.length_ms > step_ms:
            span_ms = ceil_to(part.length_ms // 2, step_ms)
        else:
            raise Truncated(f"{one} has more rows than an answer holds")


def with_member(parameters: Any, path: Sequence[str], value: Any) -> Any:
    """Return ``parameters`` with ``value`` at the nested members ``path``."""
    name, *rest = path
    held = parameters if isinstance(parameters, Mapping) else {}
    return {**held, name: with_member(held.get(name), rest, value) if rest else value}
