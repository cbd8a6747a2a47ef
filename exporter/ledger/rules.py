"""The counting rules, pure: buckets in, counters out; caps; and which period a gauge may show.

For each series the ledger keeps what the provider last reported of each bucket (``obs``) and the
part of it that predates counting (``base``). Truth is ``T = retired + sum(obs - base)``, the
exported counter is ``C = T + overhang + written_off``. Polling never sums truth again: it is
``C - overhang - written_off``, and a poll adds its growth (specification: counting.md).
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, repeat
from typing import NamedTuple
from zoneinfo import ZoneInfo

from exporter.model.query import QuerySpec
from exporter.model.samples import (
    BASE,
    HOUR_MS,
    OTHER,
    CountRow,
    Family,
    GaugeRow,
    Series,
    Window,
    floor_to,
)

Key = tuple[int, int]
"""A bucket: id of its series, start in UTC milliseconds."""

COLLAPSE_SHARE = 0.5
COLLAPSE_UNITS = 100


class Bucket(NamedTuple):
    """What the provider last reported of a bucket, and what of it is not counted."""

    obs: float
    base: float = 0.0


EMPTY = Bucket(0.0)


@dataclass(frozen=True, slots=True)
class CounterState:
    """One counter's running numbers; ``since_ms`` is when the overhang began."""

    c: float = 0.0
    overhang: float = 0.0
    written_off: float = 0.0
    since_ms: int | None = None

    @property
    def truth(self) -> float:
        """Return what the provider's values add up to."""
        return self.c - self.overhang - self.written_off


@dataclass(frozen=True, slots=True)
class Frame:
    """The circumstances of a read that decide how its rows count.

    ``baseline``: until a first range is wholly read, its rows are where counting starts.
    ``rebased`` says whether a series keeps its counter and takes the window as its new baseline
    (its labels now stand for something else). ``last_read_ms`` is when the query was read before.
    """

    window: Window
    granularity_ms: int
    settle_ms: int
    baseline: bool = False
    last_read_ms: int | None = None
    rebased: Callable[[int], bool] = lambda _series: False


@dataclass(frozen=True, slots=True)
class Merge:
    """What a read changes: new values by bucket, growth by series, and what it revised."""

    buckets: Mapping[Key, Bucket]
    growth: Mapping[int, float]
    revisions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    revised: frozenset[Key] = frozenset()
    retracted: float = 0.0


