"""Maintenance: write-off by the clock, dormancy, retirement and pruning, in small batches."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from exporter.ledger import rules
from exporter.ledger.counters import UPDATE_STATE, add_self_counts, state_columns, state_of
from exporter.ledger.tables import bucket, gap, gauge, query, seen_event, series, sketch
from exporter.model.query import QuerySpec
from exporter.model.samples import DAY_MS, SelfCount

BATCH_ROWS = 5_000
SERIES_TTL_MS = 35 * DAY_MS
HORIZON_MS = 35 * DAY_MS
FORGET_AFTER_MS = 90 * DAY_MS
SHOWN_MS = 3 * DAY_MS  # of which the newest settled day is shown, or its withdrawal is waited for


def write_off_aged(
    tx: sa.Connection, specs: Mapping[tuple[str, str], QuerySpec], now_ms: int
) -> tuple[frozenset[tuple[str, str]], dict[SelfCount, float]]:
    """Write off overhang that is old enough; return the queries touched and what to count."""
    rows = tx.execute(
        sa.select(series, query.c.target, query.c.name)
        .join(query, query.c.id == series.c.query_id)
        .where(series.c.overhang > 0, query.c.state == "active")
    ).all()
    updates, touched = [], set()
    counted: dict[SelfCount, float] = {}
    for row in rows:
        spec = specs[row.target, row.name]
        before = state_of(row)
        after = rules.advance(before, 0.0, now_ms, spec.write_off_after_ms)
        if after == before:
            continue
        updates.append(state_columns(row, after, now_ms, moved=False))
        touched.add(spec.key)
        labels = (("family", row.family), ("provider", spec.provider), ("target", spec.target))
        name = ("chatbot_exporter_written_off_total", labels)
        counted[name] = counted.get(name, 0.0) + after.written_off - before.written_off
    if updates:
        tx.execute(UPDATE_STATE, updates)
    add_self_counts(tx, counted)
    return frozenset(touched), counted


def mark_dormant(tx: sa.Connection, now_ms: int) -> frozenset[tuple[str, str]]:
    """Take series without change for ``SERIES_TTL_MS`` off ``/metrics``; return their queries."""
    still = (series.c.state == "live") & (series.c.changed_ms <= now_ms - SERIES_TTL_MS)
    keys = tx.execute(
        sa.select(query.c.target, query.c.name)
        .join(series, series.c.query_id == query.c.id)
        .where(still)
        .distinct()
    ).all()
    tx.execute(sa.update(series).where(still).values(state="dormant"))
    return frozenset((row.target, row.name) for row in keys)


def retire(tx: sa.Connection, spec: QuerySpec, now_ms: int, *, tight: bool = False) -> int:
    """Retire old buckets of an unclaimed query into one number a series; return how many.

    A bucket is old when it is past the horizon and the cursor; the counter does not move. Where
    room is ``tight``, only what polls and gauges still read is young.
    """
    row = tx.execute(
        sa.select(query).where(query.c.target == spec.target, query.c.name == spec.name)
    ).one_or_none()
    if row is None or row.cursor_ms is None or row.claim_expires_ms > now_ms:
        return 0
    kept_ms = min(HORIZON_MS, _still_read_ms(spec)) if tight else HORIZON_MS
    horizon_ms = max(spec.settle_ms + 2 * spec.granularity_ms, kept_ms, spec.reach_ms or 0)
    before_ms = min(now_ms - horizon_ms, row.cursor_ms)
    return _retire_oldest(tx, row.id, before_ms)


def _still_read_ms(spec: QuerySpec) -> int:
    return max(spec.lookback_ms + spec.granularity_ms, spec.settle_ms + SHOWN_MS)


def _retire_oldest(tx: sa.Connection, query_id: int, before_ms: int) -> int:
    old = (
        sa.select(bucket.c.series_id, bucket.c.start_ms, bucket.c.obs, bucket.c.base)
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == query_id, bucket.c.start_ms < before_ms)
        .order_by(bucket.c.start_ms)
        .limit(BATCH_ROWS)
    )
    rows = [tuple(found) for found in tx.execute(old)]
    if rows:
        _retire_rows(tx, query_id, rows)
    return len(rows)


def _retire_rows(
    tx: sa.Connection, query_id: int, rows: Sequence[tuple[int, int, float, float]]
) -> None:
    sums: dict[int, float] = {}
    for number, _, obs, base in rows:
        sums[number] = sums.get(number, 0.0) + obs - base
    tx.execute(
        sa.update(series)
        .where(series.c.id == sa.bindparam("s_id"))
        .values(retired=series.c.retired + sa.bindparam("more")),
        [{"s_id": number, "more": more} for number, more in sums.items()],
    )
    tx.execute(
        sa.delete(bucket)
        .where(bucket.c.series_id == sa.bindparam("b_series"))
        .where(bucket.c.start_ms == sa.bindparam("b_start")),
        [{"b_series": number, "b_start": start_ms} for number, start_ms, _, _ in rows],
    )
    newest = rows[-1][1] + 1
    floor = sa.case((query.c.floor_ms > newest, query.c.floor_ms), else_=newest)
    tx.execute(sa.update(query).where(query.c.id == query_id).values(floor_ms=floor))


def prune(tx: sa.Connection, now_ms: int) -> None:
    """Drop expired gauges."""
    tx.execute(sa.delete(gauge).where(gauge.c.expires_ms <= now_ms))


def delete_removed(tx: sa.Connection, now_ms: int) -> bool:
    """Delete one batch of a target removed long ago; say whether there may be more.

    Buckets are retired first, so that its counters are right whenever the target comes back.
    """
    gone = sa.select(query.c.id).where(
        query.c.state == "removed", query.c.state_ms <= now_ms - FORGET_AFTER_MS
    )
    query_id = tx.execute(gone.limit(1)).scalar()
    if query_id is None:
        return False
    if _retire_oldest(tx, query_id, now_ms) or _drop_ids(tx, query_id):
        return True
    for table in (series, gauge, gap, sketch):
        tx.execute(sa.delete(table).where(table.c.query_id == query_id))
    tx.execute(sa.delete(query).where(query.c.id == query_id))
    return True


def _drop_ids(tx: sa.Connection, query_id: int) -> int:
    mine = seen_event.c.query_id == query_id
    some = sa.select(seen_event.c.id).where(mine).limit(BATCH_ROWS)
    return tx.execute(sa.delete(seen_event).where(mine, seen_event.c.id.in_(some))).rowcount
