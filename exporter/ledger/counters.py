"""Series and their buckets: loaded once for a reading, placed under the caps, written back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler

from exporter.errors import SchemaError
from exporter.ledger import rules
from exporter.ledger.rows import ApplyInput, Counts, decode_labels, stored_labels
from exporter.ledger.rules import Bucket, CounterState, Key, Merge, Placed, Places, Room
from exporter.ledger.settings import retire_all
from exporter.ledger.tables import bucket, query, self_counter, series
from exporter.model.query import QuerySpec
from exporter.model.samples import CountRow, Family, SelfCount, Series, Window

ROWS_AT_ONCE = 500
"""Few enough that the rows read are gone before Python would look for garbage among them."""

QUERY_ID = sa.select(query.c.id).where(
    query.c.target == sa.bindparam("target"), query.c.name == sa.bindparam("name")
)
SERIES_ID = sa.select(series.c.id).where(
    series.c.family == sa.bindparam("family"), series.c.labels == sa.bindparam("labels")
)
STATE_COLUMNS = (
    "c", "overhang", "written_off", "overhang_since_ms",
    "changed_ms", "state", "held", "held_since_ms",
)  # fmt: skip
UPDATE_STATE = (
    sa.update(series)
    .where(series.c.id == sa.bindparam("s_id"))
    .values({name: sa.bindparam(name) for name in STATE_COLUMNS})
)
UPDATE_BUCKET = (
    sa.update(bucket)
    .where(bucket.c.series_id == sa.bindparam("of"), bucket.c.start_ms == sa.bindparam("at"))
    .values(
        obs=sa.bindparam("obs"),
        base=sa.bindparam("base"),
        revised=bucket.c.revised + sa.bindparam("more"),
    )
)


@dataclass(frozen=True, slots=True)
class LoadedSeries:
    """The query's series: ids by series, rows by id; ``adopted`` came from a removed query."""

    ids: Mapping[Series, int]
    rows: Mapping[int, sa.Row[Any]]
    adopted: frozenset[int] = frozenset()


def load_series(given: ApplyInput) -> LoadedSeries:
    """Read the query's series, once for a reading."""
    rows = given.tx.execute(sa.select(series).where(series.c.query_id == given.query.id)).all()
    known = [row for row in rows if row.family in given.families]
    return LoadedSeries(
        {
            (row.family, decode_labels(given.families[row.family].labels, row.labels)[2:]): row.id
            for row in known
        },
        {row.id: row for row in rows},
    )


def place(
    given: ApplyInput, loaded: LoadedSeries, counts: Sequence[CountRow], floor_ms: int = 0
) -> tuple[Placed, Mapping[tuple[str, str], int]]:
    """Return ``counts`` by bucket, and the label sets past a cap, which count in ``other``."""
    room = Room(loaded.ids, lambda: places_left(given, series))
    return rules.place_counts(counts, loaded.ids, given.families, room, floor_ms), room.dropped


def places_left(given: ApplyInput, table: sa.Table) -> Places:
    """Return how many rows may be added to ``table``; series out of sight keep their places."""
    spec = given.spec
    number = sa.func.count().label("n")
    of_target = (
        sa.select(table.c.family, number)
        .where(table.c.query_id.in_(sa.select(query.c.id).where(query.c.target == spec.target)))
        .group_by(table.c.family)
    )
    used = {row.family: row.n for row in given.tx.execute(of_target)}
    in_all = given.tx.execute(sa.select(number).select_from(table)).scalar_one()
    return Places(
        {
            name: spec.caps.get(name, family.cap) - used.get(name, 0)
            for name, family in given.families.items()
        },
        spec.target_cap - sum(used.values()),
        spec.total_cap - in_all,
    )


