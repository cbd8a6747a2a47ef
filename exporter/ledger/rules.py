"""The counting rules, free of I/O: from buckets to counters, caps, and the periods of gauges.

Truth is the sum of ``obs - base``; each poll adds its growth to it (specification: counting.md).
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from typing import NamedTuple
from zoneinfo import ZoneInfo

from exporter.model.query import Past, PastMode, QuerySpec
from exporter.model.samples import (
    BASE,
    DAY_MS,
    HOUR_MS,
    OTHER,
    SECOND_MS,
    CountRow,
    Family,
    Series,
    Window,
    ceil_to,
    floor_to,
)

Key = tuple[int, int]
"""A bucket: the id of its series, its start in UTC milliseconds."""

COLLAPSE_SHARE = 0.5
COLLAPSE_UNITS = 100
TARGET, ALL = "", "*"
"""The keys of the caps on one target and on all targets; other keys are families."""


class Bucket(NamedTuple):
    """The value that the provider last reported for a bucket, and the part that is not counted."""

    obs: float
    base: float = 0.0


EMPTY = Bucket(0.0)


@dataclass(frozen=True, slots=True)
class CounterState:
    """The state of one counter; ``since_ms`` is when the overhang began."""

    c: float = 0.0
    overhang: float = 0.0
    written_off: float = 0.0
    since_ms: int | None = None

    @property
    def truth(self) -> float:
        """Return the sum of the provider's values, less the baseline."""
        return self.c - self.overhang - self.written_off


@dataclass(frozen=True, slots=True)
class Frame:
    """The circumstances of a read that decide how its rows count.

    ``baseline``: rows are where counting starts, until the first range is read completely.
    ``last_read_ms`` is when the query was read before. Series in ``rebased`` keep their counter and
    take the window as their new baseline, because their labels now cover other raw values.
    ``per_unit`` has the parts per unit of series that count parts of a unit.
    """

    granularity_ms: int
    settle_ms: int
    baseline: bool = False
    last_read_ms: int | None = None
    rebased: Collection[int] = frozenset()
    per_unit: Mapping[int, int] = field(default_factory=dict)

    def revision(self, start_ms: int, before: float, after: float) -> tuple[str, str] | None:
        """Return direction and stage of the revision of a bucket; None if it is no revision."""
        if self.baseline or self.last_read_ms is None:
            return None
        open_ms = self.last_read_ms - self.granularity_ms  # later buckets had not ended yet
        if after == before or (after > before and start_ms > open_ms):
            return None
        stage = "settled" if start_ms <= open_ms - self.settle_ms else "settling"
        return "up" if after > before else "down", stage


@dataclass(slots=True)
class Merge:
    """The changes of a read: new values by bucket, growth by series, revisions."""

    buckets: dict[Key, Bucket] = field(default_factory=dict)
    growth: dict[int, float] = field(default_factory=dict)
    revisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    revised: set[Key] = field(default_factory=set)
    retracted: float = 0.0


def advance(
    state: CounterState,
    growth: float,
    now_ms: int,
    write_off_after_ms: int | None,
    *,
    forgive: bool = False,
) -> CounterState:
    """Return ``state`` after its truth grew by ``growth``, which may be negative.

    Overhang is written off after ``write_off_after_ms`` (None: never), or at once with ``forgive``,
    after a confirmed reset by the provider (specification: counting.md#the-rule).
    """
    truth = state.truth + growth
    c = max(state.c, truth + state.written_off)
    overhang = c - truth - state.written_off
    if overhang == 0:
        return CounterState(c, 0.0, state.written_off)
    since_ms = now_ms if state.since_ms is None else state.since_ms
    aged = write_off_after_ms is not None and now_ms - since_ms >= write_off_after_ms
    if forgive or aged:
        return CounterState(c, 0.0, state.written_off + overhang)
    return CounterState(c, overhang, state.written_off, since_ms)


def merge(known: Mapping[Key, Bucket], values: Mapping[Key, float], frame: Frame) -> Merge:
    """Return the changes when a complete read found ``values`` for the ``known`` buckets.

    A bucket of ``known`` that is absent from ``values`` is 0 now.
    """
    merged = Merge()
    for key, value in chain(values.items(), zip(known.keys() - values.keys(), repeat(0.0))):
        old = known.get(key, EMPTY)
        if value == old.obs and not frame.baseline:
            continue
        series, start_ms = key
        rebased = series in frame.rebased
        base = old.base
        if frame.baseline:
            base = value
        elif rebased:
            base = value - (old.obs - old.base)
        new = Bucket(value, base)
        if new == old:
            continue
        merged.buckets[key] = new
        grown = (value - base) - (old.obs - old.base)
        merged.growth[series] = merged.growth.get(series, 0.0) + grown
        revision = None if rebased else frame.revision(start_ms, old.obs, value)
        if revision is not None:
            merged.revisions[revision] += 1
            merged.revised.add(key)
            merged.retracted += max(0.0, old.obs - value) / frame.per_unit.get(series, 1)
    return merged


