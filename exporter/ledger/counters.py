"""Loads series and buckets once per reading, places series under the caps, writes them back."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger import rules
from exporter.ledger.rows import (
    ApplyInput,
    Counts,
    Shown,
    decode_series,
    encode_series,
    self_count,
)
from exporter.ledger.rules import ALL, TARGET, Bucket, CounterState, Key, Merge, Room
from exporter.ledger.settings import retire_buckets
from exporter.ledger.tables import bucket, gauge, query, self_counter, series, upsert
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import Family, MetricType, SelfCount, Series, Window

UPDATE_STATE = sa.update(series).where(series.c.id == sa.bindparam("s_id"))
NEWER_BUCKET = (
    "obs = excluded.obs, base = excluded.base, revised = bucket.revised + excluded.revised"
)


@dataclass(frozen=True, slots=True)
class LoadedSeries:
    """A query's series: ids by series, rows by id; ``adopted`` ones came from another query."""

    ids: Mapping[Series, int]
    rows: Mapping[int, sa.Row[Any]]
    adopted: frozenset[int] = frozenset()


def load_series(given: ApplyInput) -> LoadedSeries:
    """Load the query's series, once per reading."""
    rows = given.tx.execute(sa.select(series).where(series.c.query_id == given.query.id)).all()
    known = [row for row in rows if row.family in given.families]
    ids = {decode_series(given.families, row.family, row.labels): row.id for row in known}
    return LoadedSeries(ids, {row.id: row for row in rows})


def room(given: ApplyInput, loaded: LoadedSeries) -> Room:
    """Return the places left for the query's series."""

    def others() -> Mapping[Series, bool]:
        rows = _series_of_target(given.tx, given.spec, given.families, given.specs)
        return {each: fed for each, (_, fed) in rows.items()}

    return Room(loaded.ids, lambda: places_left(given), others)


def places_left(given: ApplyInput) -> Counter[str]:
    """Return how many counters and gauges may be added; series not shown keep their places."""
    spec, number = given.spec, sa.func.count().label("n")
    mine = sa.select(query.c.id).where(query.c.target == spec.target)
    used, in_all = Counter[str](), 0
    for table in (series, gauge):
        of_target = sa.select(table.c.family, number).where(table.c.query_id.in_(mine))
        rows = given.tx.execute(of_target.group_by(table.c.family))
        used.update({row.family: row.n for row in rows})
        in_all += given.tx.execute(sa.select(number).select_from(table)).scalar_one()
    left = Counter({TARGET: spec.target_cap - used.total(), ALL: spec.total_cap - in_all})
    for name, family in list(given.families.items()):  # a reload may add families meanwhile
        left[name] = spec.caps.get(name, family.cap) - used[name]
    return left


def create_series(
    given: ApplyInput, loaded: LoadedSeries, places: Iterable[Series]
) -> LoadedSeries:
    """Return ``loaded`` extended to all ``places``; new series are inserted and shown as 0 first.

    A series that its query no longer feeds is adopted: that query was removed, and this one may be
    the same under another name, or the settings let this one feed the family instead.
    """
    new = sorted(set(places) - loaded.ids.keys())
    if not new:
        return loaded
    ids, rows, adopted = dict(loaded.ids), dict(loaded.rows), set()
    others = _series_of_target(given.tx, given.spec, given.families, given.specs)
    for each in new:
        number, fed = others.get(each, (0, False))
        if fed:
            raise SchemaError(f"{given.spec.name}: {each[0]} is already fed by another query")
        if number:
            row = _adopt(given, number)
            adopted.add(number)
        else:
            row = _insert(given.tx, given.spec, given.families, each, given.now_ms)
        ids[each], rows[row.id] = row.id, row
    return LoadedSeries(ids, rows, frozenset(adopted))