def create_series(
    given: ApplyInput, loaded: LoadedSeries, new: Mapping[Series, int]
) -> LoadedSeries:
    """Return ``loaded`` with the ``new`` series, which are inserted and shown as 0 first.

    A series of a query that is no longer configured is adopted: its query has another name now,
    and it goes on from where it was. One that another query feeds is an error.
    """
    ids, rows, adopted = dict(loaded.ids), dict(loaded.rows), set()
    for each in sorted(new):
        labels = given.labels(each)
        row = _adopt(given, each[0], labels)
        if row is not None:
            adopted.add(row.id)
        else:
            row = _insert(given.tx, given.query.id, each[0], labels, given.now_ms)
        ids[each], rows[row.id] = row.id, row
    return LoadedSeries(ids, rows, frozenset(adopted))


def _adopt(given: ApplyInput, family: str, labels: str) -> sa.Row[Any] | None:
    """Take over a series whose query is removed; None when there is no such series."""
    found = given.tx.execute(
        sa.select(series.c.id, query.c.state)
        .join(query, query.c.id == series.c.query_id)
        .where(series.c.family == family, series.c.labels == labels)
    ).one_or_none()
    if found is None:
        return None
    if found.state == "active":
        raise SchemaError(f"{given.spec.name}: {family} is already fed by another query")
    this = series.c.id == found.id
    retire_all(given.tx, this)
    moved = sa.update(series).where(this).values(query_id=given.query.id, state="live")
    return given.tx.execute(moved.returning(*series.c)).one()


def create_known_series(
    tx: sa.Connection, spec: QuerySpec, families: Mapping[str, Family], now_ms: int
) -> None:
    """Create the series that the settings already name at 0, so that their first unit is seen."""
    query_id = tx.execute(QUERY_ID, {"target": spec.target, "name": spec.name}).scalar_one()
    for each in spec.known:
        labels = stored_labels(spec, families[each[0]], each)
        if tx.execute(SERIES_ID, {"family": each[0], "labels": labels}).scalar() is None:
            _insert(tx, query_id, each[0], labels, now_ms)


def _insert(tx: sa.Connection, query_id: int, family: str, labels: str, now_ms: int) -> sa.Row[Any]:
    values = {
        "query_id": query_id,
        "family": family,
        "labels": labels,
        "created_ms": now_ms,
        "changed_ms": now_ms,
        "held": 0.0,
        "held_since_ms": now_ms,
    }
    return tx.execute(sa.insert(series).values(**values).returning(*series.c)).one()


def load_buckets(given: ApplyInput, window: Window) -> dict[Key, Bucket]:
    """Return the query's buckets in ``window``, without families that were not read."""
    known = (
        sa.select(bucket.c.series_id, bucket.c.start_ms, bucket.c.obs, bucket.c.base)
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == given.query.id)
        .where(bucket.c.start_ms >= window.start_ms, bucket.c.start_ms < window.end_ms)
    )
    if given.reading.kept:
        known = known.where(series.c.family.not_in(given.reading.kept))
    return {
        (number, start_ms): Bucket(obs, base)
        for number, start_ms, obs, base in _raw_rows(given.tx.execute(known))
    }


def _raw_rows(result: sa.CursorResult[tuple[int, int, float, float]]) -> Iterator[Any]:
    """Yield the driver's own rows: nothing in them needs to be converted."""
    while rows := result.cursor.fetchmany(ROWS_AT_ONCE):
        yield from rows
    result.close()


def write(
    given: ApplyInput,
    loaded: LoadedSeries,
    known: Mapping[Key, Bucket],
    merged: Merge,
    *,
    forgive: bool = False,
) -> Counts:
    """Write changed buckets and counters; ``forgive`` writes all overhang off at once."""
    _write_buckets(given.tx, known, merged)
    return advance_counters(given, loaded.rows.values(), merged.growth, forgive=forgive)


