"""Reading and writing series: their places under the caps, and their running numbers."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger import rules
from exporter.ledger.overflow import Room, fold_counts
from exporter.ledger.rows import decode_labels, encode_labels, full_labels
from exporter.ledger.rules import Merge, Tally
from exporter.ledger.settings import retire_all
from exporter.ledger.tables import query, series
from exporter.ledger.work import Work
from exporter.model.query import QuerySpec
from exporter.model.samples import Family, Series


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
    room = Room(known, *_places_left(work), work.left_in_all(series))
    rows = fold_counts(work.reading.counts, work.families, room)
    work.crowded = bool(room.dropped)
    work.count_dropped(room.dropped)
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


def create(work: Work, keys: set[Series]) -> tuple[dict[Series, int], frozenset[int]]:
    """Insert new series, shown as 0 first; return them all, and those that were adopted.

    A series of a query that is no longer configured is adopted (its query goes by another name
    now): it goes on from where it was. One that another query feeds is a fault.
    """
    ids: dict[Series, int] = {}
    adopted: set[int] = set()
    for key in sorted(keys):
        labels = encode_labels(
            work.families[key[0]].labels,
            full_labels(work.spec.target, work.spec.provider, key),
        )
        number = _orphan(work, key[0], labels)
        if number is None:
            ids[key] = _insert(work.tx, work.claim.query_id, key[0], labels, work.now_ms)
        else:
            ids[key] = number
            adopted.add(number)
    return ids, frozenset(adopted)


def born_since(work: Work, instant_ms: int) -> frozenset[int]:
    """Return the query's series that appeared at ``instant_ms`` or later."""
    young = sa.select(series.c.id).where(
        series.c.query_id == work.claim.query_id, series.c.created_ms >= instant_ms
    )
    return frozenset(work.tx.execute(young).scalars())


def _orphan(work: Work, family: str, labels: str) -> int | None:
    """Take over a series whose query is gone; None when there is no such series."""
    row = work.tx.execute(
        sa.select(series.c.id, query.c.state)
        .join(query, query.c.id == series.c.query_id)
        .where(series.c.family == family, series.c.labels == labels)
    ).one_or_none()
    if row is None:
        return None
    if row.state == "active":
        raise SchemaError(f"{work.spec.name}: {family} is already fed by another query")
    this = series.c.id == row.id
    retire_all(work.tx, this)
    work.tx.execute(
        sa.update(series).where(this).values(query_id=work.claim.query_id, state="live")
    )
    return int(row.id)


def create_known_series(
    tx: sa.Connection, spec: QuerySpec, families: Mapping[str, Family], now_ms: int
) -> None:
    """Create the series that the settings already name at 0, so that their first unit is seen."""
    query_id = tx.execute(NUMBER, {"target": spec.target, "name": spec.name}).scalar_one()
    for key in spec.known:
        names = families[key[0]].labels
        labels = encode_labels(names, full_labels(spec.target, spec.provider, key))
        if tx.execute(THERE, {"family": key[0], "labels": labels}).scalar() is None:
            _insert(tx, query_id, key[0], labels, now_ms)


def _insert(tx: sa.Connection, query_id: int, family: str, labels: str, now_ms: int) -> int:
    values = {
        "query_id": query_id,
        "family": family,
        "labels": labels,
        "created_ms": now_ms,
        "changed_ms": now_ms,
        "held": 0.0,
        "held_since_ms": now_ms,
    }
    inserted = tx.execute(sa.insert(series).values(**values).returning(series.c.id))
    return int(inserted.scalar_one())


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
    after = rules.advance(
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


NUMBER = sa.select(query.c.id).where(
    query.c.target == sa.bindparam("target"), query.c.name == sa.bindparam("name")
)
THERE = sa.select(series.c.id).where(
    series.c.family == sa.bindparam("family"), series.c.labels == sa.bindparam("labels")
)
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
