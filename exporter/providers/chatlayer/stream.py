"""Reads event lists: new events, overlap, sweeps, or whole hours (specification: streams.md)."""

import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from exporter.config.model import Duration, Strict
from exporter.config.values import invalid
from exporter.errors import Refused, Truncated
from exporter.http_client.client import ApiCall, ApiClient
from exporter.model.query import PollRequest
from exporter.model.samples import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Reading,
    Readings,
    Window,
    ceil_to,
    floor_to,
)
from exporter.providers.base.declared import ListPage, read_pages
from exporter.providers.base.rows import ReadLimit, TooLong
from exporter.providers.base.times import iso
from exporter.providers.chatlayer.mapping import EventMapper, EventRules, TrackingEvent, decode_page

PAGE_SIZE = 100
FIRST_SLICE_MS = HOUR_MS // 2
POLL_SECONDS = 100
PROBE_MS = MINUTE_MS
RESTARTS = 2
LONGEST_SLICE_MS = DAY_MS
DENSEST_PAGES = 10_000  # of one millisecond, which cannot be halved


class AttributeFilter(BaseModel):
    """One attribute filter of the POST form; the vendor documents no operators."""

    model_config = Strict

    key: str = Field(min_length=1, description="the attribute")
    operator: str = Field(min_length=1, description="as the vendor's form accepts it")
    value: tuple[str, ...] = Field(strict=False, description="the values to compare with")