def _write_buckets(tx: sa.Connection, known: Mapping[Key, Bucket], merged: Merge) -> None:
    new = [
        {"series_id": key[0], "start_ms": key[1], "obs": value.obs, "base": value.base}
        for key, value in merged.buckets.items()
        if key not in known
    ]
    old = [
        (obs, base, 1 if key in merged.revised else 0, *key)
        for key, (obs, base) in merged.buckets.items()
        if key in known
    ]
    if new:
        tx.execute(sa.insert(bucket), new)
    if old:
        _execute_rows(tx, UPDATE_BUCKET, ("obs", "base", "more", "of", "at"), old)


def _execute_rows(
    tx: sa.Connection,
    statement: sa.Update,
    names: tuple[str, ...],
    rows: Sequence[tuple[float, ...]],
) -> None:
    """Execute ``statement`` for each of ``rows``: its parameters ``names``, in their order there.

    SQLAlchemy would look at each parameter of each row, which costs as much as the statement.
    """
    compiled = _compiled(statement, tx.dialect)
    if compiled.positiontup is None:
        tx.exec_driver_sql(str(compiled), [dict(zip(names, row, strict=True)) for row in rows])
    else:
        placed = itemgetter(*map(names.index, compiled.positiontup))
        tx.exec_driver_sql(str(compiled), list(map(placed, rows)))


@lru_cache(maxsize=8)
def _compiled(statement: sa.Update, dialect: sa.Dialect) -> SQLCompiler:
    return statement.compile(dialect=dialect)


def overhanging(given: ApplyInput) -> Sequence[sa.Row[Any]]:
    """Return the rows of the query's series that have overhang."""
    mine = sa.select(series).where(series.c.query_id == given.query.id, series.c.overhang > 0)
    return given.tx.execute(mine).all()


def advance_counters(
    given: ApplyInput,
    rows: Iterable[sa.Row[Any]],
    growth: Mapping[int, float],
    *,
    forgive: bool = False,
) -> Counts:
    """Add ``growth``, by series id, to the counters of ``rows``; write off what is old enough."""
    counts: Counts = []
    updates = []
    for row in rows:
        grown = growth.get(row.id, 0.0)
        if not grown and not row.overhang:
            continue
        before = state_of(row)
        after = rules.advance(
            before, grown, given.now_ms, given.spec.write_off_after_ms, forgive=forgive
        )
        lost = after.written_off - before.written_off
        counts += given.count("written_off_total", lost, family=row.family)
        updates.append(state_columns(row, after, given.now_ms, moved=bool(grown)))
    if updates:
        given.tx.execute(UPDATE_STATE, updates)
    return counts


def state_of(row: sa.Row[Any]) -> CounterState:
    """Return the running numbers of a series."""
    return CounterState(row.c, row.overhang, row.written_off, row.overhang_since_ms)


def state_columns(
    row: sa.Row[Any], state: CounterState, now_ms: int, *, moved: bool
) -> dict[str, Any]:
    """Return the columns of a series after its counter changed.

    A dormant one is shown at its old value first, so that ``increase()`` sees the growth.
    """
    wakes = row.state == "dormant" and moved
    return {
        "s_id": row.id,
        "c": state.c,
        "overhang": state.overhang,
        "written_off": state.written_off,
        "overhang_since_ms": state.since_ms,
        "changed_ms": now_ms if moved else row.changed_ms,
        "state": "live" if wakes else row.state,
        "held": row.c if wakes else row.held,
        "held_since_ms": now_ms if wakes else row.held_since_ms,
    }


def add_self_counts(tx: sa.Connection, counted: Mapping[SelfCount, float]) -> None:
    """Add to the persisted self counters, in the transaction that caused them."""
    for (name, labels), amount in counted.items():
        text = msgspec.json.encode(dict(labels), order="sorted").decode()
        mine = (self_counter.c.name == name) & (self_counter.c.labels == text)
        added = sa.update(self_counter).where(mine).values(v=self_counter.c.v + amount)
        if tx.execute(added).rowcount == 0:
            tx.execute(sa.insert(self_counter).values(name=name, labels=text, v=amount))
