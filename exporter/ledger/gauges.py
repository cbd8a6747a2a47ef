"""Gauges: what a reading reports is shown until it is replaced or too old."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger import rules
from exporter.ledger.counters import places_left
from exporter.ledger.rows import ApplyInput, Counts, decode_labels
from exporter.ledger.rules import Room
from exporter.ledger.tables import gauge
from exporter.model.samples import HOUR_MS, GaugeRow, Window

ROLLING = "rolling"


def roll(given: ApplyInput, rows: Sequence[GaugeRow]) -> Counts:
    """Replace the query's distinct counts over rolling windows by ``rows``."""
    room = _room(given)
    _replace(given, gauge.c.slot == ROLLING, ROLLING, rows, room)
    return given.count_dropped(room.dropped)


def store(given: ApplyInput) -> Counts:
    """Replace what the query shows by what the reading reports.

    Buckets: of the newest settled one. Levels: of the newest one read. Lists: all of them.
    """
    reading, room = given.reading, _room(given)
    slot = "day" if reading.daily else "hour"
    end_ms = rules.newest_settled_end(given.spec, given.now_ms, daily=reading.daily)
    if reading.window.start_ms < end_ms <= reading.window.end_ms:
        newest = [row for row in reading.buckets if row.window.end_ms == end_ms]
        _replace(given, gauge.c.slot == slot, slot, newest, room)
    if levels := rules.newest_rows(reading.levels):
        families = {row.series[0] for row in levels}
        labels = [given.labels(row.series) for row in levels]
        same = gauge.c.family.in_(families) & gauge.c.labels.in_(labels)
        _replace(given, same, "level", levels, room)
    if reading.lists_of:
        _replace(given, gauge.c.family.in_(reading.lists_of), "list", reading.lists, room)
    return given.count_dropped(room.dropped)


def _replace(
    given: ApplyInput,
    old: sa.ColumnElement[bool],
    slot: str,
    rows: Iterable[GaugeRow],
    room: Room,
) -> None:
    given.tx.execute(sa.delete(gauge).where(gauge.c.query_id == given.query.id).where(old))
    new = [_columns(given, slot, row) for row in rules.admitted_gauges(rows, given.families, room)]
    if new:
        try:
            given.tx.execute(sa.insert(gauge), new)
        except sa.exc.IntegrityError:
            raise SchemaError(f"{given.spec.name}: a gauge is shown by another query too") from None


def _columns(given: ApplyInput, slot: str, row: GaugeRow) -> dict[str, object]:
    # A rolling window ends at a whole hour, each hour anew: its period is the hour.
    end_ms = row.window.end_ms
    window = Window(end_ms - HOUR_MS, end_ms) if slot == ROLLING else row.window
    return {
        "query_id": given.query.id,
        "family": row.series[0],
        "labels": given.labels(row.series),
        "slot": slot,
        "value": row.value,
        "end_ms": end_ms,
        "expires_ms": rules.window_expiry_ms(given.spec, window, listed=slot == "list"),
    }


def _room(given: ApplyInput) -> Room:
    """Return the room for gauges; series shown now keep their places."""
    mine = sa.select(gauge.c.family, gauge.c.labels).where(gauge.c.query_id == given.query.id)
    shown = {
        (row.family, decode_labels(given.families[row.family].labels, row.labels)[2:])
        for row in given.tx.execute(mine)
        if row.family in given.families
    }
    before = places_left(given, gauge)  # what is replaced keeps its place until the reading is over
    return Room(shown, lambda: before)
