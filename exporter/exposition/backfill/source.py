"""Reads the past of every series from the ledger, beside a running exporter, one by one."""

import math
import sys
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from exporter.engagement.hours import HourlyCounts
from exporter.errors import LedgerError
from exporter.exposition.backfill.engagement import gauges, steps
from exporter.exposition.backfill.past import (
    Labels,
    PastSeries,
    counter_steps,
    labels_of,
    period_steps,
    shown_periods,
)
from exporter.exposition.catalogue import period_gauge
from exporter.exposition.engagement import calendar_of
from exporter.format import stamp
from exporter.ledger import engine
from exporter.ledger.hours import MEASURES, read_hours
from exporter.ledger.rows import decode_labels
from exporter.ledger.tables import bucket, gap, query, series, slices
from exporter.model.query import QueryKey, QuerySpec, SliceMode
from exporter.model.samples import HOUR_MS, Family, MetricType, Window

Families = Iterator[tuple[Family, list["FoundSeries"]]]
"""Each family with its series, by labels."""
LOADED = sa.select(bucket.c.start_ms, bucket.c.base, bucket.c.obs).where(
    bucket.c.series_id == sa.bindparam("number"), bucket.c.start_ms < sa.bindparam("until_ms")
)
SUMS = (
    sa.select(bucket.c.start_ms, sa.func.sum(bucket.c.obs))
    .where(bucket.c.series_id.in_(sa.bindparam("numbers", expanding=True)))
    .group_by(bucket.c.start_ms)
)

NOWHERE = Window(0, 0)


class PastKind(Enum):
    """What is written."""

    COUNTERS = "counters"
    PERIODS = "period gauges"
    ENGAGEMENT = "engagement gauges"


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series that may have a past; to ``load`` it costs more than to find it."""

    labels: Labels
    load: Callable[[], PastSeries]


@dataclass(frozen=True, slots=True)
class PastQuery:
    """What is known of a query's past: ``known`` ends at the seam.

    ``counted``: its history counts (``start: history``), so the live counter goes on from there.
    ``resumed``: its series lived under an older meaning before the epoch, and what was read of that
    time belongs to no counter. ``problem`` says why nothing can be written of it.
    """

    id: int
    spec: QuerySpec
    known: Window = NOWHERE
    epoch_ms: int = 0
    counted: bool = False
    resumed: bool = False
    gaps: tuple[Window, ...] = ()
    problem: str = ""
    periods: Mapping[str, Sequence[tuple[int, Window]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return target and query."""
        return "/".join(self.spec.key)


