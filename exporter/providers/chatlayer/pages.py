"""Reading every page of a stretch of an event list: tokens, slices, and how large they may be.

The list is unordered. A stretch is given back only once every page of it was read.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

from exporter.errors import ProviderError, Refused, Truncated
from exporter.http_client.client import ApiCall, ApiClient, decode
from exporter.model.samples import SECOND_MS, Event, Window, floor_to
from exporter.providers.base.declared import TooManyPages, read_pages
from exporter.providers.base.labels import Labels
from exporter.providers.base.times import iso
from exporter.providers.chatlayer.mapping import (
    EventPlaces,
    EventRules,
    EventScope,
    TrackingEvent,
    decode_page,
    page_to_events,
)

PAGE_SIZE = 100
RESTARTS = 2
AT_A_TIME = 2
LONGEST_SLICE_MS = 24 * 3600 * SECOND_MS
DENSEST_PAGES = 10_000  # of one millisecond, which cannot be halved


@dataclass(frozen=True, slots=True)
class EventList:
    """Which list of events: its path, and its fixed parameters. ``filters`` need the POST form."""

    path: str
    params: Mapping[str, str]
    filters: tuple[Mapping[str, Any], ...] = ()

    def call(self, window: Window, token: Any) -> ApiCall:
        """Return the request for one page of ``window``."""
        params = dict(self.params) | bounds(window)
        if token is not None:
            params["page_token"] = str(token)
        if not self.filters:
            return ApiCall("GET", self.path, params=params | {"page_size": str(PAGE_SIZE)})
        body = {**params, "page_size": PAGE_SIZE, "filters": list(self.filters)}
        return ApiCall("POST", self.path, json=body)


def bounds(window: Window) -> dict[str, str]:
    """Return ``start_time`` and ``end_time``: RFC 3339 in UTC with milliseconds."""
    return {"start_time": iso(window.start_ms), "end_time": iso(window.end_ms)}


@dataclass(frozen=True, slots=True)
class DrainedSpan:
    """What a drained stretch of time holds, in no order, each event as often as the vendor repeats it."""

    window: Window
    events: list[Event]
    drift: Mapping[str, int]
    dropped: Mapping[tuple[str, str], int]


@dataclass(slots=True)
class SlicePace:
    """How long a slice may be, learnt from the slices before, and what a poll may still read.

    A poll ends after ``pages_left`` pages (None: no end) and leaves the rest to the next one.
    """

    slice_ms: int
    max_pages: int
    pages_left: int | None = None

    def learn(self, read: "ReadSlice") -> None:
        """Take note of a slice: halve what had too many pages, double what had few or only empty ones."""
        if self.pages_left is not None:
            self.pages_left -= read.pages
        if read.too_large:
            self.slice_ms = max(1, read.window.length_ms // 2)
        elif read.sparse(self.max_pages) and read.window.length_ms >= _whole(self.slice_ms):
            self.slice_ms = min(2 * self.slice_ms, LONGEST_SLICE_MS)

    @property
    def spent(self) -> bool:
        """Say whether the poll has read as much as it may."""
        return self.pages_left is not None and self.pages_left <= 0


@dataclass(frozen=True, slots=True)
class ReadSlice:
    """The result of reading one slice: its events, ``too_large`` to be read, or why it failed."""

    window: Window
    events: list[Event] = field(default_factory=list)
    pages: int = 0
    too_large: bool = False
    error: ProviderError | None = None
    drift: Mapping[str, int] = field(default_factory=dict)

    def sparse(self, max_pages: int) -> bool:
        """Say whether one twice as long may be read; a quiet stretch may still have empty pages."""
        return not self.events or self.pages * 2 <= max_pages

    @property
    def drained(self) -> bool:
        """Say whether every page was read."""
        return not self.too_large and self.error is None


class Drain:
    """Reads one list for the length of a poll; ``pace`` says how much at a time."""

    def __init__(
        self,
        client: ApiClient,
        source: EventList,
        scope: EventScope,
        rules: EventRules,
        pace: SlicePace,
    ) -> None:
        self.pace = pace
        self._client = client
        self._source = source
        self._scope = scope
        self._labels = Labels(rules.label_rules, rules.limit)
        self._places = EventPlaces(rules, self._labels)

    async def spans(self, window: Window) -> AsyncIterator[DrainedSpan]:
        """Yield ``window`` in drained spans, oldest first, until it or the poll's pages end.

        Two slices are read at a time. Raises a ``ProviderError`` once what was drained before it
        has been yielded.
        """
        at_ms = window.start_ms
        while at_ms < window.end_ms and not self.pace.spent:
            slices = await self._some(_cut(at_ms, window.end_ms, self.pace.slice_ms))
            good = _drained(slices)
            for read in slices[: len(good) + 1]:
                self.pace.learn(read)
            if good:
                at_ms = good[-1].window.end_ms
                yield self._stretch(good)
            if len(good) < len(slices) and (error := slices[len(good)].error):
                raise error

    async def probe(self, window: Window) -> None:
        """Request the first page of ``window`` and keep nothing of it."""
        await self._page(window, None)

    async def _some(self, windows: list[Window]) -> list[ReadSlice]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._slice(part)) for part in windows]
        return [task.result() for task in tasks]

    async def _slice(self, window: Window) -> ReadSlice:
        """Read every page of ``window``.

        A token that is refused has expired: the slice is read again from its beginning.
        """
        for _ in range(RESTARTS + 1):
            try:
                return await self._through(window)
            except _TokenRefused:
                continue
            except ProviderError as error:
                return ReadSlice(window, error=error)
        problem = f"{self._source.path}: page tokens are refused again and again"
        return ReadSlice(window, error=Truncated(problem))

    async def _through(self, window: Window) -> ReadSlice:
        most = self.pace.max_pages if window.length_ms > 1 else DENSEST_PAGES
        events: list[Event] = []
        drift: Counter[str] = Counter()
        number = 0
        try:
            async for page in read_pages(
                partial(self._page, window),
                self._source.path,
                page_rows=PAGE_SIZE,
                most_pages=most,
                drift=drift,
            ):
                events += page_to_events(page, window, self._scope, self._places, drift)
                number += 1
        except TooManyPages:
            if window.length_ms <= 1:
                raise
            return ReadSlice(window, pages=most, too_large=True)
        return ReadSlice(window, events, number, drift=drift)

    async def _page(self, window: Window, token: Any) -> tuple[Sequence[TrackingEvent], Any]:
        call = self._source.call(window, token)
        try:
            body = await self._client.send(call)
        except Refused as error:
            if token and error.status == HTTPStatus.BAD_REQUEST:
                raise _TokenRefused from error
            raise
        page = decode_page(body, partial(decode, endpoint=call.endpoint))
        return page.events or (), page.next_page_token

    def _stretch(self, slices: list[ReadSlice]) -> DrainedSpan:
        drift: Counter[str] = Counter()
        for each in slices:
            drift.update(each.drift)
        dropped = dict(self._labels.dropped)
        self._labels.dropped.clear()
        window = Window(slices[0].window.start_ms, slices[-1].window.end_ms)
        return DrainedSpan(window, [e for each in slices for e in each.events], +drift, dropped)


class _TokenRefused(Exception):
    """The server does not know the page token any more."""


def _drained(slices: list[ReadSlice]) -> list[ReadSlice]:
    """Return the slices up to the first that was not read to its end."""
    for index, each in enumerate(slices):
        if not each.drained:
            return slices[:index]
    return slices


def _cut(start_ms: int, end_ms: int, length_ms: int) -> list[Window]:
    """Return the next slices, on whole seconds where they are that long."""
    step = _whole(length_ms)
    starts = range(start_ms, end_ms, step)
    return [Window(at, min(at + step, end_ms)) for at in starts[:AT_A_TIME]]


def _whole(length_ms: int) -> int:
    """Return a slice's length in whole seconds, unless it is shorter than one."""
    return floor_to(length_ms, SECOND_MS) or length_ms
