"""Reads the past of every series from the ledger, one by one, even while an exporter runs.

Buckets older than the ledger's past come from ``older``. They are a separate life of each counter:
it starts at 0, and the ledger's part starts over, so that ``older`` does not change that part.
"""

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache, cached_property, partial
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa

from exporter.engagement.hours import HourlyCounts
from exporter.errors import LedgerError
from exporter.exposition.backfill.older import MissingPast, OlderBuckets
from exporter.exposition.backfill.past import (
    Gauges,
    Labels,
    PastSeries,
    Steps,
    bot_gauges,
    counter_steps,
    gauge_steps,
    labels_of,
    period_steps,
    scaled,
    shown_gauges,
    shown_periods,
)
from exporter.exposition.catalogue import period_gauge
from exporter.exposition.engagement import calendar_of
from exporter.format import stamp
from exporter.ledger import engine
from exporter.ledger.hours import MEASURES, read_hours
from exporter.ledger.rows import SeriesState, decode_labels, decode_series
from exporter.ledger.rules import ALL, TARGET, Room
from exporter.ledger.tables import bucket, gap, query, series, slices
from exporter.model.families import PERIOD_END
from exporter.model.query import PastMode, QueryKey, QuerySpec
from exporter.model.samples import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Family,
    MetricType,
    Series,
    Window,
    ceil_to,
    floor_to,
)

Families = Sequence[tuple[Family, Sequence["FoundSeries"]]]
"""Each family with its series, by labels."""
LOADED = (
    sa.select(bucket.c.start_ms, bucket.c.base, bucket.c.obs)
    .where(bucket.c.series_id == sa.bindparam("number"))
    .where(bucket.c.start_ms < sa.bindparam("until_ms"))
    .order_by(bucket.c.start_ms)
)
RETIRED = sa.select(series.c.retired, series.c.retired_base).where(
    series.c.id == sa.bindparam("number")
)
BEGUN = sa.select(query.c.floor_ms, query.c.epoch_ms).where(query.c.id == sa.bindparam("query"))
HISTORY = sa.select(slices).where(  # history still being read, or not yet joined to its counters
    slices.c.query_id == sa.bindparam("query"),
    slices.c.mode != PastMode.AUDIT,
    (slices.c.mode == PastMode.COUNT) | (slices.c.from_ms < slices.c.until_ms),
)
SUMS = (
    sa.select(bucket.c.start_ms, sa.func.sum(bucket.c.obs))
    .where(bucket.c.series_id.in_(sa.bindparam("numbers", expanding=True)))
    .group_by(bucket.c.start_ms)
)

NOWHERE = Window(0, 0)


class PastKind(Enum):
    """The kinds of series that a backfill can write."""

    COUNTERS = "counters"
    PERIODS = "period gauges"
    ENGAGEMENT = "engagement gauges"


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series that may have a past; ``load`` costs more than finding it."""

    labels: Labels
    load: Callable[[], PastSeries]


@dataclass(frozen=True, slots=True)
class PastQuery:
    """A query's past; ``known`` ends at the seam.

    ``counted``: its history counts (``start: history``), so the live counter continues from there.
    ``resumed``: its series existed before the epoch under an older meaning, and what was read of
    that time belongs to no counter. ``retired``: some of its counts are no longer in any bucket.
    ``older_ms`` is the oldest bucket that the vendor reported from before ``known``. ``problem`` is
    why nothing can be written.
    """

    id: int
    spec: QuerySpec
    known: Window = NOWHERE
    epoch_ms: int = 0
    counted: bool = False
    resumed: bool = False
    retired: bool = False
    older_ms: int | None = None
    gaps: tuple[Window, ...] = ()
    problem: str = ""
    periods: Mapping[str, Sequence[tuple[int, Window]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the target and the query, as in ``promo/hourly``."""
        return "/".join(self.spec.key)

    @property
    def may_grow(self) -> bool:
        """Return whether to ask the vendor for older data: not if part of the sum has no hours."""
        return not (self.counted and self.retired)

    def retired_of(self, row: Any) -> float:
        """Return the amount of a series' retired buckets that its past shows."""
        return float(row.retired if self.counted else row.retired_base)

    @property
    def shown(self) -> Window:
        """Return the window ``known``, extended by older data from the vendor."""
        start_ms = self.known.start_ms if self.older_ms is None else self.older_ms
        return Window(start_ms, self.known.end_ms)


class LedgerSeries(NamedTuple):
    """A series in the ledger; one found only in the vendor's older data has no id and no counts."""

    query_id: int
    family: str
    labels: str
    id: int = 0
    history: float | None = None
    retired: float = 0
    retired_base: float = 0
    state: SeriesState = "live"
    created_ms: int = 0

    @property
    def key(self) -> tuple[int, str, str]:
        """Return the query, the family, and the labels as JSON."""
        return self.query_id, self.family, self.labels


