"""What a poll reads: which range, and which part of the past with the same call."""

from collections.abc import Iterator

from exporter.ledger.rows import Claim
from exporter.ledger.rules import history, past_window, reach_start_ms
from exporter.model.query import QuerySpec
from exporter.model.samples import Reading, Window, ceil_to, floor_to


def poll_window(spec: QuerySpec, claim: Claim, now_ms: int) -> Window:
    """Return the range of a poll: from the oldest unsettled bucket, at least the lookback, to now.

    It never starts before the floor, because no counter covers older rows, nor beyond the API's
    reach. A stream continues from its watermark, never before its epoch. If the clock was set back
    to before the floor, one bucket is read, and nothing of it counts.
    """
    if spec.stream:
        since_ms = now_ms if claim.watermark_ms is None else claim.watermark_ms - spec.lookback_ms
        return Window(min(max(since_ms, claim.epoch_ms or since_ms), now_ms), now_ms)
    step, lookback = spec.granularity_ms, lookback_window(spec, now_ms, claim.cursor_ms)
    start_ms, end_ms = lookback.start_ms, lookback.end_ms
    if claim.floor_ms is not None and claim.epoch_ms is not None:
        start_ms = max(start_ms, ceil_to(claim.floor_ms, step))
    return Window(min(start_ms, end_ms - step), end_ms)


def lookback_window(spec: QuerySpec, now_ms: int, cursor_ms: int | None = None) -> Window:
    """Return the lookback, or if longer the range since the cursor, including the open bucket."""
    step = spec.granularity_ms
    start_ms = floor_to(now_ms - spec.lookback_ms, step)
    if cursor_ms is not None:
        start_ms = min(start_ms, cursor_ms)
    return Window(max(start_ms, reach_start_ms(spec, now_ms)), ceil_to(now_ms + 1, step))


def past_with_window(spec: QuerySpec, claim: Claim, window: Window, now_ms: int) -> Window | None:
    """Return the part of the past to read with the same call as ``window``; None: nothing.

    Only for queries with a call budget, which have no other call for it.
    """
    past = claim.past
    if claim.epoch_ms is None and spec.budget is not None:
        past = history(spec, window.start_ms, now_ms)
    return None if past is None else past_window(spec, past, now_ms)


def parts(
    reading: Reading, window: Window, past: Window | None
) -> Iterator[tuple[Reading, bool, bool]]:
    """Yield the part of ``reading`` in ``window``, then the part in ``past``.

    Each comes with two flags: whether it is the past, and whether more follows.
    """
    if past is None or reading.gauges_only:
        yield reading, False, reading.more
    else:
        yield reading.since(window.start_ms), False, True
        yield reading.within(past), True, reading.more
