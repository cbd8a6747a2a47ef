"""Stores gauges, shown until they are replaced or expire (specification: counting.md#gauges)."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger import rules
from exporter.ledger.counters import places_left
from exporter.ledger.rows import ApplyInput, Counts, decode_series, encode_series
from exporter.ledger.rules import Room
from exporter.ledger.tables import gauge
from exporter.model.samples import HOUR_MS, GaugeRow, Series, Window

ROLLING = "rolling"

Slot = tuple[str, sa.ColumnElement[bool], Sequence[GaugeRow]]
"""A kind of gauge, the rows of the query that are replaced, and the new rows."""


def roll(given: ApplyInput, rows: Sequence[GaugeRow]) -> Counts:
    """Replace the query's distinct counts over rolling windows with ``rows``."""
    return _replace(given, [(ROLLING, gauge.c.slot == ROLLING, rows)])


def store(given: ApplyInput) -> Counts:
    """Replace the gauges of the query with those of the reading."""
    reading, slots = given.reading, list[Slot]()
    end_ms = rules.newest_settled_end(given.spec, given.now_ms, daily=reading.daily)
    if reading.window.start_ms < end_ms <= reading.window.end_ms:
        name = "day" if reading.daily else "hour"
        newest = [row for row in reading.buckets if row.window.end_ms == end_ms]
        slots.append((name, gauge.c.slot == name, newest))
    by_age = sorted(reading.levels, key=lambda row: row.window.end_ms)
    if levels := list({row.series: row for row in by_age}.values()):
        same = [
            (row.series[0], encode_series(given.spec, given.families, row.series)) for row in levels
        ]
        slots.append(("level", sa.tuple_(gauge.c.family, gauge.c.labels).in_(same), levels))
    if reading.lists_of:
        slots.append(("list", gauge.c.family.in_(reading.lists_of), reading.lists))
    return _replace(given, slots)


def _replace(given: ApplyInput, slots: Iterable[Slot]) -> Counts:
    """Delete the old rows, then insert: first series shown before, then new ones as caps allow."""
    shown: set[Series] = set()
    for _, old, _ in slots:
        mine = sa.delete(gauge).where(gauge.c.query_id == given.query.id, old)
        gone = given.tx.execute(mine.returning(gauge.c.family, gauge.c.labels))
        known = [(name, text) for name, text in gone if name in given.families]
        shown |= {decode_series(given.families, name, text) for name, text in known}
    room = Room(shown, lambda: places_left(given))
    rows = [(name, row) for name, _, found in slots for row in found]
    _insert(given, [(name, row) for name, row in rows if row.series in shown])
    new = [(name, row) for name, row in rows if row.series not in shown]
    _insert(given, [each for each in new if room.admit(each[1].series)])
    return given.count_dropped(room.dropped)


def _insert(given: ApplyInput, rows: Sequence[tuple[str, GaugeRow]]) -> None:
    if not rows:
        return
    try:
        given.tx.execute(sa.insert(gauge), [_columns(given, *each) for each in rows])
    except sa.exc.IntegrityError:
        raise SchemaError(f"{given.spec.name}: a gauge is shown by another query too") from None


def _columns(given: ApplyInput, slot: str, row: GaugeRow) -> dict[str, object]:
    # A rolling window is renewed at each whole hour, so its period is the hour.
    end_ms = row.window.end_ms
    window = Window(end_ms - HOUR_MS, end_ms) if slot == ROLLING else row.window
    return {
        "query_id": given.query.id,
        "family": row.series[0],
        "labels": encode_series(given.spec, given.families, row.series),
        "slot": slot,
        "value": row.value,
        "end_ms": end_ms,
        "expires_ms": rules.window_expiry_ms(given.spec, window, listed=slot == "list"),
    }
