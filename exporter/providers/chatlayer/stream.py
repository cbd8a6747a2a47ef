"""What a poll reads of an event list: new events, overlap, sweeps, or whole hours again (specification: streams.md)."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from exporter.http_client.client import ApiClient
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, SECOND_MS, Reading, Series, Window, ceil_to, floor_to
from exporter.providers.chatlayer.mapping import EventRules, EventScope
from exporter.providers.chatlayer.options import StreamOptions
from exporter.providers.chatlayer.pages import Drain, DrainedSpan, EventList, SlicePace

K = TypeVar("K")

FIRST_SLICE_MS = HOUR_MS // 2
POLL_SECONDS = 300
PROBE_MS = 60 * SECOND_MS


@dataclass(frozen=True, slots=True)
class StreamSource:
    """One event list and how it is read; ``history_ms`` is how far back counting starts, if ever.

    ``requests_per_second`` bounds what one poll reads.
    """

    list: EventList
    scope: EventScope
    rules: EventRules
    stream: StreamOptions
    requests_per_second: float
    history_ms: int | None = None

    def drain(self, client: ApiClient, memo: Mapping[str, Any]) -> Drain:
        """Return what reads the list for one poll."""
        per_second = self.requests_per_second
        most = round(per_second * POLL_SECONDS) if per_second else None
        pace = SlicePace(int(memo.get("slice_ms", FIRST_SLICE_MS)), self.stream.max_pages, most)
        return Drain(client, self.list, self.scope, self.rules, pace)

    def until_ms(self, request: PollRequest) -> int:
        """Return up to where events are expected to have arrived."""
        return floor_to(
            min(request.window.end_ms, request.now_ms - self.stream.safety_lag), SECOND_MS
        )

    def floor_ms(self, request: PollRequest) -> int:
        """Return what nothing is read before: the epoch, and what the API is known to keep."""
        kept = 0 if self.stream.max_age is None else request.now_ms - self.stream.max_age
        epoch_ms = request.epoch_ms if self.history_ms is None else None
        return floor_to(max(kept, epoch_ms or 0), SECOND_MS)


@dataclass(frozen=True, slots=True)
class EventStream:
    """Reads events once each, by their ids; the ledger knows which it has seen."""

    source: StreamSource

    async def read(self, client: ApiClient, request: PollRequest) -> AsyncIterator[Reading]:
        """Yield the spans that are new, the overlap before them, and a sweep where one is due."""
        drain = self.source.drain(client, request.memo)
        live = self._live(request)
        if live is None:
            yield await self._begin(drain, request)
            return
        sweep = self._sweep(request, live)
        todo = [window for window in (live, sweep) if window and window.length_ms > 0]
        if not todo:  # a success means that the source answered
            await drain.probe(Window(live.end_ms - PROBE_MS, live.end_ms))
            yield Reading(Window(live.end_ms, live.end_ms))
        memo = dict(request.memo)
        for window in todo:
            async for stretch in drain.spans(window):
                ended = stretch.window.end_ms >= window.end_ms
                last = drain.pace.spent or (ended and window is todo[-1])
                memo["slice_ms"] = drain.pace.slice_ms
                if window is sweep:
                    memo = _swept(memo, stretch, request.now_ms if ended else None)
                reading = replace(_reading(stretch, memo), more=not last)
                watermark_ms = stretch.window.end_ms if window is live else None
                yield replace(reading, watermark_ms=watermark_ms)
                if last:
                    return

    def _live(self, request: PollRequest) -> Window | None:
        """Return what is new, with the overlap before it; None at the very beginning."""
        if request.watermark_ms is not None:
            since_ms = request.watermark_ms - self.source.stream.overlap
        elif self.source.history_ms is not None:
            since_ms = request.now_ms - self.source.history_ms
        else:
            return None
        until_ms = self.source.until_ms(request)
        start_ms = max(floor_to(since_ms, SECOND_MS), self.source.floor_ms(request))
        return Window(min(start_ms, until_ms), until_ms)

    def _sweep(self, request: PollRequest, live: Window) -> Window | None:
        """Return what a sweep has still to read again, if one is due or under way."""
        stream = self.source.stream
        swept_ms = request.memo.get("swept_ms", request.epoch_ms)
        if swept_ms is None or 0 <= request.now_ms - swept_ms < stream.sweep_interval:
            return None
        start_ms = max(int(request.memo.get("sweep_ms", 0)), request.now_ms - stream.sweep)
        start_ms = max(floor_to(start_ms, SECOND_MS), self.source.floor_ms(request))
        return Window(min(start_ms, live.start_ms), live.start_ms)

    async def _begin(self, drain: Drain, request: PollRequest) -> Reading:
        """Request one page, so that a first success means something, and start counting now."""
        until_ms = self.source.until_ms(request)
        await drain.probe(Window(until_ms - PROBE_MS, until_ms))
        now = Window(request.now_ms, request.now_ms)
        return Reading(now, watermark_ms=request.now_ms, memo={"swept_ms": request.now_ms})


@dataclass(frozen=True, slots=True)
class HourRecount:
    """Reads whole hours again and again: what an hour has is its distinct ids, none is stored."""

    source: StreamSource

    async def read(self, client: ApiClient, request: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading for each hour of ``request.window``."""
        drain = self.source.drain(client, {})
        drain.pace.pages_left = None
        until_ms = self.source.until_ms(request)
        end_ms = ceil_to(request.window.end_ms, HOUR_MS)
        for start_ms in range(floor_to(request.window.start_ms, HOUR_MS), end_ms, HOUR_MS):
            hour = Window(start_ms, start_ms + HOUR_MS)
            part = Window(start_ms, max(start_ms, min(hour.end_ms, until_ms)))
            spans = [stretch async for stretch in drain.spans(part)]
            reading = self._counted(hour, spans, self._since_ms(request))
            yield replace(reading, more=hour.end_ms < end_ms)

    def _since_ms(self, request: PollRequest) -> int:
        """Return what nothing stamped before ever counts; at the first poll that is now."""
        if self.source.history_ms is not None:
            return 0
        return request.now_ms if request.epoch_ms is None else request.epoch_ms

    def _counted(self, hour: Window, spans: list[DrainedSpan], since_ms: int) -> Reading:
        events = {e.digest: e for each in spans for e in each.events if e.at_ms >= since_ms}
        sums: dict[Series, int] = {}
        for event in events.values():
            for series in event.counts:
                sums[series] = sums.get(series, 0) + 1
        return Reading(
            hour,
            counts=[(series, hour.start_ms, number) for series, number in sums.items()],
            drift=_summed([each.drift for each in spans]),
            dropped=_summed([each.dropped for each in spans]),
        )


def _summed(parts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    sums: Counter[K] = Counter()
    for part in parts:
        sums.update(part)
    return dict(sums)


def _swept(memo: dict[str, Any], stretch: DrainedSpan, ended_ms: int | None) -> dict[str, Any]:
    if ended_ms is None:
        return {**memo, "sweep_ms": stretch.window.end_ms}
    return {key: value for key, value in memo.items() if key != "sweep_ms"} | {"swept_ms": ended_ms}


def _reading(stretch: DrainedSpan, memo: Mapping[str, Any]) -> Reading:
    return Reading(
        stretch.window,
        events=stretch.events,
        drift=stretch.drift,
        dropped=stretch.dropped,
        memo=dict(memo),
    )
