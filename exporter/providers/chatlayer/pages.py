"""Reading every page of a stretch of an event list: tokens, slices, and how large they may be.

The list is unordered. A stretch is given back only once every page of it was read.
"""

import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from exporter.errors import Refused, Truncated
from exporter.http_client.client import ApiCall, ApiClient
from exporter.model.samples import DAY_MS, SECOND_MS, Event, Window, floor_to
from exporter.providers.base.declared import ListPage, TooManyPages, read_pages
from exporter.providers.base.times import iso
from exporter.providers.chatlayer.mapping import EventMapper, TrackingEvent, decode_page

PAGE_SIZE = 100
RESTARTS = 2
LONGEST_SLICE_MS = DAY_MS
DENSEST_PAGES = 10_000  # of one millisecond, which cannot be halved


def bounds(window: Window) -> dict[str, str]:
    """Return ``start_time`` and ``end_time``: RFC 3339 in UTC with milliseconds."""
    return {"start_time": iso(window.start_ms), "end_time": iso(window.end_ms)}


@dataclass(frozen=True, slots=True)
class EventList:
    """Which list of events: its path, and its fixed parameters. ``filters`` need the POST form."""

    path: str
    params: Mapping[str, str]
    filters: tuple[Mapping[str, Any], ...] = ()

    def call(self, window: Window, token: Any) -> ApiCall:
        """Return the request for one page of ``window``; the first one has no token."""
        params = dict(self.params) | bounds(window)
        if token is not None:
            params["page_token"] = str(token)
        if not self.filters:
            return ApiCall("GET", self.path, params=params | {"page_size": str(PAGE_SIZE)})
        body = {**params, "page_size": PAGE_SIZE, "filters": list(self.filters)}
        return ApiCall("POST", self.path, json=body)


@dataclass(frozen=True, slots=True)
class DrainedSpan:
    """The events of a span, in no order, each as often as the vendor repeats it."""

    window: Window
    events: list[Event]
    drift: Mapping[str, int]
    dropped: Mapping[tuple[str, str], int]


class Drain:
    """Reads one event list for the length of a poll, slice by slice.

    ``slice_ms`` is the length of the next slice, learnt from those before. A slice of more than
    ``max_pages`` is read again in halves. A poll ends after ``pages_left`` pages and leaves the
    rest to the next one.
    """

    def __init__(
        self,
        client: ApiClient,
        source: EventList,
        mapper: EventMapper,
        *,
        slice_ms: int,
        max_pages: int,
        pages_left: float = math.inf,
    ) -> None:
        self.slice_ms = slice_ms
        self.pages_left = pages_left
        self._max_pages = max_pages
        self._client = client
        self._source = source
        self._mapper = mapper

    async def spans(self, window: Window) -> AsyncIterator[DrainedSpan]:
        """Yield ``window`` in drained spans, oldest first, until it or the poll's pages end."""
        at_ms = window.start_ms
        while at_ms < window.end_ms and self.pages_left > 0:
            part = Window(at_ms, min(at_ms + self._whole_ms, window.end_ms))
            if span := await self._slice(part):
                yield span
                at_ms = part.end_ms

    async def probe(self, window: Window) -> None:
        """Request the first page of ``window`` and keep nothing of it."""
        await self._page(window, None)

    @property
    def _whole_ms(self) -> int:
        """Return a slice's length in whole seconds, unless it is shorter than one."""
        return floor_to(self.slice_ms, SECOND_MS) or self.slice_ms

    async def _slice(self, window: Window) -> DrainedSpan | None:
        """Return what ``window`` holds; None if that is too much.

        A token that is refused has expired: the slice is read again from its beginning.
        """
        for _ in range(RESTARTS + 1):
            with suppress(_TokenRefused):
                return await self._through(window)
        raise Truncated(f"{self._source.path}: page tokens are refused again and again")

    async def _through(self, window: Window) -> DrainedSpan | None:
        drift: Counter[str] = Counter()
        found = read_pages(
            partial(self._page, window),
            self._source.path,
            page_rows=PAGE_SIZE,
            most_pages=self._max_pages if window.length_ms > 1 else DENSEST_PAGES,
            drift=drift,
        )
        try:
            pages = [self._mapper.events(page, window, drift) async for page in found]
        except TooManyPages:
            if window.length_ms <= 1:
                raise
            self.slice_ms = window.length_ms // 2
            return None
        # A quiet stretch may still have many pages, all of them empty.
        sparse = not any(pages) or len(pages) * 2 <= self._max_pages
        if sparse and window.length_ms >= self._whole_ms:
            self.slice_ms = min(2 * self.slice_ms, LONGEST_SLICE_MS)
        dropped = dict(self._mapper.labels.dropped)
        self._mapper.labels.dropped.clear()
        return DrainedSpan(window, [each for page in pages for each in page], +drift, dropped)

    async def _page(self, window: Window, token: Any) -> ListPage[TrackingEvent]:
        call = self._source.call(window, token)
        self.pages_left -= 1
        try:
            body = await self._client.send(call)
        except Refused as error:
            if token is not None and error.status == HTTPStatus.BAD_REQUEST:
                raise _TokenRefused from error
            raise
        page = decode_page(body, call.endpoint)
        return ListPage(page.events or (), page.next_page_token, body)


class _TokenRefused(Exception):
    """The server does not know the page token any more."""
