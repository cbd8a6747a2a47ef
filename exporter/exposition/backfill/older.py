"""The past before the ledger's own: read from the vendors, and kept in a file until it is written."""

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
    """What of a query's past is asked for and not in the ledger; ``room`` is for its series."""

    query_id: int
    spec: QuerySpec
    window: Window
    room: Room

    def slices(self, now_ms: int) -> Iterator[Window]:
        """Yield what is read at once, newest first; one part from a call budget."""
        past = Past(PastMode.BASELINE, self.window.start_ms, self.window.end_ms)
        while (window := past_window(self.spec, past, now_ms)).length_ms > 0:
            yield window
            past = replace(past, until_ms=window.start_ms)
            if self.spec.budget is not None:
                return

    def calls(self, now_ms: int) -> int:
        """Return how many calls it takes at least."""
        return sum(self.spec.cost.calls for _ in self.slices(now_ms))


class OlderBuckets:
    """Buckets from before the ledger's, by query, family and labels (JSON, as in the ledger)."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("")  # a file of SQLite's own, which ends with the connection
        self._file.execute(TABLE)

    def close(self) -> None:
        """Delete them."""
        self._file.close()

    def add(self, missing: MissingPast, families: Mapping[str, Family], reading: Reading) -> None:
        """Add what a reading counts; a series has its place as in the ledger."""
        places = place(reading.counts, families, missing.room)
        texts = {each: encode_series(missing.spec, families, each) for each in places.values()}
        rows = [
            (missing.query_id, series[0], texts[places[series]], start_ms, units)
            for series, start_ms, units in reading.counts
            if units
        ]
        self._file.executemany(ADD, rows)

    def cut(self, query_id: int, start_ms: int) -> None:
        """Forget what is before ``start_ms``."""
        self._file.execute(
            "DELETE FROM bucket WHERE query = ? AND start_ms < ?", (query_id, start_ms)
        )

    def oldest_ms(self, query_id: int) -> int | None:
        """Return the oldest bucket with a count; what is before that is not known."""
        asked = "SELECT min(start_ms) FROM bucket WHERE query = ?"
        oldest: int | None = self._file.execute(asked, (query_id,)).fetchone()[0]
        return oldest

    def series(self) -> list[tuple[int, str, str]]:
        """Return query, family and labels of every series."""
        return self._file.execute("SELECT DISTINCT query, family, labels FROM bucket").fetchall()

    def units(self, query_id: int, family: str, labels: str) -> list[tuple[int, float]]:
        """Return the buckets of a series, oldest first: start and units."""
        return self._file.execute(UNITS, (query_id, family, labels)).fetchall()


@dataclass(frozen=True, slots=True)
class OlderReader:
    """Reads what is missing from the vendors, with their pacing and call budgets."""

    clock: Clock
    transport: Transport
    spend: Spend
    families: Mapping[str, Family]
    buckets: OlderBuckets

    async def read(
        self, targets: Sequence[Target], missing: Mapping[QueryKey, MissingPast]
    ) -> list[str]:
        """Return why some of it could not be read; one query of a target after another.

        Where a vendor refuses what is so old, its past begins there.
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
                if reading.kept:  # to leave it out would count nothing there
                    lacks, since = ", ".join(sorted(reading.kept)), stamp(reading.window.start_ms)
                    raise SchemaError(f"the answer lacks {lacks} from {since} on", "missing")
                self.buckets.add(missing, self.families, reading.within(window))
