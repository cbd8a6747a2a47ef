"""Corrects times written by a clock that was ahead (specification: schedule.md, Clock steps)."""

from typing import Any

import msgspec
import sqlalchemy as sa

from exporter.ledger.rows import unread_since
from exporter.ledger.streams import newest_event_ms
from exporter.ledger.tables import bucket, gap, gauge, query, series, set_query, slices
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
_OF_SLICES = slices.c.from_ms, slices.c.until_ms, slices.c.hole_ms
_BEGIN_AGAIN = dict.fromkeys(
    ("epoch_ms", "floor_ms", "cursor_ms", "watermark_ms", "last_read_ms")
) | {"memo": "{}", "unread": "{}"}


def queries_ahead(tx: sa.Connection, now_ms: int) -> list[int]:
    """Return the queries of all targets that have a poll dated in the future.

    The target's other queries are included: a provider's wish for quiet may have postponed them.
    """
    instants = *_OF_POLLS, query.c.ids_from_ms
    ahead = sa.or_(*[column > now_ms + TOLERANCE_MS for column in instants])
    targets = sa.select(query.c.target).where(ahead)
    return list(tx.execute(sa.select(query.c.id).where(query.c.target.in_(targets))).scalars())


def correct(tx: sa.Connection, query_id: int, now_ms: int) -> None:
    """Make the query due and set times in the future to ``now_ms``; no counter moves.

    Gauges of the future are withdrawn, since they would expire late and hold back newer ones.
    It is read again from where it last counted; event ids and bucket values prevent counting twice.
    A query whose first poll is in the future and that has counted nothing since begins again.
    """
    row = tx.execute(sa.select(query).where(query.c.id == query_id).with_for_update()).one()
    newest_ms, event_ms = _newest_count_ms(tx, query_id), newest_event_ms(tx, query_id)
    reached = _reached(row, newest_ms, event_ms, now_ms)
    read_ms = min(
        (reached[name] for name in ("cursor_ms", "watermark_ms") if name in reached), default=now_ms
    )
    unread = {name: min(ms, read_ms) for name, ms in unread_since(row).items()}
    columns: dict[str, Any] = {
        **{column.name: sa.case((column > now_ms, now_ms), else_=column) for column in _OF_POLLS},
        **reached,
        "unread": msgspec.json.encode(unread).decode(),
    }
    counted = newest_ms is not None or (event_ms or 0) >= (row.epoch_ms or 0)
    again = _is_ahead(row.epoch_ms, now_ms) and not counted
    if again:
        columns |= _BEGIN_AGAIN
        tx.execute(sa.delete(slices).where(slices.c.query_id == query_id))
    if (again or row.epoch_ms is None) and _is_ahead(row.ids_from_ms, now_ms):
        columns["ids_from_ms"] = now_ms
    set_query(tx, query_id, next_poll_ms=now_ms, **columns)
    _correct_slices(tx, query_id, now_ms, read_ms)
    if max(newest_ms or 0, event_ms or 0) <= now_ms:  # else the clock is behind, and gaps are right
        _correct_gaps(tx, query_id, read_ms)
    ahead = (gauge.c.query_id == query_id) & (gauge.c.end_ms > now_ms)
    tx.execute(sa.delete(gauge).where(ahead))
    for column in _OF_SERIES:
        mine = (series.c.query_id == query_id) & (column > now_ms)
        tx.execute(sa.update(series).where(mine).values({column: now_ms}))


def _reached(
    row: sa.Row[Any], newest_ms: int | None, event_ms: int | None, now_ms: int
) -> dict[str, int]:
    """Return the columns that say how far the query has read, of those in the future.

    ``newest_ms`` is its newest hour that has a count, ``event_ms`` its newest event.
    """
    reached = {}
    if _is_ahead(row.cursor_ms, now_ms):
        reached["cursor_ms"] = min(now_ms, newest_ms or now_ms)
    if _is_ahead(row.watermark_ms, now_ms):
        reached["watermark_ms"] = min(now_ms, event_ms or row.epoch_ms or now_ms)
    # Labels that changed while the clock was ahead moved the floor; all counts are older then.
    if _is_ahead(row.floor_ms, now_ms) and (newest_ms or 0) < row.floor_ms:
        reached["floor_ms"] = newest_ms + 1 if newest_ms else now_ms
    return reached


def _correct_slices(tx: sa.Connection, query_id: int, now_ms: int, read_ms: int) -> None:
    """Let slices end at ``read_ms``: everything from there on is read again."""
    mine = slices.c.query_id == query_id
    latest = dict.fromkeys(_OF_SLICES, read_ms)
    latest |= {slices.c.next_ms: now_ms + DAY_MS, slices.c.audited_ms: now_ms}
    for column, latest_ms in latest.items():
        tx.execute(sa.update(slices).where(mine, column > latest_ms).values({column: latest_ms}))


def _correct_gaps(tx: sa.Connection, query_id: int, read_ms: int) -> None:
    """Forget gaps that reach beyond ``read_ms``: such hours are read again, or a new gap."""
    late = (gap.c.query_id == query_id) & (gap.c.to_ms > read_ms)
    readable = (gap.c.reason == "unreadable") | (gap.c.from_ms >= read_ms)
    tx.execute(sa.delete(gap).where(late, readable))
    tx.execute(sa.update(gap).where(late).values(to_ms=read_ms))


def _is_ahead(instant_ms: int | None, now_ms: int) -> bool:
    return instant_ms is not None and instant_ms > now_ms


def _newest_count_ms(tx: sa.Connection, query_id: int) -> int | None:
    newest = (
        sa.select(sa.func.max(bucket.c.start_ms))
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == query_id, bucket.c.obs > 0)
    )
    return tx.execute(newest).scalar()