class LedgerPast:
    """The past of the queries of ``specs``; ``extra`` labels are those that a server adds.

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
        with self._transaction() as tx:
            engine.check_schema(self._engine)
            found = [_past_query(tx, spec) for spec in specs.values()]
        self.queries = tuple(each for each in found if each is not None)
        self._by_id = {each.id: each for each in self.queries if not each.problem}

    def close(self) -> None:
        """Let go of the ledger."""
        self._engine.dispose()

    def families(self, kinds: Collection[PastKind]) -> Families:
        """Yield the families of ``kinds``, always in the same order."""
        if PastKind.COUNTERS in kinds:
            yield from self._counters()
        if PastKind.PERIODS in kinds:
            yield from self._periods()
        if PastKind.ENGAGEMENT in kinds:
            yield from self._engagement()

    def number(self, kinds: Collection[PastKind]) -> int:
        """Return how many series there may be at most."""
        return sum(len(found) for _, found in self.families(kinds))

    def _counters(self) -> Families:
        for family, rows in self._rows():
            yield family, [self._counter(family, labels, row) for labels, row in rows]

    def _periods(self) -> Families:
        for family, rows in self._rows():
            if not family.period:
                continue
            members: dict[tuple[int, str, Labels], list[int]] = {}
            kept = set(family.period_labels) | self._extra.keys()
            for labels, row in rows:
                if row.state != "live":
                    continue
                own = tuple(pair for pair in labels if pair[0] in kept)
                for name in self._by_id[row.query_id].periods:
                    shown = tuple(sorted((*own, ("period", name))))
                    members.setdefault((row.query_id, name, shown), []).append(row.id)
            gauge = period_gauge(family)
            by_labels = sorted(members, key=lambda key: key[2])
            yield gauge, [self._period(gauge, key, members[key]) for key in by_labels]

    def _engagement(self) -> Families:
        for name in sorted(self._judged):
            yield self._families[name], sorted(self._judged[name], key=lambda each: each.labels)

    @cached_property
    def _judged(self) -> dict[str, list[FoundSeries]]:
        """Return what expected engagement showed, by family; a bot takes about a second."""
        found: dict[str, list[FoundSeries]] = {}
        for past in self._by_id.values():
            spec = past.spec
            if spec.granularity_ms != HOUR_MS or not MEASURES.keys() & spec.fields.keys():
                continue
            with self._transaction() as tx:
                settled = read_hours(tx, spec, sys.maxsize)
            if settled is None:
                continue
            number = max(0, past.known.end_ms - spec.settle_ms - settled.start_ms) // HOUR_MS
            first_ms = settled.start_ms + HOUR_MS + spec.settle_ms
            for bot, counts in settled.bots.items():
                hours = HourlyCounts(settled.start_ms, counts[:number])
                for (name, values), shown in gauges(bot, hours, calendar_of(spec)).items():
                    family = self._families[name]
                    labels = labels_of(family.labels, values, self._extra)
                    each = _gauge(family, labels, shown, first_ms, past.known.end_ms)
                    found.setdefault(name, []).append(each)
        return found

    def _rows(self) -> Iterator[tuple[Family, list[tuple[Labels, sa.Row[Any]]]]]:
        columns = ("id", "query_id", "labels", "history", "retired", "state", "created_ms")
        mine = sa.select(*(series.c[name] for name in columns)).where(
            series.c.query_id.in_(self._by_id), series.c.state != "hidden"
        )
        names = sorted(
            name for name, each in self._families.items() if each.kind is MetricType.COUNTER
        )
        for name in names:
            family = self._families[name]
            with self._transaction() as tx:
                rows = tx.execute(mine.where(series.c.family == name)).all()
            labelled = [
                (
                    labels_of(family.labels, decode_labels(family.labels, row.labels), self._extra),
                    row,
                )
                for row in rows
            ]
            if labelled:
                yield family, sorted(labelled, key=lambda each: each[0])

    def _counter(self, family: Family, labels: Labels, row: sa.Row[Any]) -> FoundSeries:
        past = self._by_id[row.query_id]
        length_ms, seam_ms = past.spec.granularity_ms, past.known.end_ms

        def load() -> PastSeries:
            until_ms = seam_ms - length_ms + 1 if past.resumed else past.epoch_ms
            asked = {"number": row.id, "until_ms": until_ms}
            with self._transaction() as tx:
                rows = tx.execute(LOADED.order_by(bucket.c.start_ms), asked).all()
            units = [
                (each.start_ms, each.obs - each.base if past.counted else each.base)
                for each in rows
            ]
            if past.counted and row.history is None:  # it began later
                units = []
            steps = counter_steps(
                [each for each in units if each[1]],
                length_ms,
                seam_ms,
                begins=row.retired if past.counted else 0.0,
                most=row.history if past.counted and row.history is not None else math.inf,
            )
            start_ms = row.created_ms if past.counted else steps[0][0] if steps else None
            scaled = [(at_ms, (value or 0.0) / family.per_unit) for at_ms, value in steps]
            return PastSeries(family, labels, [*scaled], seam_ms, start_ms)

        return FoundSeries(labels, load)

    def _period(
        self, gauge: Family, key: tuple[int, str, Labels], members: list[int]
    ) -> FoundSeries:
        query_id, name, labels = key
        past = self._by_id[query_id]

        def load() -> PastSeries:
            with self._transaction() as tx:
                rows = tx.execute(SUMS, {"numbers": members})
                sums = {start_ms: total / gauge.per_unit for start_ms, total in rows}
            steps = period_steps(sums, past.periods[name], past.spec.granularity_ms, past.gaps)
            return PastSeries(gauge, labels, steps, past.known.end_ms)

        return FoundSeries(labels, load)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as tx:
                yield tx
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(f"the ledger cannot be read: {engine.cause(error)}") from error


def _gauge(
    family: Family, labels: Labels, values: "array[float]", first_ms: int, end_ms: int
) -> FoundSeries:
    def load() -> PastSeries:
        return PastSeries(family, labels, steps(values, first_ms), end_ms)

    return FoundSeries(labels, load)


def _past_query(tx: sa.Connection, spec: QuerySpec) -> PastQuery | None:
    """Return the past of a query that feeds buckets; None: it has none, as an event stream."""
    if spec.stream or spec.initial_lookback_ms is None:
        return None
    mine = (query.c.target == spec.target, query.c.name == spec.name, query.c.state == "active")
    row = tx.execute(sa.select(query).where(*mine)).one_or_none()
    if row is None or row.epoch_ms is None or row.floor_ms is None:
        return PastQuery(0, spec, problem="it was not polled yet")
    reading = sa.select(slices).where(slices.c.query_id == row.id)
    history = tx.execute(reading.where(slices.c.mode != SliceMode.AUDIT)).one_or_none()
    if history is not None:
        said = f"its history is still being read, back to {stamp(history.until_ms)} so far"
        return PastQuery(row.id, spec, problem=f"{said}: try again later")
    return _settled(tx, spec, row)


def _settled(tx: sa.Connection, spec: QuerySpec, row: sa.Row[Any]) -> PastQuery:
    gaps = tx.execute(sa.select(gap).where(gap.c.query_id == row.id)).all()
    began = sa.select(sa.func.min(series.c.created_ms)).where(
        series.c.query_id == row.id, series.c.history.is_(None)
    )
    began_ms = tx.execute(began).scalar()
    began_ms = row.epoch_ms if began_ms is None else min(began_ms, row.epoch_ms)
    # A series that the settings name shows 0 from the start on, also before the first poll.
    resumed = (
        any(each.reason == "rebase" for each in gaps) or began_ms < row.state_ms < row.epoch_ms
    )
    known = Window(min(row.floor_ms, began_ms), began_ms)
    return PastQuery(
        id=row.id,
        spec=spec,
        known=known,
        epoch_ms=row.epoch_ms,
        counted=row.start_mode == "history",
        resumed=resumed,
        gaps=tuple(Window(each.from_ms, each.to_ms) for each in gaps),
        periods=shown_periods(spec, known),
    )
