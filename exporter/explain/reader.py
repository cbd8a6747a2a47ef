"""Reads single series from the ledger, read only and without locks, beside a running exporter.

One transaction reads a query, so that the parts of an explanation belong together, and ends before
the next begins: SQLite cannot shorten its write-ahead log while somebody reads an older state.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from exporter.errors import LedgerError
from exporter.format import exact_sum
from exporter.ledger import engine
from exporter.ledger.rows import Shown, decode_labels, encode_labels
from exporter.ledger.rules import settled_day
from exporter.ledger.tables import bucket, gap, gauge, query, series
from exporter.ledger.view import read_view
from exporter.model.query import QuerySpec
from exporter.model.samples import HOUR_MS, Family, Window

REMOVED = "removed"
LIVE = "live"
EVERY = range(sys.maxsize)

Specs = Mapping[tuple[str, str], QuerySpec]
Wanted = Callable[[str, Mapping[str, str]], bool]
"""Says whether the series of a name with these labels is selected."""


class Phase(StrEnum):
    """How final a bucket is; unknown if its query was removed."""

    OPEN = "open"
    SETTLING = "settling"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ExplainedBucket:
    """One bucket: ``counted`` is ``provider`` less ``baseline``; ``revisions`` how often it changed."""

    start_ms: int
    end_ms: int
    phase: Phase
    provider: float
    baseline: float
    counted: float
    revisions: int


@dataclass(frozen=True, slots=True)
class ExplainedGap:
    """A stretch of time that nothing was counted of, and why."""

    start_ms: int
    end_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class CounterSum:
    """How a counter adds up.

    ``buckets + retired = truth``; ``truth + overhang + written_off = counter``. ``held`` is shown
    in place of the counter until a scrape has returned it.
    """

    buckets: float
    retired: float
    truth: float
    overhang: float
    written_off: float
    counter: float
    held: float | None = None

    def steps(self) -> list[tuple[str, float]]:
        """Return the lines of the sum, in the order in which they add up."""
        lines = [
            ("counted in buckets", self.buckets),
            ("+ retired", self.retired),
            ("= provider's values since the first poll", self.truth),
            ("+ overhang", self.overhang),
            ("+ written off", self.written_off),
            ("= counter", self.counter),
        ]
        return lines if self.held is None else [*lines, ("shown at first", self.held)]


@dataclass(frozen=True, slots=True)
class SourceQuery:
    """The query behind a series: when counting began, up to where data are settled, its gaps.

    ``spec`` is None for a query that the settings do not have any more.
    """

    target: str
    query: str
    provider: str
    spec: QuerySpec | None
    epoch_ms: int | None
    cursor_ms: int | None
    quarantined: bool
    gaps: tuple[ExplainedGap, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series as the ledger has it; ``exported`` is None where ``/metrics`` does not show it.

    A counter has a ``sum``, a period gauge the ``period`` whose buckets it sums up, any other gauge
    the instant its value describes. ``state`` is live, dormant, hidden or removed.
    """

    family: str
    labels: Mapping[str, str]
    source: SourceQuery
    exported: float | None
    state: str = LIVE
    sum: CounterSum | None = None
    buckets: tuple[ExplainedBucket, ...] = ()
    period: Window | None = None
    end_ms: int | None = None


Load = Callable[[], StoredSeries]
"""Reads what there is to know of a series that matches, which costs more than to find it."""


@dataclass(frozen=True, slots=True)
class Search:
    """What series are selected, of the queries of ``specs``, as they are at ``now_ms``.

    ``of`` says beforehand whether any series with a target's labels could be ``wanted``.
    """

    wanted: Wanted
    of: Callable[[Mapping[str, str]], bool]
    specs: Specs
    now_ms: int


