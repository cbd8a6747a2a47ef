"""Which bucket a gauge may show and for how long, pure (``semantics.md`` B.5, B.6)."""

import datetime as dt
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, GaugeRow, Window, floor_to


def settled_until(now_ms: int, granularity_ms: int, settle_ms: int) -> int:
    """Return the end of the newest bucket that ended at least ``settle_ms`` ago."""
    return floor_to(now_ms - settle_ms, granularity_ms)


def settled_day(until_ms: int, zone: str) -> Window:
    """Return the newest local day of ``zone`` that ended by ``until_ms``: 23, 24 or 25 hours."""
    tz = ZoneInfo(zone)
    today = dt.datetime.fromtimestamp(until_ms / 1000, tz).date()
    start, end = (_midnight(today - dt.timedelta(days=back), tz) for back in (1, 0))
    return Window(start, end)


def settled_periods(spec: QuerySpec, until_ms: int, floor_ms: int) -> dict[str, Window]:
    """Return the newest settled hour and day that the query covers wholly, by period name."""
    periods: dict[str, Window] = {}
    if spec.granularity_ms == HOUR_MS:
        periods["hour"] = Window(until_ms - HOUR_MS, until_ms)
    day = settled_day(until_ms, spec.timezone)
    if day.start_ms % spec.granularity_ms == 0 == day.end_ms % spec.granularity_ms:
        periods["day"] = day
    return {name: period for name, period in periods.items() if period.start_ms >= floor_ms}


def period_expiry_ms(spec: QuerySpec, period: Window) -> int:
    """Return when a period gauge is withdrawn: a late API must not look like a drop."""
    return period.end_ms + period.length_ms + spec.expected_lag_ms


def window_expiry_ms(spec: QuerySpec, window: Window, *, listed: bool) -> int:
    """Return when a windowed gauge is withdrawn: 3 periods and 2 polls after its data.

    The period of a list is the time between two readings of it, or between two of its windows,
    which end on whole buckets.
    """
    period_ms = max(spec.interval_ms, spec.granularity_ms) if listed else window.length_ms
    return window.end_ms + 3 * period_ms + 2 * spec.interval_ms


def newest_settled_end(spec: QuerySpec, now_ms: int, *, daily: bool) -> int:
    """Return the end of the newest hour, or local day, that counts as settled."""
    until_ms = settled_until(now_ms, HOUR_MS, spec.settle_ms)
    return settled_day(until_ms, spec.timezone).end_ms if daily else until_ms


def newest_read(rows: Iterable[GaugeRow]) -> list[GaugeRow]:
    """Return the newest row of each series: a level is what was last seen, open bucket or not."""
    newest: dict[tuple[str, tuple[str, ...]], GaugeRow] = {}
    for row in rows:
        held = newest.get(row.series)
        if held is None or row.window.end_ms >= held.window.end_ms:
            newest[row.series] = row
    return list(newest.values())


def _midnight(day: dt.date, tz: ZoneInfo) -> int:
    return round(dt.datetime.combine(day, dt.time(), tz).timestamp() * 1000)