def create_known_series(
    tx: sa.Connection, spec: QuerySpec, families: Mapping[str, Family], now_ms: int
) -> None:
    """Create the series that the settings name at 0, so that ``increase()`` sees the first unit."""
    there = _series_of_target(tx, spec, families) if spec.known else {}
    for each in sorted(set(spec.known) - there.keys()):
        _insert(tx, spec, families, each, now_ms)


def _series_of_target(
    tx: sa.Connection,
    spec: QuerySpec,
    families: Mapping[str, Family],
    specs: Mapping[QueryKey, QuerySpec] = MappingProxyType({}),
) -> dict[Series, tuple[int, bool]]:
    """Return the id of each series of the target, and whether its query, of ``specs``, feeds it.

    Keys are decoded labels, not JSON: older rows lack labels that the family got later.
    """
    rows = tx.execute(
        sa.select(series.c.id, series.c.family, series.c.labels, query.c.state, query.c.name)
        .join(query, query.c.id == series.c.query_id)
        .where(query.c.target == spec.target, query.c.provider == spec.provider)
    ).all()
    own = {each.name: each.fields for each in specs.values() if each.target == spec.target}
    return {
        decode_series(families, row.family, row.labels): (
            row.id,
            row.state == "active" and row.family in own.get(row.name, (row.family,)),
        )
        for row in rows
        if row.family in families
    }


def _adopt(given: ApplyInput, number: int) -> sa.Row[Any]:
    this = series.c.id == number
    retire_buckets(given.tx, this)
    moved = sa.update(series).where(this).values(query_id=given.query.id, state="live")
    return given.tx.execute(moved.returning(*series.c)).one()


def _insert(
    tx: sa.Connection, spec: QuerySpec, families: Mapping[str, Family], new: Series, now_ms: int
) -> sa.Row[Any]:
    own = sa.select(query.c.id).where(query.c.target == spec.target, query.c.name == spec.name)
    values = {
        "query_id": own.scalar_subquery(),
        "family": new[0],
        "labels": encode_series(spec, families, new),
        "created_ms": now_ms,
        "changed_ms": now_ms,
        "held": 0.0,
        "held_since_ms": now_ms,
    }
    return tx.execute(sa.insert(series).values(**values).returning(*series.c)).one()


def load_buckets(given: ApplyInput, window: Window) -> dict[Key, Bucket]:
    """Return the query's buckets in ``window``, except those that were not read."""
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
        for number, start_ms, obs, base in given.tx.execute(known)
        if start_ms not in given.reading.absent
    }


def write(
    given: ApplyInput, loaded: LoadedSeries, merged: Merge, *, forgive: bool = False
) -> Counts:
    """Write changed buckets and counters; ``forgive`` writes off all overhang at once."""
    rows = [(*key, *value, int(key in merged.revised)) for key, value in merged.buckets.items()]
    upsert(given.tx, bucket, rows, NEWER_BUCKET)
    counts = given.count_query("retracted_total", merged.retracted)
    for (direction, stage), number in merged.revisions.items():
        counts += given.count_query("revisions_total", number, direction=direction, stage=stage)
    return counts + advance_counters(
        given.tx, given.spec, loaded.rows.values(), merged.growth, given.now_ms, forgive=forgive
    )


def write_off_aged(given: ApplyInput) -> Counts:
    """Write off overhang that is old enough, when a reading repeats the last one."""
    mine = sa.select(series).where(series.c.query_id == given.query.id, series.c.overhang > 0)
    return advance_counters(given.tx, given.spec, given.tx.execute(mine).all(), {}, given.now_ms)