class Reader:
    """Reads a ledger that another process may be writing. Raises ``LedgerError``."""

    def __init__(self, url: str, families: Mapping[str, Family]) -> None:
        self._families = families
        self._engine = engine.read_only(url)

    def close(self) -> None:
        """Let go of the ledger."""
        self._engine.dispose()

    def find(self, search: Search, page: range = EVERY) -> Iterator[StoredSeries | None]:
        """Yield the series that are selected, one after another, those of a query as of one instant.

        Of those whose number, from 0, is not in ``page``, only that there is one: None. What is in
        a page is read at once; ``EVERY`` series may be too many for that.
        """
        try:
            engine.check_schema(self._engine)
            with self._engine.begin() as tx:
                ids = tx.scalars(sa.select(query.c.id).order_by(query.c.target, query.c.name)).all()
            numbers = itertools.count()
            for query_id in ids:
                with self._engine.begin() as tx:
                    loads = _records(tx, query_id, self._families, search)
                    found = (load() if next(numbers) in page else None for load in loads)
                    if page is EVERY:
                        yield from found
                    part = [*found]
                yield from part
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or type(error).__name__
            raise LedgerError(f"the ledger cannot be read: {cause}") from error


def _records(
    tx: sa.Connection, query_id: int, families: Mapping[str, Family], search: Search
) -> Iterator[Load]:
    row = tx.execute(sa.select(query).where(query.c.id == query_id)).one_or_none()
    if row is None or not search.of({"target": row.target, "provider": row.provider}):
        return
    spec = search.specs.get((row.target, row.name)) if row.state == "active" else None
    shown: tuple[Shown, ...] = ()
    periods: Mapping[str, int] = {}
    if spec is not None:
        view = read_view(tx, spec, families, search.now_ms)
        shown, periods = view.shown, view.state.periods
    source = _source(tx, row, spec)
    series_of_query = _QuerySeries(
        tx, families, search.wanted, row.id, source, shown, periods, search.now_ms
    )
    yield from series_of_query.counters()
    yield from series_of_query.gauges()


def _source(tx: sa.Connection, row: sa.Row[Any], spec: QuerySpec | None) -> SourceQuery:
    gaps = tx.execute(
        sa.select(gap.c.from_ms, gap.c.to_ms, gap.c.reason)
        .where(gap.c.query_id == row.id)
        .order_by(gap.c.from_ms)
    )
    return SourceQuery(
        target=row.target,
        query=row.name,
        provider=row.provider,
        spec=spec,
        epoch_ms=row.epoch_ms,
        cursor_ms=row.cursor_ms,
        quarantined=row.quarantine > 0,
        gaps=tuple(ExplainedGap(each.from_ms, each.to_ms, each.reason) for each in gaps),
    )