def looks_collapsed(
    known: Mapping[Key, Bucket],
    values: Mapping[Key, float],
    *,
    empty: bool,
    per_unit: Mapping[int, int],
) -> bool:
    """Return whether the same buckets lost so much that another read must confirm it.

    ``empty``: the read has no value above 0. ``per_unit`` is that of ``Frame``.
    """
    before = sum(bucket.obs / per_unit.get(key[0], 1) for key, bucket in known.items())
    if before > 0 and empty:
        return True
    lost = before - sum(values.get(key, 0.0) / per_unit.get(key[0], 1) for key in known)
    return lost > COLLAPSE_UNITS and lost > COLLAPSE_SHARE * before


# Caps: past a cap, new label sets count in ``other``; those that came first stay. This happens
# before counting, so no unit is lost to a cap.


@dataclass
class Room:
    """Assigns places to series under the caps; ``known`` series keep theirs, as do those it placed.

    ``count_left`` returns how many may be added by family, to the target and in all.
    ``find_others`` returns the series of other queries, and whether those still feed them; one that
    is not fed keeps its place. Both are called for the first new series.
    """

    known: Collection[Series]
    count_left: Callable[[], Counter[str]]
    find_others: Callable[[], Mapping[Series, bool]] = dict
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    _placed: set[Series] = field(default_factory=set, init=False)

    @cached_property
    def _left(self) -> Counter[str]:
        return self.count_left()

    @cached_property
    def _fed(self) -> Mapping[Series, bool]:
        return self.find_others()

    def place(self, series: Series, family: Family) -> Series:
        """Return the series that ``series`` counts in: itself, or the overflow.

        If the overflow belongs to another query, only the target's and the total cap apply.
        """
        if self.admit(series):
            return series
        full = overflow(series, family)
        room = min(self._left[TARGET], self._left[ALL])
        if full in self.known or not self._fed.get(full) or room <= 0:
            return full
        self._left.subtract((TARGET, ALL))
        self._placed.add(series)
        return series

    def admit(self, series: Series) -> bool:
        """Return whether ``series`` has or gets a place of its own; if not, count it as dropped."""
        if series in self.known or series in self._placed or self._fed.get(series) is False:
            return True
        limits = {"target_limit": TARGET, "family_limit": series[0], "total_limit": ALL}
        for reason, cap in limits.items():
            if self._left[cap] <= 0:
                self.dropped[series[0], reason] += 1
                return False
        self._left.subtract(limits.values())
        self._placed.add(series)
        return True


def overflow(series: Series, family: Family) -> Series:
    """Return the overflow of ``series``: all labels beyond the base labels are ``other``.

    If the family has only base labels, the project is ``other``.
    """
    names = family.labels[2:]
    replaced = set(names) - set(BASE) or {"project"}
    pairs = zip(names, series[1], strict=True)
    return series[0], tuple(OTHER if name in replaced else value for name, value in pairs)


def place(
    rows: Iterable[CountRow], families: Mapping[str, Family], room: Room
) -> dict[Series, Series]:
    """Map each series of ``rows`` to the one it counts in: itself, or the overflow."""
    return {
        series: room.place(series, families[series[0]])
        for series in dict.fromkeys(row[0] for row in rows)
    }


def sum_counts(
    rows: Iterable[CountRow],
    places: Mapping[Series, Series],
    ids: Mapping[Series, int],
    floor_ms: int = 0,
) -> dict[Key, float]:
    """Return the sums of ``rows`` by bucket; series without an id are left out.

    So are rows before ``floor_ms``, which no counter covers any more.
    """
    numbers = {series: ids.get(place) for series, place in places.items()}
    values: dict[Key, float] = {}
    for series, start_ms, value in rows:
        number = numbers[series]
        if number is not None and start_ms >= floor_ms:
            key = number, start_ms
            values[key] = values.get(key, 0.0) + value
    return values


# The past: which part is read when.


def past_window(spec: QuerySpec, past: Past, now_ms: int) -> Window:
    """Return the newest part of ``past`` that one reading covers; empty beyond the API's reach."""
    longest_ms = spec.slice_ms or spec.span_ms or past.until_ms - past.from_ms
    span_ms = min(past.span_ms or longest_ms, longest_ms)
    start_ms = max(past.from_ms, past.until_ms - span_ms, reach_start_ms(spec, now_ms))
    return Window(min(start_ms, past.until_ms), past.until_ms)


def reach_start_ms(spec: QuerySpec, now_ms: int) -> int:
    """Return the start of the oldest bucket that the API still reports completely; 0: no limit."""
    return 0 if spec.reach_ms is None else ceil_to(now_ms - spec.reach_ms, spec.granularity_ms)


def history(spec: QuerySpec, floor_ms: int, now_ms: int, *, counts: bool = False) -> Past | None:
    """Return the past to read after a first poll that began at ``floor_ms``; None: nothing.

    ``counts``: the past is not baseline, because the query has ``start: history``.
    """
    if spec.initial_lookback_ms is None:
        return None
    start_ms = floor_to(now_ms - spec.initial_lookback_ms, spec.granularity_ms)
    past = Past(PastMode.COUNT if counts else PastMode.BASELINE, start_ms, floor_ms)
    return past if past_window(spec, past, now_ms).length_ms > 0 else None