def advance(
    state: CounterState,
    growth: float,
    now_ms: int,
    write_off_after_ms: int | None,
    *,
    forgive: bool = False,
) -> CounterState:
    """Return ``state`` after its truth grew by ``growth`` (which may be negative).

    The counter never falls: what truth lost stays as overhang, is repaid by later growth, and is
    written off after ``write_off_after_ms`` (None: never), or at once where ``forgive`` is set
    (a confirmed reset by the provider).
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
    """Return what changes when a complete read gave ``values`` where ``known`` was before.

    ``known`` are the ledger's buckets in the window. A known bucket that the read does not mention
    is 0 now: the read was complete, so absent means none.
    """
    buckets: dict[Key, Bucket] = {}
    growth: dict[int, float] = {}
    changes: list[tuple[Key, float, float]] = []
    for key, value in chain(values.items(), zip(known.keys() - values.keys(), repeat(0.0))):
        old = obs, base = known.get(key, EMPTY)
        if value == obs and not frame.baseline:
            continue
        series = key[0]
        rebased = frame.rebased(series)
        kept = _base(old, value, frame) if rebased or frame.baseline else base
        if (value, kept) == old:
            continue
        buckets[key] = Bucket(value, kept)
        growth[series] = growth.get(series, 0.0) + (value - kept) - (obs - base)
        if not rebased:
            changes.append((key, obs, value))
    return _with_revisions(Merge(buckets, growth), changes, frame)


def looks_collapsed(
    known: Mapping[Key, Bucket], values: Mapping[Key, float], *, empty: bool
) -> bool:
    """Say whether a read lost so much of the same buckets that it must be confirmed first.

    ``empty``: the read had no value above 0 at all.
    """
    before = sum(bucket.obs for bucket in known.values())
    if before > 0 and empty:
        return True
    lost = before - sum(map(values.get, known, repeat(0.0)))
    return lost > COLLAPSE_UNITS and lost > COLLAPSE_SHARE * before


def _base(old: Bucket, value: float, frame: Frame) -> float:
    """Return what of ``value`` is not counted, where it begins anew."""
    return value if frame.baseline else value - (old.obs - old.base)


def _with_revisions(merged: Merge, changes: list[tuple[Key, float, float]], frame: Frame) -> Merge:
    if frame.baseline or frame.last_read_ms is None:
        return merged
    revisions: dict[tuple[str, str], int] = {}
    revised: set[Key] = set()
    retracted = 0.0
    open_ms = frame.last_read_ms - frame.granularity_ms  # buckets from later on were not over
    settled_ms = open_ms - frame.settle_ms
    for key, before, after in changes:
        start_ms = key[1]
        if after == before or (after > before and start_ms > open_ms):
            continue
        stage = "settled" if start_ms <= settled_ms else "settling"
        direction = "up" if after > before else "down"
        revisions[direction, stage] = revisions.get((direction, stage), 0) + 1
        revised.add(key)
        retracted += max(0.0, before - after)
    return replace(merged, revisions=revisions, revised=frozenset(revised), retracted=retracted)


# Caps: past a cap new label sets count in ``other``, first come, first kept. This happens before
# counting, so no unit is lost to a cap.


@dataclass(frozen=True, slots=True)
class Places:
    """How many series may be added: of each family, of the target, of all targets together."""

    by_family: Mapping[str, int]
    in_target: int
    in_all: int


@dataclass
class Room:
    """Gives series their places. ``known`` series keep theirs; ``places`` is read for new ones."""

    known: Collection[Series]
    places: Callable[[], Places]
    added: dict[str, int] = field(default_factory=dict)
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)

    @cached_property
    def _places(self) -> Places:
        return self.places()

    def admit(self, series: Series, family: Family) -> bool:
        """Say whether ``series`` has or gets a place of its own; count it where it does not."""
        if series in self.known:
            return True
        limit = self._limit(family)
        if limit is None:
            self.added[family.name] = self.added.get(family.name, 0) + 1
        else:
            self.dropped[family.name, limit] = self.dropped.get((family.name, limit), 0) + 1
        return limit is None

    def _limit(self, family: Family) -> str | None:
        """Return the limit that a new series of ``family`` exceeds; None for none."""
        added = sum(self.added.values())
        if self._places.in_target <= added:
            return "target_limit"
        if self._places.by_family.get(family.name, family.cap) <= self.added.get(family.name, 0):
            return "family_limit"
        return "total_limit" if self._places.in_all <= added else None


def overflow(series: Series, family: Family) -> Series:
    """Return the series that takes what has no place: labels beyond base are all ``other``.

    Where the family has no such label, the project is ``other``.
    """
    names = family.labels[2:]
    replaced = set(names) - set(BASE) or {"project"}
    pairs = zip(names, series[1], strict=True)
    return series[0], tuple(OTHER if name in replaced else value for name, value in pairs)


@dataclass(frozen=True, slots=True)
class Placed:
    """A reading's counts by bucket; series that are ``new`` have negative ids until created."""

    values: dict[Key, float]
    new: Mapping[Series, int]

    def with_ids(self, created: Mapping[Series, int]) -> dict[Key, float]:
        """Return the values with the ids of the series that were created."""
        if not self.new:
            return self.values
        ids = {number: created[series] for series, number in self.new.items()}
        return {(ids.get(key[0], key[0]), key[1]): value for key, value in self.values.items()}