class LedgerPast:
    """The past of the queries of ``specs``; ``extra`` are the labels that Prometheus adds.

    ``without`` are the names of queries that count but have no past, such as event streams.
    Raises ``LedgerError``.
    """

    def __init__(
        self,
        url: str,
        families: Mapping[str, Family],
        specs: Mapping[QueryKey, QuerySpec],
        extra: Mapping[str, str],
    ) -> None:
        self._families = families
        self._extra = extra
        self._engine = engine.read_only(url)
        with engine.reading(self._engine) as tx:
            engine.check_schema(self._engine)
            found = [_past_query(tx, spec) for spec in specs.values()]
        self.queries = tuple(each for each in found if each is not None)
        counters = {name for name, each in families.items() if each.kind is MetricType.COUNTER}
        self.without = [
            "/".join(spec.key)
            for spec, each in zip(specs.values(), found, strict=True)
            if each is None and counters & spec.fields.keys()
        ]
        self._by_id = {each.id: each for each in self.queries if not each.problem}
        self._older: OlderBuckets | None = None

    def missing(self, within: Window) -> dict[QueryKey, MissingPast]:
        """Return the parts of ``within`` before the ledger's past, to be read from the vendors."""
        found = {}
        for past in self._by_id.values():
            step_ms = past.spec.granularity_ms
            until_ms = min(ceil_to(within.end_ms, step_ms), past.known.start_ms)
            bounds = floor_to(within.start_ms, step_ms), floor_to(until_ms, step_ms)
            if bounds[0] < bounds[1] and past.may_grow:
                room = self._room(past)
                found[past.spec.key] = MissingPast(past.id, past.spec, Window(*bounds), room)
        return found

    def put_before(self, older: OlderBuckets) -> None:
        """Prepend ``older`` to the past; call this once, before reading any series."""
        self._older = older
        queries = []
        for past in self.queries:
            begun = replace(past, older_ms=older.oldest_ms(past.id))
            queries.append(replace(begun, periods=shown_periods(past.spec, begun.shown)))
        self.queries = tuple(queries)
        self._by_id = {each.id: each for each in queries if not each.problem}

    @property
    def seams(self) -> list[tuple[str, int]]:
        """Return where the past of each query ends; a new or restarted query changes this."""
        return [(each.name, each.known.end_ms) for each in self.queries]

    def close(self) -> None:
        """Close the ledger and the older buckets."""
        self._engine.dispose()
        if self._older is not None:
            self._older.close()

    def families(self, kinds: Collection[PastKind]) -> Families:
        """Return the families of ``kinds``, always in the same order."""
        found = {
            PastKind.COUNTERS: self._counters,
            PastKind.PERIODS: self._periods,
            PastKind.ENGAGEMENT: self._engagement,
        }
        return [each for kind, families in found.items() if kind in kinds for each in families()]

    def _counters(self) -> Iterator[tuple[Family, list[FoundSeries]]]:
        for family, rows in self._rows:
            load = partial(self._counter, family)
            yield family, [FoundSeries(labels, partial(load, labels, row)) for labels, row in rows]

    def _periods(self) -> Iterator[tuple[Family, list[FoundSeries]]]:
        for family, rows in self._rows:
            if not family.period:
                continue
            members: dict[tuple[int, str, Labels], list[LedgerSeries]] = {}
            kept = set(family.period_labels) | self._extra.keys()
            for labels, row in rows:
                if row.state != "live":
                    continue
                own = tuple(pair for pair in labels if pair[0] in kept)
                for name in self._by_id[row.query_id].periods:
                    shown = tuple(sorted((*own, ("period", name))))
                    members.setdefault((row.query_id, name, shown), []).append(row)
            gauge = period_gauge(family)
            keys = sorted(members, key=lambda key: key[2])
            load = partial(self._period, gauge)
            yield gauge, [FoundSeries(key[2], partial(load, key, members[key])) for key in keys]
        ends = [
            self._period_end(past, name) for past in self._by_id.values() for name in past.periods
        ]
        yield PERIOD_END, sorted(ends, key=lambda each: each.labels)

    def _engagement(self) -> Iterator[tuple[Family, list[FoundSeries]]]:
        found: dict[str, list[FoundSeries]] = {}
        for past in self._by_id.values():
            spec, calendar = past.spec, calendar_of(past.spec)
            if spec.granularity_ms != HOUR_MS or not MEASURES.keys() & spec.fields.keys():
                continue
            with engine.reading(self._engine) as tx:
                settled = read_hours(tx, spec, sys.maxsize)
            if settled is None:
                continue
            for bot, counts in settled.bots.items():
                hours = HourlyCounts(settled.start_ms, counts)
                judged = cache(partial(bot_gauges, bot, _until(past, hours), calendar))
                for each in shown_gauges(bot, calendar):
                    found.setdefault(each[0], []).append(self._judged(past, each, hours, judged))
        for name in sorted(found):
            yield self._families[name], sorted(found[name], key=lambda each: each.labels)

    @cached_property
    def _rows(self) -> list[tuple[Family, list[tuple[Labels, LedgerSeries]]]]:
        """Return the counters that have series, with sorted labels and rows."""
        rows = self._series
        known = {row.key for row in rows}
        older = self._older.series() if self._older else []
        found: dict[str, list[tuple[Labels, LedgerSeries]]] = {}
        for row in (*rows, *(LedgerSeries(*key) for key in older if key not in known)):
            names = self._families[row.family].labels
            labels = labels_of(names, decode_labels(names, row.labels), self._extra)
            found.setdefault(row.family, []).append((labels, row))
        return [
            (self._families[name], sorted(found[name], key=lambda each: each[0]))
            for name in sorted(found)
        ]

    @cached_property
    def _series(self) -> list[LedgerSeries]:
        counters = [
            name for name, each in self._families.items() if each.kind is MetricType.COUNTER
        ]
        mine = sa.select(*(series.c[name] for name in LedgerSeries._fields)).where(
            series.c.query_id.in_(self._by_id),
            series.c.state != "hidden",
            series.c.family.in_(counters),
        )
        with engine.reading(self._engine) as tx:
            return [LedgerSeries(*row) for row in tx.execute(mine)]

    def _room(self, past: PastQuery) -> Room:
        """Return the places that the target has left for series of a query."""
        spec = past.spec
        of_target = {each.id for each in self._by_id.values() if each.spec.target == spec.target}
        rows = [row for row in self._series if row.query_id in of_target]
        left = Counter(
            {TARGET: spec.target_cap - len(rows), ALL: spec.total_cap - len(self._series)}
        )
        for name, family in self._families.items():
            left[name] = spec.caps.get(name, family.cap)
        left.subtract(row.family for row in rows)
        known = {
            decode_series(self._families, row.family, row.labels)
            for row in rows
            if row.query_id == past.id
        }
        return Room(known, lambda: left)

    def _units(self, row: LedgerSeries) -> list[tuple[int, float]]:
        """Return the buckets of a series from before the ledger's past."""
        return self._older.units(*row.key) if self._older else []

    def _counter(self, family: Family, labels: Labels, row: LedgerSeries) -> PastSeries:
        past = self._by_id[row.query_id]
        units, retired = self._counted(past, row)
        older = counter_steps(self._units(row), past.spec.granularity_ms, past.known.start_ms)
        steps, start_ms = ledger_life(past, row, units, retired)
        shown = scaled(older + steps, family.per_unit)
        return PastSeries(family, labels, shown, past.known.end_ms, start_ms)

    def _counted(self, past: PastQuery, row: LedgerSeries) -> tuple[list[tuple[int, float]], float]:
        """Return the buckets (start, units) that a series' past shows, and the retired amount."""
        resumed_ms = past.known.end_ms - past.spec.granularity_ms + 1
        until_ms = resumed_ms if past.resumed else past.epoch_ms
        with engine.reading(self._engine) as tx:
            rows = tx.execute(LOADED, {"number": row.id, "until_ms": until_ms}).all()
            now = tx.execute(RETIRED, {"number": row.id}).one_or_none() or row
            _floor_ms(tx, past)
        units = [(r.start_ms, r.obs - r.base if past.counted else r.base) for r in rows]
        return units, past.retired_of(now)

    def _period(
        self, gauge: Family, key: tuple[int, str, Labels], members: list[LedgerSeries]
    ) -> PastSeries:
        query_id, name, labels = key
        past = self._by_id[query_id]
        sums: defaultdict[int, float] = defaultdict(float)
        older = chain.from_iterable(map(self._units, members))
        with engine.reading(self._engine) as tx:
            known = tx.execute(SUMS, {"numbers": [row.id for row in members]})
            for start_ms, units in chain(older, known):
                sums[start_ms] += units
            floor_ms = _floor_ms(tx, past)
        gaps = past.gaps
        if floor_ms > past.known.start_ms:  # hours were retired since
            gaps = (*gaps, Window(past.known.start_ms, floor_ms))
        steps = period_steps(sums, past.periods[name], past.spec.granularity_ms, gaps)
        return PastSeries(gauge, labels, scaled(steps, gauge.per_unit), past.known.end_ms)

    def _period_end(self, past: PastQuery, name: str) -> FoundSeries:
        own = (past.spec.provider, *past.spec.key, name)
        labels = labels_of(PERIOD_END.labels, own, self._extra)
        ends: Steps = [(at_ms, period.end_ms / SECOND_MS) for at_ms, period in past.periods[name]]
        return FoundSeries(labels, lambda: PastSeries(PERIOD_END, labels, ends, past.known.end_ms))

    def _judged(
        self, past: PastQuery, each: Series, hours: HourlyCounts, judged: Callable[[], Gauges]
    ) -> FoundSeries:
        family = self._families[each[0]]
        labels = labels_of(family.labels, each[1], self._extra)
        first_ms = hours.start_ms + HOUR_MS + past.spec.settle_ms

        def load() -> PastSeries:
            steps = gauge_steps(judged()[each], first_ms)
            return PastSeries(family, labels, steps, past.known.end_ms)

        return FoundSeries(labels, load)


