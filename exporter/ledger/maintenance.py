"""Maintenance: write-off by the clock, dormancy, retirement and pruning, in small batches."""

from collections.abc import Mapping
from itertools import chain, groupby

import sqlalchemy as sa

from exporter.ledger.counters import add_self_counts, advance_counters
from exporter.ledger.settings import retire_buckets
from exporter.ledger.slices import end_history
from exporter.ledger.streams import drop_ids
from exporter.ledger.tables import OF_QUERY, bucket, gauge, query, self_counter, series
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import DAY_MS, RETENTION_MS, SelfCount

BATCH_ROWS = 5_000
DELETE_AFTER_MS = 90 * DAY_MS
SHOWN_MS = 3 * DAY_MS  # may hold the newest settled day, shown until its gauge is withdrawn


def write_off_aged(
    tx: sa.Connection, specs: Mapping[QueryKey, QuerySpec], now_ms: int
) -> tuple[frozenset[QueryKey], dict[SelfCount, float]]:
    """Write off overhang that is old enough; return changed queries and the self counts added."""
    aged = (
        sa.select(series, query.c.target, query.c.name)
        .join(query, query.c.id == series.c.query_id)
        .where(series.c.overhang > 0, query.c.state == "active")
        .order_by(query.c.id)
        .with_for_update()
    )
    counts = {
        key: advance_counters(tx, specs[key], list(rows), {}, now_ms)
        for key, rows in groupby(tx.execute(aged).all(), lambda row: (row.target, row.name))
        if key in specs  # another replica may have newer settings
    }
    touched = frozenset(key for key, found in counts.items() if found)
    return touched, add_self_counts(tx, chain.from_iterable(counts.values()))


def mark_dormant(tx: sa.Connection, now_ms: int) -> frozenset[QueryKey]:
    """Hide series unchanged for ``RETENTION_MS`` from ``/metrics``; return their queries."""
    still = (series.c.state == "live") & (series.c.changed_ms <= now_ms - RETENTION_MS)
    gone = sa.update(series).where(still).values(state="dormant").returning(series.c.query_id)
    numbers = set(tx.execute(gone).scalars())
    keys = sa.select(query.c.target, query.c.name).where(query.c.id.in_(numbers))
    return frozenset((row.target, row.name) for row in tx.execute(keys))


def retire(tx: sa.Connection, spec: QuerySpec, now_ms: int, *, tight: bool = False) -> int:
    """Retire old buckets of an unclaimed query into one number per series; return about how many.

    If space is ``tight``, keep only what polls and gauges still read.
    """
    mine = sa.select(query).where(query.c.target == spec.target, query.c.name == spec.name)
    row = tx.execute(mine.with_for_update(skip_locked=True)).one_or_none()
    if row is None or row.cursor_ms is None or row.claim_expires_ms > now_ms:
        return 0
    still_read_ms = max(spec.lookback_ms + spec.granularity_ms, spec.settle_ms + SHOWN_MS)
    kept_ms = min(RETENTION_MS, still_read_ms) if tight else RETENTION_MS
    horizon_ms = max(spec.settle_ms + 2 * spec.granularity_ms, kept_ms, spec.reach_ms or 0)
    before_ms = min(now_ms - horizon_ms, row.cursor_ms)
    return _retire_oldest(tx, row.id, before_ms, spec.granularity_ms)


def _retire_oldest(tx: sa.Connection, query_id: int, before_ms: int, length_ms: int) -> int:
    mine = sa.select(series.c.id).where(series.c.query_id == query_id)
    old = sa.select(bucket.c.start_ms).where(
        bucket.c.series_id.in_(mine), bucket.c.start_ms < before_ms
    )
    starts = tx.execute(old.order_by(bucket.c.start_ms).limit(BATCH_ROWS)).scalars().all()
    if not starts:
        return 0
    retire_buckets(tx, series.c.query_id == query_id, starts[-1] + 1)
    next_ms = starts[-1] + length_ms  # the whole last bucket is gone now
    floor = sa.case((query.c.floor_ms > next_ms, query.c.floor_ms), else_=next_ms)
    tx.execute(sa.update(query).where(query.c.id == query_id).values(floor_ms=floor))
    end_history(tx, query_id)  # older buckets would be retired at once
    return len(starts)


def prune(tx: sa.Connection, now_ms: int) -> None:
    """Drop expired gauges."""
    tx.execute(sa.delete(gauge).where(gauge.c.expires_ms <= now_ms))


def delete_removed(tx: sa.Connection, now_ms: int) -> bool:
    """Delete one batch of a target removed long ago; return whether there may be more.

    Buckets are retired first, so the counters are right if the target comes back before the end.
    """
    gone = sa.select(query.c.id).where(
        query.c.state == "removed", query.c.state_ms <= now_ms - DELETE_AFTER_MS
    )
    query_id = tx.execute(gone.limit(1).with_for_update(skip_locked=True)).scalar()
    if query_id is None:
        return False
    if _retire_oldest(tx, query_id, now_ms, 1) or drop_ids(tx, query_id, BATCH_ROWS):
        return True
    for table in OF_QUERY:
        tx.execute(sa.delete(table).where(table.c.query_id == query_id))
    target = tx.execute(sa.delete(query).where(query.c.id == query_id).returning(query.c.target))
    mine = self_counter.c.target == target.scalar_one()
    others = sa.exists().where(query.c.target == self_counter.c.target)
    tx.execute(sa.delete(self_counter).where(mine, ~others))
    return True
