"""Reads the past before the ledger's own from the vendors; keeps it in a file until written."""

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from exporter.clock import Clock
from exporter.errors import LedgerError, ProviderError, Refused, SchemaError
from exporter.format import stamp
from exporter.http_client.client import ApiClient
from exporter.http_client.transport import Transport
from exporter.ledger.rows import encode_series
from exporter.ledger.rules import Room, past_window, place
from exporter.model.query import Past, PastMode, PollRequest, QueryKey, QuerySpec, Spend
from exporter.model.samples import Family, Reading, Window
from exporter.providers.base.plugin import Query, Target

TABLE = """
CREATE TABLE bucket (
    query INTEGER, family TEXT, labels TEXT, start_ms INTEGER, units REAL,
    PRIMARY KEY (query, family, labels, start_ms)
) WITHOUT ROWID
"""
ADD = """
INSERT INTO bucket VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET units = units + excluded.units
"""
UNITS = (
    "SELECT start_ms, units FROM bucket WHERE query = ? AND family = ? AND labels = ? "
    "ORDER BY start_ms"
)


@dataclass(frozen=True, slots=True)
class MissingPast:
    """The requested part of a query's past that the ledger lacks; ``room`` places its series."""

    query_id: int
    spec: QuerySpec
    window: Window
    room: Room

    def slices(self, now_ms: int) -> Iterator[Window]:
        """Yield the windows to read, newest first; only one for a query with a call budget."""
        past = Past(PastMode.BASELINE, self.window.start_ms, self.window.end_ms)
        while (window := past_window(self.spec, past, now_ms)).length_ms > 0:
            yield window
            past = replace(past, until_ms=window.start_ms)
            if self.spec.budget is not None:
                return

    def calls(self, now_ms: int) -> int:
        """Return how many calls reading it takes at least."""
        return sum(self.spec.cost.calls for _ in self.slices(now_ms))


class OlderBuckets:
    """Buckets older than the ledger's past, by query, family and labels (the ledger's JSON)."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("")  # a temporary file that SQLite deletes on close
        self._file.execute(TABLE)

    def close(self) -> None:
        """Delete the buckets."""
        self._file.close()

    def add(self, missing: MissingPast, families: Mapping[str, Family], reading: Reading) -> None:
        """Add the counts of a reading, with each series placed under the caps as in the ledger."""
        places = place(reading.counts, families, missing.room)
        texts = {each: encode_series(missing.spec, families, each) for each in places.values()}
        rows = [
            (missing.query_id, series[0], texts[places[series]], start_ms, units)
            for series, start_ms, units in reading.counts
            if units
        ]
        self._file.executemany(ADD, rows)

    def cut(self, query_id: int, start_ms: int) -> None:
        """Delete the buckets before ``start_ms``."""
        self._file.execute(
            "DELETE FROM bucket WHERE query = ? AND start_ms < ?", (query_id, start_ms)
        )

    def oldest_ms(self, query_id: int) -> int | None:
        """Return the start of the oldest bucket with a count; earlier counts are unknown."""
        asked = "SELECT min(start_ms) FROM bucket WHERE query = ?"
        oldest: int | None = self._file.execute(asked, (query_id,)).fetchone()[0]
        return oldest

    def series(self) -> list[tuple[int, str, str]]:
        """Return the query, family and labels of every series."""
        return self._file.execute("SELECT DISTINCT query, family, labels FROM bucket").fetchall()

    def units(self, query_id: int, family: str, labels: str) -> list[tuple[int, float]]:
        """Return the buckets of a series (start, units), oldest first."""
        return self._file.execute(UNITS, (query_id, family, labels)).fetchall()


@dataclass(frozen=True, slots=True)
class OlderReader:
    """Reads the missing past from the vendors, within their pacing and call budgets."""

    clock: Clock
    transport: Transport
    spend: Spend
    families: Mapping[str, Family]
    buckets: OlderBuckets

    async def read(
        self, targets: Sequence[Target], missing: Mapping[QueryKey, MissingPast]
    ) -> list[str]:
        """Read ``missing``, each target's queries one by one; return the problems.

        A vendor's past begins where it refuses older data.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._target(target, missing)) for target in targets]
        return [problem for task in tasks for problem in task.result()]

    async def _target(self, target: Target, missing: Mapping[QueryKey, MissingPast]) -> list[str]:
        api, problems = target.client(self.transport, self.clock), []
        for query in target.queries:
            if query.spec.key in missing:
                try:
                    await self._query(query, api, missing[query.spec.key])
                except (ProviderError, LedgerError) as error:
                    problems.append(f"{'/'.join(query.spec.key)}: {error}")
        return problems

    async def _query(self, query: Query, api: ApiClient, missing: MissingPast) -> None:
        for window in missing.slices(self.clock.now_ms()):
            try:
                await self._slice(query, api, missing, window)
            except Refused:
                self.buckets.cut(missing.query_id, window.end_ms)
                return

    async def _slice(
        self, query: Query, api: ApiClient, missing: MissingPast, window: Window
    ) -> None:
        spend = partial(self.spend, missing.spec.budget)
        request = PollRequest(window, self.clock.now_ms(), first=True, spend=spend)
        async with aclosing(query.read(api, request)) as readings:
            async for reading in readings:
                if reading.kept:  # without these families, their hours would show as 0
                    lacks, since = ", ".join(sorted(reading.kept)), stamp(reading.window.start_ms)
                    raise SchemaError(f"the answer lacks {lacks} from {since} on", "missing")
                self.buckets.add(missing, self.families, reading.within(window))
