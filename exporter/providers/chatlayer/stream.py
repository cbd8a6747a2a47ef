"""What a poll reads of an event list: new events, overlap, sweeps, or whole hours again (B.8)."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from exporter.http_client.client import ApiClient
from exporter.model.query import PollRequest
from exporter.model.samples import HOUR_MS, SECOND_MS, Reading, Series, Window, ceil_to, floor_to
from exporter.providers.chatlayer.mapping import Rules, Scope
from exporter.providers.chatlayer.options import Stream
from exporter.providers.chatlayer.pages import Drain, List, Pace, Stretch

K = TypeVar("K")

FIRST_SLICE_MS = HOUR_MS // 2
POLL_SECONDS = 300
PROBE_MS = 60 * SECOND_MS


@dataclass(frozen=True, slots=True)
class Source:
    """One event list and how it is read; ``history_ms`` is how far back counting starts, if ever.

    ``requests_per_second`` bounds what one poll reads.
    """

    list: List
    scope: Scope
    rules: Rules
    stream: Stream
    requests_per_second: float
    history_ms: int | None = None

    def drain(self, api: ApiClient, memo: Mapping[str, Any]) -> Drain:
        """Return what reads the list for one poll."""
        per_second = self.requests_per_second
        most = round(per_second * POLL_SECONDS) if per_second else None
        pace = Pace(int(memo.get("slice_ms", FIRST_SLICE_MS)), self.stream.max_pages, most)
        return Drain(api, self.list, self.scope, self.rules, pace)

    def until_ms(self, ask: PollRequest) -> int:
        """Return up to where events are expected to have arrived."""
        return floor_to(min(ask.window.end_ms, ask.now_ms - self.stream.safety_lag), SECOND_MS)

    def floor_ms(self, ask: PollRequest) -> int:
        """Return what nothing is read before: the epoch, and what the API is known to keep."""
        kept = 0 if self.stream.max_age is None else ask.now_ms - self.stream.max_age
        epoch_ms = ask.epoch_ms if self.history_ms is None else None
        return floor_to(max(kept, epoch_ms or 0), SECOND_MS)


@dataclass(frozen=True, slots=True)
class EventStream:
    """Reads events once each, by their ids; the ledger knows which it has seen."""

    source: Source

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield the spans that are new, the overlap before them, and a sweep where one is due."""
        drain = self.source.drain(api, ask.memo)
        live = self._live(ask)
        if live is None:
            yield await self._begin(drain, ask)
            return
        sweep = self._sweep(ask, live)
        todo = [window for window in (live, sweep) if window and window.length_ms > 0]
        if not todo:
            yield Reading(Window(live.end_ms, live.end_ms))
        memo = dict(ask.memo)
        for window in todo:
            async for stretch in drain.spans(window):
                ended = stretch.window.end_ms >= window.end_ms
                last = drain.pace.spent or (ended and window is todo[-1])
                memo["slice_ms"] = drain.pace.slice_ms
                if window is sweep:
                    memo = _swept(memo, stretch, ask.now_ms if ended else None)
                reading = replace(_reading(stretch, memo), more=not last)
                watermark_ms = stretch.window.end_ms if window is live else None
                yield replace(reading, watermark_ms=watermark_ms)
                if last:
                    return

    def _live(self, ask: PollRequest) -> Window | None:
        """Return what is new, with the overlap before it; None at the very beginning."""
        if ask.watermark_ms is not None:
            since_ms = ask.watermark_ms - self.source.stream.overlap
        elif self.source.history_ms is not None:
            since_ms = ask.now_ms - self.source.history_ms
        else:
            return None
        until_ms = self.source.until_ms(ask)
        start_ms = max(floor_to(since_ms, SECOND_MS), self.source.floor_ms(ask))
        return Window(min(start_ms, until_ms), until_ms)

    def _sweep(self, ask: PollRequest, live: Window) -> Window | None:
        """Return what a sweep has still to read again, if one is due or under way."""
        stream = self.source.stream
        swept_ms = ask.memo.get("swept_ms", ask.epoch_ms)
        if swept_ms is None or ask.now_ms - swept_ms < stream.sweep_interval:
            return None
        start_ms = max(int(ask.memo.get("sweep_ms", 0)), ask.now_ms - stream.sweep)
        start_ms = max(floor_to(start_ms, SECOND_MS), self.source.floor_ms(ask))
        return Window(min(start_ms, live.start_ms), live.start_ms)

    async def _begin(self, drain: Drain, ask: PollRequest) -> Reading:
        """PollRequest for one page, so that a first success means something, and start counting now."""
        until_ms = self.source.until_ms(ask)
        await drain.probe(Window(until_ms - PROBE_MS, until_ms))
        now = Window(ask.now_ms, ask.now_ms)
        return Reading(now, watermark_ms=ask.now_ms, memo={"swept_ms": ask.now_ms})


@dataclass(frozen=True, slots=True)
class Recount:
    """Reads whole hours again and again: what an hour has is its distinct ids, none is stored."""

    source: Source

    async def read(self, api: ApiClient, ask: PollRequest) -> AsyncIterator[Reading]:
        """Yield one reading for each hour of ``ask.window``."""
        drain = self.source.drain(api, {})
        drain.pace.pages_left = None
        until_ms = self.source.until_ms(ask)
        end_ms = ceil_to(ask.window.end_ms, HOUR_MS)
        for start_ms in range(floor_to(ask.window.start_ms, HOUR_MS), end_ms, HOUR_MS):
            hour = Window(start_ms, start_ms + HOUR_MS)
            part = Window(start_ms, max(start_ms, min(hour.end_ms, until_ms)))
            spans = [stretch async for stretch in drain.spans(part)]
            reading = self._counted(hour, spans, self._since_ms(ask))
            yield replace(reading, more=hour.end_ms < end_ms)

    def _since_ms(self, ask: PollRequest) -> int:
        """Return what nothing stamped before ever counts; at the first poll that is now."""
        if self.source.history_ms is not None:
            return 0
        return ask.now_ms if ask.epoch_ms is None else ask.epoch_ms

    def _counted(self, hour: Window, spans: list[Stretch], since_ms: int) -> Reading:
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


def _swept(memo: dict[str, Any], stretch: Stretch, ended_ms: int | None) -> dict[str, Any]:
    if ended_ms is None:
        return {**memo, "sweep_ms": stretch.window.end_ms}
    return {key: value for key, value in memo.items() if key != "sweep_ms"} | {"swept_ms": ended_ms}


def _reading(stretch: Stretch, memo: Mapping[str, Any]) -> Reading:
    return Reading(
        stretch.window,
        events=stretch.events,
        drift=stretch.drift,
        dropped=stretch.dropped,
        memo=dict(memo),
    )