@dataclass(frozen=True, slots=True)
class _QuerySeries:
    """One query while its series are looked at: what it shows, and the ends of shown periods."""

    tx: sa.Connection
    families: Mapping[str, Family]
    wanted: Wanted
    query_id: int
    source: SourceQuery
    shown: Sequence[Shown]
    periods: Mapping[str, int]
    now_ms: int

    def counters(self) -> Iterator[Load]:
        exported = {(each.family, each.labels): each.value for each in self.shown}
        mine = sa.select(series).where(series.c.query_id == self.query_id)
        for row in self.tx.execute(mine.order_by(series.c.family, series.c.labels)).all():
            family = self.families.get(row.family)
            if family is None:
                continue
            values = decode_labels(family.labels, row.labels)
            labels = dict(zip(family.labels, values, strict=True))
            if self.wanted(row.family, labels):
                yield partial(self._counter, row, labels, exported.get((row.family, values)))

    def _counter(
        self, row: sa.Row[Any], labels: Mapping[str, str], exported: float | None
    ) -> StoredSeries:
        unit = self.families[row.family].per_unit
        buckets = self._buckets([row.id], unit)
        counted = exact_sum(bucket.counted for bucket in buckets)
        retired = row.retired / unit
        return StoredSeries(
            family=row.family,
            labels=labels,
            source=self.source,
            exported=exported,
            state=REMOVED if self.source.spec is None else row.state,
            sum=CounterSum(
                buckets=counted,
                retired=retired,
                truth=exact_sum((counted, retired)),
                overhang=row.overhang / unit,
                written_off=row.written_off / unit,
                counter=row.c / unit,
                held=None if row.held is None else row.held / unit,
            ),
            buckets=buckets,
        )

    def gauges(self) -> Iterator[Load]:
        counted = {each.period_name: each for each in list(self.families.values()) if each.period}
        for each in self.shown:
            source = counted.get(each.family)
            names = source.period_labels if source else self.families[each.family].labels
            labels = dict(zip(names, each.labels, strict=True))
            if each.created_ms is not None or not self.wanted(each.family, labels):
                continue
            record = StoredSeries(each.family, labels, self.source, each.value)
            of_period = source and partial(self._of_period, record, source)
            yield of_period or partial(self._of_window, record)

    def _of_period(self, record: StoredSeries, family: Family) -> StoredSeries:
        name = record.labels["period"]
        zone = self.source.spec.timezone if self.source.spec else "UTC"
        end_ms = self.periods[name]
        period = settled_day(end_ms, zone) if name == "day" else Window(end_ms - HOUR_MS, end_ms)
        buckets = self._buckets(self._members(family, record.labels), family.per_unit, period)
        return replace(record, buckets=buckets, period=period)

    def _members(self, family: Family, labels: Mapping[str, str]) -> list[int]:
        """Return the counters that a period gauge sums: labels equal, except the aggregated ones."""
        rows = self.tx.execute(
            sa.select(series.c.id, series.c.labels).where(
                series.c.query_id == self.query_id,
                series.c.family == family.name,
                series.c.state == LIVE,
            )
        )
        alike = [name for name in family.labels if name in labels]
        return [
            row.id
            for row in rows
            for found in [msgspec.json.decode(row.labels, type=dict[str, str])]
            if all(found.get(name, "") == labels[name] for name in alike)
        ]

    def _of_window(self, record: StoredSeries) -> StoredSeries:
        names = self.families[record.family].labels
        text = encode_labels(names, tuple(record.labels.values()))
        end_ms = self.tx.scalar(
            sa.select(gauge.c.end_ms).where(
                gauge.c.query_id == self.query_id,
                gauge.c.family == record.family,
                gauge.c.labels == text,
            )
        )
        return replace(record, end_ms=end_ms)

    def _buckets(
        self, numbers: Sequence[int], unit: int, inside: Window | None = None
    ) -> tuple[ExplainedBucket, ...]:
        """Return the buckets of the series ``numbers`` summed by start, oldest first.

        ``unit`` is how many of what the ledger stores make one of what is exported.
        """
        columns = (bucket.c.obs, bucket.c.base, bucket.c.revised)
        mine = sa.select(bucket.c.start_ms, *map(sa.func.sum, columns))
        mine = mine.where(bucket.c.series_id.in_(numbers))
        if inside is not None:
            mine = mine.where(
                bucket.c.start_ms >= inside.start_ms, bucket.c.start_ms < inside.end_ms
            )
        rows = self.tx.execute(mine.group_by(bucket.c.start_ms).order_by(bucket.c.start_ms))
        return tuple(
            self._bucket(start_ms, (obs / unit, base / unit, (obs - base) / unit), revised)
            for start_ms, obs, base, revised in rows
        )

    def _bucket(
        self, start_ms: int, values: tuple[float, float, float], revised: int
    ) -> ExplainedBucket:
        spec = self.source.spec
        end_ms = start_ms + (spec.granularity_ms if spec else HOUR_MS)
        phase = _phase(end_ms, spec, self.now_ms)
        return ExplainedBucket(start_ms, end_ms, phase, *values, revised)


def _phase(end_ms: int, spec: QuerySpec | None, now_ms: int) -> Phase:
    if spec is None:
        return Phase.UNKNOWN
    if end_ms > now_ms:
        return Phase.OPEN
    return Phase.SETTLING if end_ms + spec.settle_ms > now_ms else Phase.SETTLED
