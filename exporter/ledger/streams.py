"""Events of streams: each counts once, however often and in whatever order it is read (specification: streams.md).

A reading's new events are added to the hourly buckets of their series, so that counters and
period gauges come from the same rows as everywhere else.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import sqlalchemy as sa

from exporter.ledger import counters
from exporter.ledger.counters import LoadedSeries
from exporter.ledger.rows import ApplyInput, Counts
from exporter.ledger.rules import EMPTY, Bucket, Key, Merge
from exporter.ledger.tables import seen_event
from exporter.model.samples import HOUR_MS, CountRow, Event, Series, Window, floor_to

NEW_ID = "INSERT INTO seen_event (query_id, id, ts_ms, content) VALUES {} ON CONFLICT DO NOTHING"
INSERT: Mapping[str, str] = {
    "sqlite": NEW_ID.format("(?, ?, ?, ?)"),
    "postgresql": NEW_ID.format("(%s, %s, %s, %s)"),
}
AT_ONCE = 500
PRUNED_AT_ONCE = 5_000


def count(given: ApplyInput, loaded: LoadedSeries) -> tuple[Counts, list[Event]]:
    """Count the reading's events that were never seen; return self counts, and those events.

    Events before the query's epoch never count; their ids are kept like all others. Neither do
    events whose ids would be forgotten by now, which a clock that was set back may read again.
    """
    row, spec = given.query, given.spec
    newest_ms = _newest_ms(given)
    fresh, counts = _fresh(given)
    epoch_ms = 0 if spec.history else (row.epoch_ms or given.started_ms)
    oldest_ms = max(epoch_ms, newest_ms - spec.ids_kept_ms)
    counted = [event for event in fresh if event.at_ms >= oldest_ms]
    late = sum(event.at_ms < (row.watermark_ms or 0) for event in counted)
    counts += given.count_query("late_events_total", late, outcome="counted")
    ignored = len(fresh) - len(counted)
    counts += given.count_query("late_events_total", ignored, outcome="ignored")
    counts += _add(given, loaded, counted)
    # Measured from the newest event, too: a clock that was ahead moves the watermark, not events.
    pruned_ms = min(given.watermark_ms, newest_ms) - spec.ids_kept_ms
    _prune(given, pruned_ms, PRUNED_AT_ONCE + 2 * len(fresh))
    return counts, counted


def _fresh(given: ApplyInput) -> tuple[list[Event], Counts]:
    """Return the events whose ids are new, and keep those ids; the first of equal ids wins."""
    events = given.reading.events
    first: dict[bytes, Event] = {}
    other = 0
    for event in events:
        held = first.setdefault(event.digest, event)
        other += held.content != event.content
    known = _known_between(given, [event.at_ms for event in first.values()])
    fresh = [event for digest, event in first.items() if digest not in known]
    if _insert_ids(given, fresh) < len(fresh):
        known |= _known_at_another_time(given, fresh)
        fresh = [event for event in fresh if event.digest not in known]
    repeated = first.keys() & known.keys()
    other += sum(first[digest].content != known[digest] for digest in repeated)
    counts = given.count_query("duplicate_events_total", len(events) - len(fresh))
    return fresh, counts + given.count_query("schema_drift_total", other, kind="unexpected_type")


def _known_between(given: ApplyInput, instants: Sequence[int]) -> dict[bytes, int]:
    """Return the ids known in the stretch of time, with their checksums."""
    if not instants:
        return {}
    rows = given.tx.execute(
        sa.select(seen_event.c.id, seen_event.c.content)
        .where(seen_event.c.query_id == given.query.id)
        .where(seen_event.c.ts_ms >= min(instants), seen_event.c.ts_ms <= max(instants))
    )
    return {bytes(digest): content for digest, content in rows}


def _known_at_another_time(given: ApplyInput, wanted: Sequence[Event]) -> dict[bytes, int]:
    """Return which of these ids were there before, with another instant each."""
    known: dict[bytes, int] = {}
    at_ms = {event.digest: event.at_ms for event in wanted}
    for some in _batches(at_ms, AT_ONCE):
        rows = given.tx.execute(
            sa.select(seen_event.c.id, seen_event.c.ts_ms, seen_event.c.content).where(
                seen_event.c.query_id == given.query.id, seen_event.c.id.in_(some)
            )
        )
        known |= {bytes(id_): content for id_, ts_ms, content in rows if at_ms[bytes(id_)] != ts_ms}
    return known


def _insert_ids(given: ApplyInput, fresh: Sequence[Event]) -> int:
    """Keep the ids that are not there yet; return how many those were.

    Rows go to the driver as they are, in the order in which the table keeps them: there is one for
    each event, and what comes between costs more than to store them.
    """
    if not fresh:
        return 0
    number = given.query.id
    rows = sorted((number, event.digest, event.at_ms, event.content) for event in fresh)
    return given.tx.exec_driver_sql(INSERT[given.tx.dialect.name], rows).rowcount


def _newest_ms(given: ApplyInput) -> int:
    """Return the instant of the newest event whose id is kept; 0 if there is none."""
    newest = sa.select(sa.func.max(seen_event.c.ts_ms))
    mine = seen_event.c.query_id == given.query.id
    return given.tx.execute(newest.where(mine)).scalar() or 0


def _prune(given: ApplyInput, before_ms: int, most: int) -> None:
    """Drop ids that no read reaches back to any more."""
    mine = seen_event.c.query_id == given.query.id
    old = (
        sa.select(seen_event.c.id)
        .where(mine, seen_event.c.ts_ms < before_ms)
        .order_by(seen_event.c.ts_ms)
        .limit(most)
    )
    given.tx.execute(sa.delete(seen_event).where(mine, seen_event.c.id.in_(old)))


def _add(given: ApplyInput, loaded: LoadedSeries, counted: Sequence[Event]) -> Counts:
    """Add the events to the hourly buckets of their series."""
    placed, dropped = counters.place(given, loaded, _rows(counted))
    counts = given.count_dropped(dropped)
    if not placed.values:
        return counts
    loaded = counters.create_series(given, loaded, placed.new)
    more = placed.with_ids(loaded.ids)
    starts = [start_ms for _, start_ms in more]
    known = counters.load_buckets(given, Window(min(starts), max(starts) + 1))
    growth: Counter[int] = Counter()
    buckets: dict[Key, Bucket] = {}
    for key, value in more.items():
        obs, base = known.get(key, EMPTY)
        buckets[key] = Bucket(obs + value, base)
        growth[key[0]] += int(value)
    return counts + counters.write(given, loaded, known, Merge(buckets, growth))


def _rows(counted: Iterable[Event]) -> list[CountRow]:
    sums: Counter[tuple[tuple[Series, ...], int]] = Counter(
        (event.counts, floor_to(event.at_ms, HOUR_MS)) for event in counted
    )
    return [
        (each, hour_ms, number) for (counts, hour_ms), number in sums.items() for each in counts
    ]


def _batches(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
