"""Corrects times written by a clock that was ahead (specification: schedule.md, Clock steps)."""

from typing import Any

import sqlalchemy as sa

from exporter.ledger.tables import bucket, gauge, query, seen_event, series, set_query, slices
from exporter.model.samples import DAY_MS

TOLERANCE_MS = 60_000
"""How far ahead a clock may be without a correction."""

_OF_POLLS = (
    query.c.state_ms,
    query.c.last_attempt_ms,
    query.c.last_read_ms,
    query.c.last_success_ms,
    query.c.watermark_ms,
)
_OF_SERIES = (
    series.c.created_ms,
    series.c.changed_ms,
    series.c.held_since_ms,
    series.c.overhang_since_ms,
)
_BEGIN_AGAIN = dict.fromkeys(("epoch_ms", "floor_ms", "cursor_ms", "watermark_ms", "last_read_ms"))


def queries_ahead(tx: sa.Connection, now_ms: int) -> list[int]:
    """Return the queries of all targets that have a poll dated in the future.

    The target's other queries are included: a provider's wish for quiet may have postponed them.
    """
    ahead = sa.or_(*[column > now_ms + TOLERANCE_MS for column in _OF_POLLS])
    targets = sa.select(query.c.target).where(ahead)
    return list(tx.execute(sa.select(query.c.id).where(query.c.target.in_(targets))).scalars())


def correct(tx: sa.Connection, query_id: int, now_ms: int) -> None:
    """Make the query due and set times in the future to ``now_ms``; no counter moves.

    Gauges of the future are withdrawn, since they would expire late and hold back newer ones.
    It is read again from where it last counted; event ids and bucket values prevent counting twice.
    A query whose first poll is in the future and that has counted nothing since begins again.
    """
    row = tx.execute(sa.select(query).where(query.c.id == query_id).with_for_update()).one()
    columns: dict[str, Any] = {
        column.name: sa.case((column > now_ms, now_ms), else_=column) for column in _OF_POLLS
    }
    newest_ms = _newest_count_ms(tx, query_id)
    if row.cursor_ms is not None and row.cursor_ms > now_ms:
        columns["cursor_ms"] = min(now_ms, newest_ms or now_ms)
    counted = newest_ms is not None or _has_events(tx, query_id, row.epoch_ms)
    if row.epoch_ms is not None and row.epoch_ms > now_ms and not counted:
        columns |= _BEGIN_AGAIN | {"memo": "{}"}
        tx.execute(sa.delete(slices).where(slices.c.query_id == query_id))
    set_query(tx, query_id, next_poll_ms=now_ms, **columns)
    late = (slices.c.query_id == query_id) & (slices.c.next_ms > now_ms + DAY_MS)
    tx.execute(sa.update(slices).where(late).values(next_ms=now_ms + DAY_MS))
    ahead = (gauge.c.query_id == query_id) & (gauge.c.end_ms > now_ms)
    tx.execute(sa.delete(gauge).where(ahead))
    for column in _OF_SERIES:
        mine = (series.c.query_id == query_id) & (column > now_ms)
        tx.execute(sa.update(series).where(mine).values({column: now_ms}))


def _newest_count_ms(tx: sa.Connection, query_id: int) -> int | None:
    newest = (
        sa.select(sa.func.max(bucket.c.start_ms))
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == query_id, bucket.c.obs > 0)
    )
    return tx.execute(newest).scalar()


def _has_events(tx: sa.Connection, query_id: int, epoch_ms: int | None) -> bool:
    """Return whether there are events since the epoch, in which case the epoch was right."""
    since = sa.select(seen_event.c.id).where(
        seen_event.c.query_id == query_id, seen_event.c.ts_ms >= (epoch_ms or 0)
    )
    return tx.execute(since.limit(1)).first() is not None
