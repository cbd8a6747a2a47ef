"""What a poll reads of an event list: new events, overlap, sweeps, or whole hours again (specification: streams.md)."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from exporter.http_client.client import ApiClient
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, SECOND_MS, Reading, Readings, Window, ceil_to, floor_to
from exporter.providers.chatlayer.mapping import EventMapper, EventRules
from exporter.providers.chatlayer.options import StreamOptions
from exporter.providers.chatlayer.pages import Drain, DrainedSpan, EventList

FIRST_SLICE_MS = HOUR_MS // 2
POLL_SECONDS = 100
PROBE_MS = 60 * SECOND_MS


@dataclass(frozen=True, slots=True)
class StreamSource:
    """One event list and how it is read; ``history_ms`` is how far back counting starts, if ever.

    ``requests_per_second`` bounds what one poll reads.
    """

    list: EventList
    rules: EventRules
    stream: StreamOptions
    requests_per_second: float
    history_ms: int | None = None

    async def read_events(self, client: ApiClient, request: PollRequest) -> Readings:
        """Yield the spans that are new, the overlap before them, and a sweep where one is due.

        The ledger knows which ids it has seen, so each event counts once.
        """
        memo = dict(request.memo)
        most = self.requests_per_second * POLL_SECONDS or math.inf
        drain = self._drain(client, int(memo.get("slice_ms", FIRST_SLICE_MS)), most)
        live = self._live(request)
        if live is None:
            yield await self._begin(drain, request)
            return
        sweep = self._sweep(request, live)
        todo = [window for window in (live, sweep) if window and window.length_ms > 0]
        if not todo:  # a success means that the source answered
            await drain.probe(Window(live.end_ms - PROBE_MS, live.end_ms))
            yield Reading(Window(live.end_ms, live.end_ms))
        for window in todo:
            async for span in drain.spans(window):
                ended = span.window.end_ms >= window.end_ms
                last = drain.pages_left <= 0 or (ended and window is todo[-1])
                memo["slice_ms"] = drain.slice_ms
                if window is sweep:
                    memo = _swept(memo, span, request.now_ms if ended else None)
                watermark_ms = span.window.end_ms if window is live else None
                reading = _reading(span, memo)
                yield replace(reading, watermark_ms=watermark_ms, more=not last)
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
        return Drain(
            client,
            self.list,
            EventMapper(self.rules),
            slice_ms=slice_ms,
            max_pages=self.stream.max_pages,
            pages_left=pages,
        )

    def _until_ms(self, request: PollRequest) -> int:
        """Return up to where events are expected to have arrived."""
        arrived_ms = request.now_ms - self.stream.safety_lag
        return floor_to(min(request.window.end_ms, arrived_ms), SECOND_MS)

    def _floor_ms(self, request: PollRequest) -> int:
        """Return what nothing is read before: the epoch, and what the API is known to keep."""
        kept = 0 if self.stream.max_age is None else request.now_ms - self.stream.max_age
        epoch_ms = request.epoch_ms if self.history_ms is None else None
        return floor_to(max(kept, epoch_ms or 0), SECOND_MS)

    def _live(self, request: PollRequest) -> Window | None:
        """Return what is new, with the overlap before it; None at the very beginning."""
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
        """Return what a sweep has still to read again, if one is due or under way."""
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


def _swept(memo: dict[str, Any], span: DrainedSpan, ended_ms: int | None) -> dict[str, Any]:
    if ended_ms is None:
        return {**memo, "sweep_ms": span.window.end_ms}
    return {key: value for key, value in memo.items() if key != "sweep_ms"} | {"swept_ms": ended_ms}


def _reading(span: DrainedSpan, memo: Mapping[str, Any]) -> Reading:
    return Reading(
        span.window,
        events=span.events,
        drift=span.drift,
        dropped=span.dropped,
        memo=dict(memo),
    )


def _counted(hour: Window, spans: list[DrainedSpan], since_ms: int, *, more: bool) -> Reading:
    events = {e.digest: e for span in spans for e in span.events if e.at_ms >= since_ms}
    sums = Counter(series for event in events.values() for series in event.counts)
    return Reading(
        hour,
        counts=[(series, hour.start_ms, number) for series, number in sums.items()],
        drift=sum((Counter(span.drift) for span in spans), Counter[str]()),
        dropped=sum((Counter(span.dropped) for span in spans), Counter[tuple[str, str]]()),
        more=more,
    )
