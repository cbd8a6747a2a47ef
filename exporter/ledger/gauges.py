"""Gauges in the ledger: what a reading says is shown until it is replaced or too old (B.6)."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger.overflow import Room, keep_gauges
from exporter.ledger.periods import newest_read, newest_settled_end, window_expiry_ms
from exporter.ledger.rows import decode_labels, encode_labels, full_labels
from exporter.ledger.tables import gauge, query
from exporter.ledger.work import Work
from exporter.model.samples import HOUR_MS, GaugeRow, Series, Window

ROLLING = "rolling"


def roll(work: Work, rows: Sequence[GaugeRow]) -> None:
    """Replace the query's distinct counts over rolling windows by ``rows``."""
    room = _room(work)
    _replace(work, gauge.c.slot == ROLLING, ROLLING, rows, room)
    work.count_dropped(room.dropped)


def store(work: Work) -> None:
    """Replace what the query shows by what the reading says.

    Buckets: of the newest settled one. Levels: of the newest one read. Lists: all of them.
    """
    room = _room(work)
    slot = "day" if work.reading.daily else "hour"
    end_ms = newest_settled_end(work.spec, work.now_ms, daily=work.reading.daily)
    if work.reading.window.start_ms < end_ms <= work.reading.window.end_ms:
        newest = [row for row in work.reading.buckets if row.window.end_ms == end_ms]
        _replace(work, gauge.c.slot == slot, slot, newest, room)
    if levels := newest_read(work.reading.levels):
        _replace(work, _same_series(work, levels), "level", levels, room)
    if work.reading.lists_of:
        listed = gauge.c.family.in_(work.reading.lists_of)
        _replace(work, listed, "list", work.reading.lists, room)
    work.count_dropped(room.dropped)


def _replace(
    work: Work,
    old: sa.ColumnElement[bool],
    slot: str,
    rows: Iterable[GaugeRow],
    room: Room,
) -> None:
    work.tx.execute(sa.delete(gauge).where(gauge.c.query_id == work.claim.query_id).where(old))
    new = [_columns(work, slot, row) for row in keep_gauges(rows, work.families, room)]
    if new:
        try:
            work.tx.execute(sa.insert(gauge), new)
        except sa.exc.IntegrityError:
            raise SchemaError(f"{work.spec.name}: a gauge is shown by another query too") from None


def _columns(work: Work, slot: str, row: GaugeRow) -> dict[str, object]:
    # A rolling window ends at a whole hour, each hour anew: its period is the hour.
    end_ms = row.window.end_ms
    window = Window(end_ms - HOUR_MS, end_ms) if slot == ROLLING else row.window
    return {
        "query_id": work.claim.query_id,
        "family": row.series[0],
        "labels": _labels(work, row.series),
        "slot": slot,
        "value": row.value,
        "end_ms": end_ms,
        "expires_ms": window_expiry_ms(work.spec, window, listed=slot == "list"),
    }


def _same_series(work: Work, rows: Sequence[GaugeRow]) -> sa.ColumnElement[bool]:
    labels = [_labels(work, row.series) for row in rows]
    families = {row.series[0] for row in rows}
    return gauge.c.family.in_(families) & gauge.c.labels.in_(labels)


def _labels(work: Work, series: Series) -> str:
    names = work.families[series[0]].labels
    return encode_labels(names, full_labels(work.spec.target, work.spec.provider, series))


def _room(work: Work) -> Room:
    """Return the places left: series shown now keep theirs, other queries' places are taken."""
    target = sa.select(query.c.id).where(query.c.target == work.spec.target)
    rows = work.tx.execute(
        sa.select(gauge.c.query_id, gauge.c.family, gauge.c.labels).where(
            gauge.c.query_id.in_(target)
        )
    ).all()
    mine = {
        (row.family, decode_labels(work.families[row.family].labels, row.labels)[2:])
        for row in rows
        if row.query_id == work.claim.query_id and row.family in work.families
    }
    left = {name: work.spec.caps.get(name, family.cap) for name, family in work.families.items()}
    for row in rows:
        if row.family in left:
            left[row.family] -= 1
    return Room(mine, left, work.spec.target_cap - len(rows), work.left_in_all(gauge))
