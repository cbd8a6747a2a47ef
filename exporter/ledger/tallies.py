"""Reading and writing series: their places under the caps, and their running numbers."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from exporter.errors import SchemaFault
from exporter.ledger import counting
from exporter.ledger.counting import Merge, Tally
from exporter.ledger.folding import Room, fold_counts
from exporter.ledger.rows import decode_labels, encode_labels, full_labels
from exporter.ledger.tables import query, series
from exporter.ledger.work import Work
from exporter.samples import Series


def known(work: Work) -> dict[Series, int]:
    """Return the numbers of the query's series."""
    mine = sa.select(series.c.id, series.c.family, series.c.labels).where(
        series.c.query_id == work.claim.query_id
    )
    return {
        (row.family, decode_labels(work.families[row.family].labels, row.labels)[2:]): row.id
        for row in work.tx.execute(mine)
        if row.family in work.families
    }


def fold(work: Work, known: Mapping[Series, int]) -> dict[Series, dict[int, float]]:
    """Return the reading's counts by series and start, past the caps in ``other``."""
    room = Room(known, *_places_left(work))
    rows = fold_counts(work.reading.counts, work.families, room)
    for (family, reason), number in (room.dropped | dict(work.reading.dropped)).items():
        work.count("dropped_series_total", number, family=family, reason=reason)
    return rows


def _places_left(work: Work) -> tuple[dict[str, int], int]:
    target = sa.select(query.c.id).where(query.c.target == work.spec.target)
    used = sa.select(series.c.family, sa.func.count().label("n")).where(
        series.c.query_id.in_(target)
    )
    by_family = {row.family: row.n for row in work.tx.execute(used.group_by(series.c.family))}
    left = {
        name: work.spec.caps.get(name, family.cap) - by_family.get(name, 0)
        for name, family in work.families.items()
    }
    return left, work.spec.target_cap - sum(by_family.values())


def create(work: Work, keys: set[Series]) -> dict[Series, int]:
    """Insert new series, shown as 0 first; refuse one that another query already feeds."""
    created: dict[Series, int] = {}
    for key in sorted(keys):
        names = work.families[key[0]].labels
        labels = encode_labels(names, full_labels(work.spec.target, work.spec.provider, key))
        taken = sa.select(series.c.id).where(series.c.family == key[0], series.c.labels == labels)
        if work.tx.execute(taken).scalar() is not None:
            raise SchemaFault(f"{work.spec.name}: {key[0]} is already fed by another query")
        values = {
            "query_id": work.claim.query_id,
            "family": key[0],
            "labels": labels,
            "created_ms": work.now_ms,
            "changed_ms": work.now_ms,
            "held": 0.0,
            "held_since_ms": work.now_ms,
        }
        inserted = work.tx.execute(sa.insert(series).values(**values).returning(series.c.id))
        created[key] = inserted.scalar_one()
    return created


def write(work: Work, merged: Merge, *, forgive: bool) -> None:
    """Add the growth to the series it belongs to; ``forgive`` writes all overhang off at once."""
    mine = sa.select(series).where(series.c.query_id == work.claim.query_id)
    rows = [
        row
        for row in work.tx.execute(mine if any(merged.growth.values()) else mine.where(OVERHANGING))
        if row.overhang > 0 or merged.growth.get(row.id)
    ]
    updates = [_after(work, row, merged.growth.get(row.id, 0.0), forgive=forgive) for row in rows]
    if updates:
        work.tx.execute(UPDATE_TALLY, updates)


def _after(work: Work, row: sa.Row[Any], growth: float, *, forgive: bool) -> dict[str, Any]:
    before = Tally(row.c, row.overhang, row.written_off, row.overhang_since_ms)
    after = counting.advance(
        before, growth, work.now_ms, work.spec.write_off_after_ms, forgive=forgive
    )
    work.count("written_off_total", after.written_off - before.written_off, family=row.family)
    return tally_columns(row, after, work.now_ms, moved=bool(growth))


def tally_columns(row: sa.Row[Any], tally: Tally, now_ms: int, *, moved: bool) -> dict[str, Any]:
    """Return the columns of a series after its tally changed; a dormant one wakes up held.

    What wakes up is shown at its old value first, so that ``increase()`` sees the growth.
    """
    wakes = row.state == "dormant" and moved
    return {
        "s_id": row.id,
        "c": tally.c,
        "overhang": tally.overhang,
        "written_off": tally.written_off,
        "overhang_since_ms": tally.since_ms,
        "changed_ms": now_ms if moved else row.changed_ms,
        "state": "live" if wakes else row.state,
        "held": row.c if wakes else row.held,
        "held_since_ms": now_ms if wakes else row.held_since_ms,
    }


OVERHANGING = series.c.overhang > 0

UPDATE_TALLY = (
    sa.update(series)
    .where(series.c.id == sa.bindparam("s_id"))
    .values(
        {
            name: sa.bindparam(name)
            for name in (
                "c",
                "overhang",
                "written_off",
                "overhang_since_ms",
                "changed_ms",
                "state",
                "held",
                "held_since_ms",
            )
        }
    )
)