def ledger_life(
    past: PastQuery, row: LedgerSeries, units: Sequence[tuple[int, float]], retired: float
) -> tuple[Steps, int | None]:
    """Return what the ledger's part of a counter shows, and when it was 0 (None: not known)."""
    if past.counted and row.history is None:  # the series began later
        return [], row.created_ms
    if past.older_ms is not None:  # the separate life shows what was retired earlier
        units = [(past.known.start_ms, retired - past.retired_of(row)), *units]
        retired = 0.0
    given = [each for each in units if each[1]]
    most = row.history if past.counted and row.history is not None else math.inf
    length_ms, seam_ms = past.spec.granularity_ms, past.known.end_ms
    steps = counter_steps(given, length_ms, seam_ms, begins=retired, most=most)
    if past.counted:
        return steps, row.created_ms
    return steps, steps[0][0] if steps and not retired else None


def _floor_ms(tx: sa.Connection, past: PastQuery) -> int:
    """Return where the ledger's past begins now; raise ``LedgerError`` if it was restarted."""
    row = tx.execute(BEGUN, {"query": past.id}).one()
    if row.epoch_ms != past.epoch_ms:
        raise LedgerError(f"{past.name}: its settings changed meanwhile; run the command again")
    return int(row.floor_ms)


def _until(past: PastQuery, hours: HourlyCounts) -> HourlyCounts:
    """Return the hours that had settled by the time the live series began."""
    number = max(0, past.known.end_ms - past.spec.settle_ms - hours.start_ms) // HOUR_MS
    return HourlyCounts(hours.start_ms, hours.counts[:number])