def smaller_span_ms(spec: QuerySpec, window: Window) -> int:
    """Return half the length of a ``window`` that took too long: whole buckets, at least one."""
    step_ms = spec.granularity_ms
    return max(step_ms, floor_to(window.length_ms // 2, step_ms))


@dataclass(slots=True)
class Comparison:
    """How buckets of ``[from_ms, until_ms)`` compare with the ledger when they are read again.

    Becomes an ``AuditState``, which documents the fields.
    """

    from_ms: int = 0
    until_ms: int = 0
    equal: int = 0
    different: int = 0
    missing: int = 0
    difference: dict[str, float] = field(default_factory=dict)
    days: list[int] = field(default_factory=list)

    def add(
        self,
        known: Mapping[Key, Bucket],
        values: Mapping[Key, float],
        family_of: Mapping[int, str],
    ) -> None:
        """Compare the ``values`` of a complete read with the ``known`` buckets."""
        days = set(self.days)
        for key in known.keys() | values.keys():
            value, old = values.get(key, 0.0), known.get(key)
            lost = abs(value - (old or EMPTY).obs)
            family = family_of[key[0]]
            self.difference[family] = self.difference.get(family, 0.0) + lost
            if not lost:
                self.equal += 1
                continue
            days.add(floor_to(key[1], DAY_MS))
            if old is None:
                self.missing += 1
            else:
                self.different += 1
        self.days = sorted(days)


# Periods: which buckets a gauge may show, and for how long.


def settled_day(until_ms: int, zone: str) -> Window:
    """Return the newest local day of ``zone`` that ended by ``until_ms``: 23, 24 or 25 hours."""
    until = dt.datetime.fromtimestamp(until_ms / SECOND_MS, ZoneInfo(zone))
    end = until.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    start = end - dt.timedelta(days=1)  # in local time, so a midnight as well
    return Window(round(start.timestamp() * SECOND_MS), round(end.timestamp() * SECOND_MS))


def settled_hour(spec: QuerySpec, until_ms: int) -> Window:
    """Return the newest hour whose bucket ended by ``until_ms``, aligned to the query's buckets."""
    shift_ms = _shift_ms(spec, until_ms)
    end_ms = floor_to(until_ms - shift_ms, HOUR_MS) + shift_ms
    if is_repeated(spec, end_ms):
        end_ms -= HOUR_MS
    return Window(end_ms - HOUR_MS, end_ms)


def is_repeated(spec: QuerySpec, start_ms: int) -> bool:
    """Return whether an hour has the local label of the hour before: the two share one bucket."""
    zone = ZoneInfo(spec.timezone)
    return spec.local_hours and bool(dt.datetime.fromtimestamp(start_ms / SECOND_MS, zone).fold)


def _shift_ms(spec: QuerySpec, at_ms: int) -> int:
    """Return the offset of the query's buckets from whole UTC hours: half an hour in India."""
    at = dt.datetime.fromtimestamp(at_ms / SECOND_MS, ZoneInfo(spec.timezone))
    offset = at.utcoffset() if spec.local_hours else None
    return -round(offset.total_seconds() * SECOND_MS) % HOUR_MS if offset else 0


def settled_periods(spec: QuerySpec, until_ms: int, floor_ms: int) -> dict[str, Window]:
    """Return the newest settled hour and day that whole buckets cover, by period name."""
    periods: dict[str, Window] = {}
    hour = settled_hour(spec, until_ms)
    if spec.granularity_ms == HOUR_MS and not is_repeated(spec, hour.start_ms):
        periods["hour"] = hour
    day = settled_day(until_ms, spec.timezone)
    edges = (day.start_ms, day.end_ms)
    if not any((edge - _shift_ms(spec, edge)) % spec.granularity_ms for edge in edges):
        periods["day"] = day
    return {name: period for name, period in periods.items() if period.start_ms >= floor_ms}


def period_expiry_ms(spec: QuerySpec, period: Window) -> int:
    """Return when a period gauge is withdrawn, so that a late API does not look like a drop."""
    return period.end_ms + period.length_ms + spec.period_grace_ms


def window_expiry_ms(spec: QuerySpec, window: Window, *, listed: bool) -> int:
    """Return when a windowed gauge is withdrawn: 3 periods and 2 polls after its data ended.

    The period of a list is the time between two readings, or between the ends of two windows,
    which fall on whole buckets.
    """
    period_ms = max(spec.interval_ms, spec.granularity_ms) if listed else window.length_ms
    return window.end_ms + 3 * period_ms + 2 * spec.interval_ms


def newest_settled_end(spec: QuerySpec, now_ms: int, *, daily: bool) -> int:
    """Return the end of the newest settled hour, or of the newest settled local day."""
    until_ms = floor_to(now_ms - spec.settle_ms, HOUR_MS)
    day = settled_day(until_ms, spec.timezone)
    return (day if daily else settled_hour(spec, until_ms)).end_ms
