"""Events of streams: each counts once, however often and in whatever order it is read (B.8).

A reading's new events are added to the hourly buckets of their series, so that counters and
period gauges come from the same rows as everywhere else.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import sqlalchemy as sa

from exporter.ledger import buckets, counters
from exporter.ledger.rules import Bucket, Key, Merge
from exporter.ledger.tables import bucket, seen_event, series
from exporter.ledger.work import Work
from exporter.model.samples import HOUR_MS, CountRow, Event, Series, floor_to

NEW_ID = "INSERT INTO seen_event (query_id, id, ts_ms, content) VALUES {} ON CONFLICT DO NOTHING"
INSERT: Mapping[str, str] = {
    "sqlite": NEW_ID.format("(?, ?, ?, ?)"),
    "postgresql": NEW_ID.format("(%s, %s, %s, %s)"),
}
AT_ONCE = 500
PRUNED_AT_ONCE = 5_000


def count(work: Work, row: sa.Row[Any]) -> list[Event]:
    """Count the reading's events that were never seen; return them.

    What is stamped before the query's epoch never counts, and is remembered like the rest.
    """
    fresh = _fresh(work)
    epoch_ms = 0 if work.spec.history else (row.epoch_ms or work.started_ms)
    counted = [event for event in fresh if event.at_ms >= epoch_ms]
    late = sum(event.at_ms < (row.watermark_ms or 0) for event in counted)
    work.count_query("late_events_total", late, outcome="counted")
    work.count_query("late_events_total", len(fresh) - len(counted), outcome="ignored")
    _add(work, counted)
    watermark_ms = max(row.watermark_ms or 0, work.reading.watermark_ms or 0)
    _forget(work, watermark_ms - work.spec.ids_kept_ms, PRUNED_AT_ONCE + 2 * len(fresh))
    return counted


def _fresh(work: Work) -> list[Event]:
    """Return the events whose ids are new, and remember those; the first of equal ids wins."""
    first: dict[bytes, Event] = {}
    other = 0
    for event in work.reading.events:
        held = first.setdefault(event.digest, event)
        other += held.content != event.content
    known = _known_between(work, [event.at_ms for event in first.values()])
    fresh = [event for digest, event in first.items() if digest not in known]
    if _remember(work, fresh) < len(fresh):
        known |= _known_at_another_time(work, fresh)
        fresh = [event for event in fresh if event.digest not in known]
    repeated = first.keys() & known.keys()
    other += sum(first[digest].content != known[digest] for digest in repeated)
    work.count_query("duplicate_events_total", len(work.reading.events) - len(fresh))
    work.count_query("schema_drift_total", other, kind="unexpected_type")
    return fresh


def _known_between(work: Work, instants: Sequence[int]) -> dict[bytes, int]:
    """Return the ids known in the stretch of time, with their checksums."""
    if not instants:
        return {}
    rows = work.tx.execute(
        sa.select(seen_event.c.id, seen_event.c.content)
        .where(seen_event.c.query_id == work.claim.query_id)
        .where(seen_event.c.ts_ms >= min(instants), seen_event.c.ts_ms <= max(instants))
    )
    return {bytes(digest): content for digest, content in rows}


def _known_at_another_time(work: Work, asked: Sequence[Event]) -> dict[bytes, int]:
    """Return which of these ids were there before, with another instant each."""
    known: dict[bytes, int] = {}
    at_ms = {event.digest: event.at_ms for event in asked}
    for some in _batches(at_ms, AT_ONCE):
        rows = work.tx.execute(
            sa.select(seen_event.c.id, seen_event.c.ts_ms, seen_event.c.content).where(
                seen_event.c.query_id == work.claim.query_id, seen_event.c.id.in_(some)
            )
        )
        known |= {bytes(id_): content for id_, ts_ms, content in rows if at_ms[bytes(id_)] != ts_ms}
    return known


def _remember(work: Work, fresh: Sequence[Event]) -> int:
    """Keep the ids that are not there yet; return how many those were.

    Rows go to the driver as they are, in the order in which the table keeps them: there is one for
    each event, and what comes between costs more than to store them.
    """
    if not fresh:
        return 0
    number = work.claim.query_id
    rows = sorted((number, event.digest, event.at_ms, event.content) for event in fresh)
    return work.tx.exec_driver_sql(INSERT[work.tx.dialect.name], rows).rowcount


def _forget(work: Work, before_ms: int, most: int) -> None:
    """Drop ids that no read reaches back to any more."""
    mine = seen_event.c.query_id == work.claim.query_id
    old = (
        sa.select(seen_event.c.id)
        .where(mine, seen_event.c.ts_ms < before_ms)
        .order_by(seen_event.c.ts_ms)
        .limit(most)
    )
    work.tx.execute(sa.delete(seen_event).where(mine, seen_event.c.id.in_(old)))


def _add(work: Work, counted: Sequence[Event]) -> None:
    rows = _rows(counted)
    known = counters.known(work)
    told = replace(work, reading=replace(work.reading, counts=rows))
    folded = counters.fold(told, known)
    created, _ = counters.create(work, folded.keys() - known.keys())
    ids = known | created
    figures = buckets.by_number(folded, ids, None)
    more = buckets.flat(figures, figures)
    if more:
        before = _load(work, more)
        after = {key: _grown(before.get(key), value) for key, value in more.items()}
        growth: Counter[int] = Counter()
        for (number, _), value in more.items():
            growth[number] += int(value)
        buckets.write(work, before, Merge(after, dict(growth)))
        counters.write(work, Merge(after, dict(growth)), forgive=False)


def _rows(counted: Iterable[Event]) -> list[CountRow]:
    sums: Counter[tuple[tuple[Series, ...], int]] = Counter(
        (event.counts, floor_to(event.at_ms, HOUR_MS)) for event in counted
    )
    return [
        (each, hour_ms, number) for (counts, hour_ms), number in sums.items() for each in counts
    ]


def _load(work: Work, keys: Mapping[Key, float]) -> dict[Key, Bucket]:
    starts = [start_ms for _, start_ms in keys]
    rows = work.tx.execute(
        sa.select(bucket.c.series_id, bucket.c.start_ms, bucket.c.obs, bucket.c.base)
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == work.claim.query_id)
        .where(bucket.c.start_ms >= min(starts), bucket.c.start_ms <= max(starts))
    )
    found = {(row[0], row[1]): Bucket(row[2], row[3]) for row in rows}
    return {key: value for key, value in found.items() if key in keys}


def _grown(old: Bucket | None, more: float) -> Bucket:
    before = old or Bucket(0.0)
    return Bucket(before.obs + more, before.base)


def _batches(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
