"""Compares vendor and ledger by day and family, without writing anything.

The ledger may belong to a running exporter. Only settled hours from the floor on are compared, so
none that the exporter changes meanwhile.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa

from exporter.clock import Clock
from exporter.errors import LedgerError, ProviderError
from exporter.format import DAY, stamp
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.ledger import engine
from exporter.ledger.rules import reach_start_ms
from exporter.ledger.tables import bucket, query, series
from exporter.model.query import PollRequest, QuerySpec, Spend
from exporter.model.samples import DAY_MS, RETENTION_MS, Reading, Window, ceil_to, floor_to
from exporter.providers.base.plugin import Query, Target

Sums: TypeAlias = "defaultdict[tuple[str, int], float]"
"""Sums by family and start of the UTC day."""


@dataclass(frozen=True, slots=True)
class ComparedDay:
    """What vendor and ledger have for one family on one UTC day (``2026-03-01``)."""

    target: str
    query: str
    day: str
    family: str
    vendor: float
    ledger: float

    @property
    def difference(self) -> float:
        """Return how much more the vendor has."""
        return self.vendor - self.ledger


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparison of one query; ``problem`` is why it is missing or incomplete."""

    target: str
    query: str
    days: tuple[ComparedDay, ...] = ()
    problem: str = ""

    @property
    def good(self) -> bool:
        """Return whether everything was compared and is equal."""
        return not self.problem and not any(day.difference for day in self.days)


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares targets with the ledger, between ``from_ms`` and ``until_ms`` if given.

    Raises ``LedgerError``.
    """

    ledger: sa.Engine
    clock: Clock
    transport: Transport
    spend: Spend
    from_ms: int | None = None
    until_ms: int | None = None

    async def compare(self, targets: Sequence[Target]) -> list[Agreement]:
        """Compare the queries of ``targets``, one after another within a target."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._target(each)) for each in targets]
        return [found for task in tasks for found in task.result()]

    async def _target(self, target: Target) -> list[Agreement]:
        api = target.client(self.transport, self.clock)
        bucketed = [each for each in target.queries if each.spec.initial_lookback_ms is not None]
        return [await self._query(each, api) for each in bucketed]

    async def _query(self, asked: Query, api: ApiClient) -> Agreement:
        spec, own = asked.spec, asked.spec.key
        vendor: Sums = defaultdict(float)
        ledger: Sums = defaultdict(float)
        problem = ""
        now_ms = self.clock.now_ms()
        try:
            window = self._window(spec)
            if window is None:
                return Agreement(*own, problem="no settled data for that time")
            request = PollRequest(window, now_ms, spend=lambda: self.spend(spec.budget))
            async with aclosing(asked.read(api, request)) as each:
                async for reading in each:
                    self._add(reading.within(window), spec, vendor, ledger)
        except (ProviderError, LedgerError) as error:
            problem = str(error)
        return Agreement(*own, _days(spec, vendor, ledger), problem)

    def _window(self, spec: QuerySpec) -> Window | None:
        known, now_ms = self._known(spec), self.clock.now_ms()
        if known is None:
            return None
        from_ms = now_ms - RETENTION_MS if self.from_ms is None else self.from_ms
        until_ms = known.end_ms if self.until_ms is None else min(known.end_ms, self.until_ms)
        start_ms = ceil_to(from_ms, spec.granularity_ms)
        start_ms = max(start_ms, known.start_ms, reach_start_ms(spec, now_ms))
        return Window(start_ms, until_ms) if start_ms < until_ms else None

    def _add(self, reading: Reading, spec: QuerySpec, vendor: Sums, ledger: Sums) -> None:
        counted = ((series[0], start_ms, value) for series, start_ms, value in reading.counts)
        _add_days(vendor, counted)
        known = self._buckets(spec, reading.window)
        there = (row for row in known if row.start_ms not in reading.absent)
        _add_days(ledger, (row for row in there if row.family not in reading.kept))

    def _known(self, spec: QuerySpec) -> Window | None:
        """Return the window in which the query's hours are known and settled; None if empty."""
        found = self._rows(
            sa.select(query.c.floor_ms, query.c.cursor_ms).where(
                query.c.target == spec.target, query.c.name == spec.name, query.c.epoch_ms > 0
            )
        )
        step_ms = spec.granularity_ms
        for row in found:
            return Window(ceil_to(row.floor_ms, step_ms), floor_to(row.cursor_ms, step_ms))
        return None

    def _buckets(self, spec: QuerySpec, window: Window) -> Sequence[sa.Row[Any]]:
        """Return the family, start and sum of the query's buckets in ``window``."""
        return self._rows(
            sa.select(series.c.family, bucket.c.start_ms, sa.func.sum(bucket.c.obs))
            .join(series, series.c.id == bucket.c.series_id)
            .join(query, query.c.id == series.c.query_id)
            .where(query.c.target == spec.target, query.c.name == spec.name)
            .where(bucket.c.start_ms >= window.start_ms, bucket.c.start_ms < window.end_ms)
            .group_by(series.c.family, bucket.c.start_ms)
        )

    def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with engine.reading(self.ledger) as tx:
            engine.check_schema(self.ledger)
            return tx.execute(statement).all()


def _add_days(sums: Sums, rows: Iterable[Any]) -> None:
    for family, start_ms, value in rows:
        sums[family, floor_to(start_ms, DAY_MS)] += value


def _days(spec: QuerySpec, vendor: Sums, ledger: Sums) -> tuple[ComparedDay, ...]:
    found = []
    for family, at_ms in sorted({*vendor, *ledger}, key=lambda key: key[::-1]):
        both = [sums[family, at_ms] / spec.per_unit.get(family, 1) for sums in (vendor, ledger)]
        found.append(ComparedDay(*spec.key, stamp(at_ms, DAY), family, *both))
    return tuple(found)