def advance_counters(
    tx: sa.Connection,
    spec: QuerySpec,
    rows: Iterable[sa.Row[Any]],
    growth: Mapping[int, float],
    now_ms: int,
    *,
    forgive: bool = False,
) -> Counts:
    """Add ``growth``, by series id, to the counters of ``rows``; write off old overhang."""
    counts: Counts = []
    updates = []
    for row in rows:
        grown = growth.get(row.id, 0.0)
        if not grown and not row.overhang:
            continue
        before = CounterState(row.c, row.overhang, row.written_off, row.overhang_since_ms)
        after = rules.advance(before, grown, now_ms, spec.write_off_after_ms, forgive=forgive)
        lost = after.written_off - before.written_off
        shown = lost / spec.per_unit.get(row.family, 1)
        counts += self_count(spec, "written_off_total", shown, family=row.family)
        if after == before:
            continue
        # A dormant series returns at its old value first, so that ``increase()`` sees the growth.
        wakes = bool(grown) and row.state == "dormant"
        updates.append(
            {
                "s_id": row.id,
                "c": after.c,
                "overhang": after.overhang,
                "written_off": after.written_off,
                "overhang_since_ms": after.since_ms,
                "changed_ms": now_ms if grown else row.changed_ms,
                "state": "live" if wakes else row.state,
                "held": row.c if wakes else row.held,
                "held_since_ms": now_ms if wakes else row.held_since_ms,
            }
        )
    if updates:
        tx.execute(UPDATE_STATE, updates)
    return counts


def raise_to(
    tx: sa.Connection,
    spec: QuerySpec,
    families: Mapping[str, Family],
    shown: Iterable[Shown],
    now_ms: int,
) -> None:
    """Raise counters to what was ``shown``; the difference is overhang, and the truth stays.

    If the ledger lost even the query's first poll, the next one takes a new baseline and reads
    nothing of what was shown again. The difference then counts as retired, as before a rebase.
    """
    begins = tx.execute(
        sa.select(query.c.id).where(
            query.c.target == spec.target,
            query.c.name == spec.name,
            query.c.epoch_ms.is_(None),
            query.c.start_mode == "zero",
        )
    ).first()
    of_target = _series_of_target(tx, spec, families)
    mine = [number for number, _ in of_target.values()]
    known = tx.execute(sa.select(series).where(series.c.id.in_(mine)))
    rows = {row.id: row for row in known}
    for each in shown:
        found = each.family, each.labels[2:]
        if families[each.family].kind is not MetricType.COUNTER:
            continue
        if found in of_target:
            row = rows[of_target[found][0]]
        else:
            row = _insert(tx, spec, families, found, each.created_ms or now_ms)
        visible = row.c if row.held is None else row.held
        per_unit = families[each.family].per_unit
        wanted = each.value if per_unit == 1 else round(each.value * per_unit)
        if visible >= wanted:
            continue
        missing = max(0.0, wanted - row.c)
        owed = 0.0 if begins else missing
        tx.execute(
            sa.update(series)
            .where(series.c.id == row.id)
            .values(
                c=row.c + missing,
                retired=row.retired + missing - owed,
                overhang=row.overhang + owed,
                overhang_since_ms=row.overhang_since_ms or (now_ms if owed else None),
                held=None,
                held_since_ms=None,
                state="live",
            )
        )


def add_self_counts(
    tx: sa.Connection, counts: Iterable[tuple[SelfCount, float]]
) -> dict[SelfCount, float]:
    """Add to the persisted self counters; return the amount added to each."""
    sums: defaultdict[SelfCount, float] = defaultdict(float)
    for name, amount in counts:
        sums[name] += amount
    upsert(tx, self_counter, _self_rows(sums), "v = self_counter.v + excluded.v")
    return dict(sums)


def raise_self_counts(tx: sa.Connection, shown: Mapping[SelfCount, float]) -> None:
    """Raise the persisted self counters to what was ``shown``."""
    upsert(tx, self_counter, _self_rows(shown), "v = GREATEST(self_counter.v, excluded.v)")


def _self_rows(counts: Mapping[SelfCount, float]) -> list[tuple[object, ...]]:
    return [
        (name, msgspec.json.encode(dict(labels), order="sorted").decode(), amount, target)
        for (name, labels), amount in sorted(counts.items())  # replicas lock rows in one order
        for target in [dict(labels)["target"]]
    ]