def place_counts(
    rows: Iterable[CountRow],
    ids: Mapping[Series, int],
    families: Mapping[str, Family],
    room: Room,
    floor_ms: int = 0,
) -> Placed:
    """Return ``rows`` summed by series and start; a series without a place counts in ``other``.

    Rows before ``floor_ms`` belong to no counter any more and are left out.
    """
    values: dict[Key, float] = {}
    found: dict[Series, int] = {}
    new: dict[Series, int] = {}
    for series, start_ms, value in rows:
        number = found.get(series)
        if number is None:
            family = families[series[0]]
            place = series if room.admit(series, family) else overflow(series, family)
            number = ids.get(place) or new.setdefault(place, -1 - len(new))
            found[series] = number
        if start_ms >= floor_ms:
            key = number, start_ms
            values[key] = values.get(key, 0.0) + value
    return Placed(values, new)


def admitted_gauges(
    rows: Iterable[GaugeRow], families: Mapping[str, Family], room: Room
) -> list[GaugeRow]:
    """Return the rows that have a place; the others are dropped, since gauges do not add up."""
    return [row for row in rows if room.admit(row.series, families[row.series[0]])]


# Periods: which bucket a gauge may show, and for how long.


def settled_until(now_ms: int, granularity_ms: int, settle_ms: int) -> int:
    """Return the end of the newest bucket that ended at least ``settle_ms`` ago."""
    return floor_to(now_ms - settle_ms, granularity_ms)


def settled_day(until_ms: int, zone: str) -> Window:
    """Return the newest local day of ``zone`` that ended by ``until_ms``: 23, 24 or 25 hours."""
    tz = ZoneInfo(zone)
    today = dt.datetime.fromtimestamp(until_ms / 1000, tz).date()
    start, end = (_midnight(today - dt.timedelta(days=back), tz) for back in (1, 0))
    return Window(start, end)


def _midnight(day: dt.date, tz: ZoneInfo) -> int:
    return round(dt.datetime.combine(day, dt.time(), tz).timestamp() * 1000)


def settled_hour(spec: QuerySpec, until_ms: int) -> Window:
    """Return the newest hour that ended by ``until_ms``, as the query's buckets begin."""
    shift_ms = _shift_ms(spec, until_ms)
    end_ms = floor_to(until_ms - shift_ms, HOUR_MS) + shift_ms
    return Window(end_ms - HOUR_MS, end_ms)


def _shift_ms(spec: QuerySpec, at_ms: int) -> int:
    """Return how long after a whole UTC hour the query's buckets begin: half an hour in India."""
    at = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(spec.timezone))
    offset = at.utcoffset() if spec.local_hours else None
    return -round(offset.total_seconds() * 1000) % HOUR_MS if offset else 0


def settled_periods(spec: QuerySpec, until_ms: int, floor_ms: int) -> dict[str, Window]:
    """Return the newest settled hour and day to show that whole buckets cover, by period name."""
    periods: dict[str, Window] = {}
    if spec.granularity_ms == HOUR_MS:
        periods["hour"] = settled_hour(spec, until_ms)
    day = settled_day(until_ms, spec.timezone)
    edges = (day.start_ms, day.end_ms)
    if not any((edge - _shift_ms(spec, edge)) % spec.granularity_ms for edge in edges):
        periods["day"] = day
    return {name: period for name, period in periods.items() if period.start_ms >= floor_ms}


def period_expiry_ms(spec: QuerySpec, period: Window) -> int:
    """Return when a period gauge is withdrawn: a late API must not look like a drop."""
    return period.end_ms + period.length_ms + spec.period_grace_ms


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
    day = settled_day(until_ms, spec.timezone)
    return (day if daily else settled_hour(spec, until_ms)).end_ms


def newest_rows(rows: Iterable[GaugeRow]) -> list[GaugeRow]:
    """Return the newest row of each series: a level is what was last read, open bucket or not."""
    newest: dict[Series, GaugeRow] = {}
    for row in rows:
        held = newest.get(row.series)
        if held is None or row.window.end_ms >= held.window.end_ms:
            newest[row.series] = row
    return list(newest.values())
