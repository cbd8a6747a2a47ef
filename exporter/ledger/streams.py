"""Counts each event of a stream once, however often and in whatever order it is read.

New events are added to the hourly buckets of their series (specification: streams.md).
"""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from exporter.ledger import counters, rules
from exporter.ledger.counters import LoadedSeries
from exporter.ledger.rows import ApplyInput, Counts
from exporter.ledger.rules import EMPTY, Bucket, Merge
from exporter.ledger.tables import placeholders, seen_event, set_query, upsert
from exporter.model.samples import HOUR_MS, LARGEST_EXACT, Event, Window, floor_to

AT_ONCE = 5_000


def count(given: ApplyInput, loaded: LoadedSeries) -> tuple[Counts, list[Event]]:
    """Count the reading's unseen events; return self counts, and the events counted.

    Events before the epoch, or from a time whose ids were already dropped, do not count.
    """
    row, spec = given.query, given.spec
    newest_ms = newest_event_ms(given.tx, row.id) or 0
    fresh, counts = _fresh(given)
    epoch_ms = 0 if spec.history else (row.epoch_ms or given.started_ms)
    # Ids may have been kept for a shorter time before.
    oldest_ms = max(epoch_ms, newest_ms - spec.ids_kept_ms, row.ids_from_ms or 0)
    counted = [event for event in fresh if event.at_ms >= oldest_ms]
    late = sum(event.at_ms < (row.watermark_ms or 0) for event in counted)
    counts += given.count_query("late_events_total", late, outcome="counted")
    ignored = len(fresh) - len(counted)
    counts += given.count_query("late_events_total", ignored, outcome="ignored")
    counts += _add(given, loaded, counted)
    # The newest event is a bound as well: a clock that was ahead moves only the watermark.
    pruned_ms = min(given.watermark_ms, newest_ms) - spec.ids_kept_ms
    if drop_ids(given.tx, row.id, AT_ONCE + 2 * len(fresh), pruned_ms):
        set_query(given.tx, row.id, ids_from_ms=max(row.ids_from_ms or 0, pruned_ms))
    return counts, counted


def _fresh(given: ApplyInput) -> tuple[list[Event], Counts]:
    """Return the events with new ids, and store those ids; the first of equal ids wins."""
    events = given.reading.events
    first: dict[bytes, Event] = {}
    other = 0
    for event in events:
        other += first.setdefault(event.digest, event).content != event.content
    known = _known(given, list(first))
    other += sum(first[digest].content != content for digest, content in known.items())
    fresh = [event for digest, event in first.items() if digest not in known]
    # Insert in the table's own order: there is one row per event.
    rows = sorted((given.query.id, event.digest, event.at_ms, event.content) for event in fresh)
    upsert(given.tx, seen_event, rows)
    counts = given.count_query("duplicate_events_total", len(events) - len(fresh))
    return fresh, counts + given.count_query("schema_drift_total", other, kind="unexpected_type")


def _known(given: ApplyInput, digests: Sequence[bytes]) -> dict[bytes, int]:
    """Return the ids among ``digests`` that were seen before, with their events' checksums."""
    known: dict[bytes, int] = {}
    for at in range(0, len(digests), AT_ONCE):
        some = (given.query.id, *digests[at : at + AT_ONCE])
        mark, *marks = placeholders(given.tx, len(some))
        wanted = f"SELECT id, content FROM seen_event WHERE query_id = {mark} AND id IN ({', '.join(marks)})"  # noqa: S608
        known |= {
            bytes(digest): content for digest, content in given.tx.exec_driver_sql(wanted, some)
        }
    return known


def drop_ids(tx: sa.Connection, query_id: int, most: int, before_ms: int = LARGEST_EXACT) -> int:
    """Delete up to ``most`` ids that no read reaches back to; return how many were deleted."""
    mine = seen_event.c.query_id == query_id
    old = sa.select(seen_event.c.id).where(mine, seen_event.c.ts_ms < before_ms)
    oldest = old.order_by(seen_event.c.ts_ms).limit(most)
    return tx.execute(sa.delete(seen_event).where(mine, seen_event.c.id.in_(oldest))).rowcount


def newest_event_ms(tx: sa.Connection, query_id: int) -> int | None:
    """Return the time of the newest event whose id is stored; None if there is none."""
    newest = sa.select(sa.func.max(seen_event.c.ts_ms))
    return tx.execute(newest.where(seen_event.c.query_id == query_id)).scalar()


def _add(given: ApplyInput, loaded: LoadedSeries, counted: Iterable[Event]) -> Counts:
    """Add the events to the hourly buckets of their series."""
    rows = [
        (each, floor_to(event.at_ms, HOUR_MS), 1.0) for event in counted for each in event.counts
    ]
    if not rows:
        return []
    room = counters.room(given, loaded)
    places = rules.place(rows, given.families, room)
    loaded = counters.create_series(given, loaded, places.values())
    more = rules.sum_counts(rows, places, loaded.ids)
    starts = [start_ms for _, start_ms in more]
    known = counters.load_buckets(given, Window(min(starts), max(starts) + 1))
    merged = Merge()
    for key, value in more.items():
        obs, base = known.get(key, EMPTY)
        merged.buckets[key] = Bucket(obs + value, base)
        merged.growth[key[0]] = merged.growth.get(key[0], 0.0) + value
    return given.count_dropped(room.dropped) + counters.write(given, loaded, merged)