class StreamOptions(BaseModel):
    """How event lists are read: see docs/providers/chatlayer.md."""

    model_config = Strict

    mode: Literal["ids", "recount"] = Field(
        default="ids", description="`recount` reads whole hours again instead and keeps no ids"
    )
    overlap: Duration = Field(
        default=15 * MINUTE_MS,
        description="each poll reads this far back again, for events that arrive late",
    )
    safety_lag: Duration = Field(
        default=30_000, description="events younger than this wait for the next poll"
    )
    sweep: Duration = Field(
        default=24 * HOUR_MS, description="a sweep reads this far back again; at least `overlap`"
    )
    sweep_interval: Duration = Field(default=6 * HOUR_MS, description="how often a sweep starts")
    max_age: Duration | None = Field(
        default=None,
        description="how long the vendor keeps events; an outage longer than this leaves a gap. No "
        "limit by default",
    )
    max_pages: int = Field(
        default=100,
        ge=2,
        le=1000,
        description="maximum pages of 100 events per request window; one with more is halved",
    )
    filters: tuple[AttributeFilter, ...] = Field(
        default=(),
        strict=False,
        description="attribute filters; they use the vendor's POST form, whose operators are not "
        "documented",
    )

    @field_validator("sweep")
    @classmethod
    def _check_overlap(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("overlap", 0):
            raise invalid("sweep", "shorter than overlap", "a sweep reads further back than a poll")
        return value

    @field_validator("max_age")
    @classmethod
    def _check_reach(cls, value: int | None, info: ValidationInfo) -> int | None:
        read_again_ms = info.data.get("overlap", 0) + info.data.get("safety_lag", 0)
        if value is not None and value <= read_again_ms:
            problem = "not longer than overlap and safety_lag together"
            raise invalid("max_age", problem, "a poll reads that far back")
        return value


def bounds(window: Window) -> dict[str, str]:
    """Return ``start_time`` and ``end_time``: RFC 3339 in UTC with milliseconds."""
    return {"start_time": iso(window.start_ms), "end_time": iso(window.end_ms)}


@dataclass(frozen=True, slots=True)
class EventList:
    """A list of events: its path and its fixed parameters; ``filters`` need the POST form."""

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


@dataclass(slots=True)
class Drain:
    """Reads one event list, which is unordered, slice by slice, for the duration of a poll.

    A slice is returned only once all its pages are read. ``slice_ms`` is the length of the next
    slice, learnt from earlier ones. A slice of more than ``max_pages`` is read again in halves. A
    poll ends after ``pages_left`` pages of what is new and leaves the rest to the next one, but not
    before part of a slice that was too long is read.
    """

    client: ApiClient
    source: EventList
    mapper: EventMapper
    slice_ms: int
    max_pages: int
    pages_left: float = math.inf
    halved: bool = False

    async def spans(self, window: Window, known_ms: int = 0) -> AsyncIterator[Reading]:
        """Yield ``window`` in drained spans, oldest first, until it or the poll's pages end.

        Pages of what lies before ``known_ms`` do not count: the next poll begins there as well.
        """
        at_ms, pages = window.start_ms, self.pages_left
        while at_ms < window.end_ms and (self.pages_left > 0 or self.halved):
            part = Window(at_ms, min(at_ms + self._whole_ms, window.end_ms))
            span = await self._slice(part)
            self.halved = span is None
            if span is not None:
                at_ms = part.end_ms
                self.pages_left = pages if at_ms <= known_ms else self.pages_left
                yield span

    async def probe(self, window: Window) -> None:
        """Request the first page of ``window`` and keep nothing of it."""
        await self._page(window, Counter(), ReadLimit(self.source.path), None)

    @property
    def _whole_ms(self) -> int:
        """Return a slice's length in whole seconds, unless it is shorter than one."""
        return floor_to(self.slice_ms, SECOND_MS) or self.slice_ms

    async def _slice(self, window: Window) -> Reading | None:
        """Return what ``window`` holds; None if that is too much.

        A token that is refused has expired, so the slice is read again from its beginning.
        """
        for _ in range(RESTARTS + 1):
            with suppress(_TokenRefused):
                return await self._through(window)
        raise Truncated(f"{self.source.path}: page tokens are refused repeatedly")

    async def _through(self, window: Window) -> Reading | None:
        drift: Counter[str] = Counter()
        found = read_pages(
            partial(self._page, window, drift, ReadLimit(self.source.path)),
            self.source.path,
            page_rows=PAGE_SIZE,
            most_pages=self.max_pages if window.length_ms > 1 else DENSEST_PAGES,
            drift=drift,
        )
        try:
            pages = [self.mapper.events(page, window, drift) async for page in found]
        except TooLong:
            if window.length_ms <= 1:
                raise
            self.slice_ms = window.length_ms // 2
            return None
        # A quiet stretch may still have many pages, all of them empty.
        sparse = not any(pages) or len(pages) * 2 <= self.max_pages
        if sparse and window.length_ms >= self._whole_ms:
            self.slice_ms = min(2 * self.slice_ms, LONGEST_SLICE_MS)
        dropped = dict(self.mapper.labels.dropped)
        self.mapper.labels.dropped.clear()
        events = [each for page in pages for each in page]
        return Reading(window, events=events, drift=+drift, dropped=dropped)

    async def _page(
        self, window: Window, drift: Counter[str], volume: ReadLimit, token: Any
    ) -> ListPage[TrackingEvent]:
        call = self.source.call(window, token)
        self.pages_left -= 1
        try:
            body = await self.client.send(call)
        except Refused as error:
            if token is not None and error.status == HTTPStatus.BAD_REQUEST:
                raise _TokenRefused from error
            raise
        page = decode_page(body, call.endpoint, drift)
        events = page.events or ()
        volume.add(len(events))
        return ListPage(events, page.next_page_token, body)


class _TokenRefused(Exception):
    """The server no longer knows the page token."""


@dataclass(frozen=True, slots=True)
class StreamSource:
    """One event list and how it is read; ``history_ms`` is how far back counting starts (or None).

    ``requests_per_second`` limits what one poll reads.
    """

    events: EventList
    rules: EventRules
    stream: StreamOptions
    requests_per_second: float
    history_ms: int | None = None

    async def read_events(self, client: ApiClient, request: PollRequest) -> Readings:
        """Yield the new spans, the overlap before them, and a sweep if one is due.

        The ledger knows which ids it has seen, so each event counts once.
        """
        memo = dict(request.memo)
        most = self.requests_per_second * POLL_SECONDS or math.inf
        drain = self._drain(client, int(memo.get("slice_ms", FIRST_SLICE_MS)), most)
        live = self._live(request)
        if live is None:
            yield await self._begin(drain, request)
            return
        sweep, live_ms = self._sweep(request, live), request.watermark_ms or 0
        todo = [window for window in (live, sweep) if window and window.length_ms > 0]
        if not todo:  # a success means that the source answered
            await drain.probe(Window(live.end_ms - PROBE_MS, live.end_ms))
            yield Reading(Window(live.end_ms, live.end_ms))
        for window in todo:
            async for span in drain.spans(window, live_ms if window is live else 0):
                ended = span.window.end_ms >= window.end_ms
                last = drain.pages_left <= 0 or (ended and window is todo[-1])
                memo["slice_ms"] = drain.slice_ms
                if window is sweep:
                    memo = _swept(memo, span, request.now_ms if ended else None)
                watermark_ms = span.window.end_ms if window is live else None
                yield replace(span, watermark_ms=watermark_ms, memo=dict(memo), more=not last)
                if last:
                    return

    async def recount_hours(self, client: ApiClient, request: PollRequest) -> Readings:
        """Yield one reading for each hour of ``request.window``: the number of its distinct ids."""
        drain = self._drain(client, FIRST_SLICE_MS)
        # Nothing that is stamped before the first poll ever counts.
        epoch_ms = request.now_ms if request.epoch_ms is None else request.epoch_ms
        since_ms = epoch_ms if self.history_ms is None else 0
        until_ms = self._until_ms(request)
        end_ms = ceil_to(request.window.end_ms, HOUR_MS)
        for start_ms in range(floor_to(request.window.start_ms, HOUR_MS), end_ms, HOUR_MS):
            hour = Window(start_ms, start_ms + HOUR_MS)
            part = Window(start_ms, max(start_ms, min(hour.end_ms, until_ms)))
            spans = [span async for span in drain.spans(part)]
            yield _counted(hour, spans, since_ms, more=hour.end_ms < end_ms)

    def _drain(self, client: ApiClient, slice_ms: int, pages: float = math.inf) -> Drain:
        mapper, most = EventMapper(self.rules), self.stream.max_pages
        return Drain(client, self.events, mapper, slice_ms, most, pages)

    def _until_ms(self, request: PollRequest) -> int:
        """Return the instant up to which events are expected to have arrived."""
        arrived_ms = request.now_ms - self.stream.safety_lag
        return floor_to(min(request.window.end_ms, arrived_ms), SECOND_MS)

    def _floor_ms(self, request: PollRequest) -> int:
        """Return the instant before which nothing is read: the epoch, or what the API keeps."""
        kept = 0 if self.stream.max_age is None else request.now_ms - self.stream.max_age
        epoch_ms = request.epoch_ms if self.history_ms is None else None
        return floor_to(max(kept, epoch_ms or 0), SECOND_MS)

    def _live(self, request: PollRequest) -> Window | None:
        """Return the new window, with the overlap before it; None at the very beginning."""
        if request.watermark_ms is not None:
            since_ms = request.watermark_ms - self.stream.overlap
        elif self.history_ms is not None:
            since_ms = request.now_ms - self.history_ms
        else:
            return None
        until_ms = self._until_ms(request)
        start_ms = max(floor_to(since_ms, SECOND_MS), self._floor_ms(request))
        return Window(min(start_ms, until_ms), until_ms)

    def _sweep(self, request: PollRequest, live: Window) -> Window | None:
        """Return what a sweep still has to read, if one is due or under way."""
        swept_ms = request.memo.get("swept_ms", request.epoch_ms)
        if swept_ms is None or 0 <= request.now_ms - swept_ms < self.stream.sweep_interval:
            return None
        start_ms = max(int(request.memo.get("sweep_ms", 0)), request.now_ms - self.stream.sweep)
        start_ms = max(floor_to(start_ms, SECOND_MS), self._floor_ms(request))
        return Window(min(start_ms, live.start_ms), live.start_ms)

    async def _begin(self, drain: Drain, request: PollRequest) -> Reading:
        """Request one page, so that a first success means something, and start counting now."""
        until_ms = self._until_ms(request)
        await drain.probe(Window(until_ms - PROBE_MS, until_ms))
        now = Window(request.now_ms, request.now_ms)
        return Reading(now, watermark_ms=request.now_ms, memo={"swept_ms": request.now_ms})


def _swept(memo: dict[str, Any], span: Reading, ended_ms: int | None) -> dict[str, Any]:
    if ended_ms is None:
        return {**memo, "sweep_ms": span.window.end_ms}
    return {key: value for key, value in memo.items() if key != "sweep_ms"} | {"swept_ms": ended_ms}


def _counted(hour: Window, spans: list[Reading], since_ms: int, *, more: bool) -> Reading:
    events = {e.digest: e for span in spans for e in span.events if e.at_ms >= since_ms}
    sums = Counter(series for event in events.values() for series in event.counts)
    return Reading(
        hour,
        counts=[(series, hour.start_ms, number) for series, number in sums.items()],
        drift=sum((Counter(span.drift) for span in spans), Counter[str]()),
        dropped=sum((Counter(span.dropped) for span in spans), Counter[tuple[str, str]]()),
        more=more,
    )