def _past_query(tx: sa.Connection, spec: QuerySpec) -> PastQuery | None:
    """Return the past of a query; None if it cannot have one, such as an event stream."""
    if spec.stream or spec.initial_lookback_ms is None:
        return None
    mine = (query.c.target == spec.target, query.c.name == spec.name, query.c.state == "active")
    row = tx.execute(sa.select(query).where(*mine)).one_or_none()
    if row is None or row.epoch_ms is None or row.floor_ms is None:
        return PastQuery(0, spec, problem="no successful poll yet")
    history = tx.execute(HISTORY, {"query": row.id}).one_or_none()
    if history is not None:
        days = math.ceil((history.until_ms - history.from_ms) / DAY_MS)
        said = f"its history is still being read, back to {stamp(history.until_ms)} so far"
        way_out = "try again later, or shorten initial_lookback to end it"
        return PastQuery(row.id, spec, problem=f"{said}, {days} days left; {way_out}")
    return _settled(tx, spec, row)


def _settled(tx: sa.Connection, spec: QuerySpec, row: sa.Row[Any]) -> PastQuery:
    gaps = tx.execute(sa.select(gap).where(gap.c.query_id == row.id)).all()
    created = sa.func.min(series.c.created_ms)
    found = sa.select(
        created,
        created.filter(series.c.history.is_(None)),
        sa.func.max(series.c.retired),
        sa.func.max(series.c.history),
    ).where(series.c.query_id == row.id)
    created_ms, began_ms, retired, joined = tx.execute(found).one()
    began_ms = row.epoch_ms if began_ms is None else min(began_ms, row.epoch_ms)
    # A series that the settings name shows 0 from the start, even before the first poll.
    resumed = (
        any(each.reason == "rebase" for each in gaps) or began_ms < row.state_ms < row.epoch_ms
    )
    if resumed and joined is not None:  # when they were first shown is no longer known
        began_ms = min(began_ms, created_ms)
    known = Window(min(row.floor_ms, began_ms), began_ms)
    return PastQuery(
        id=row.id,
        spec=spec,
        known=known,
        epoch_ms=row.epoch_ms,
        counted=row.start_mode == "history" or joined is not None,
        resumed=resumed,
        retired=bool(retired),
        gaps=tuple(Window(each.from_ms, each.to_ms) for each in gaps),
        periods=shown_periods(spec, known),
    )
