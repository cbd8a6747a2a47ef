"""Reading and writing buckets: what the provider last said of each hour of each series."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from exporter.ledger.rules import Bucket, Figures, Key, Merge
from exporter.ledger.tables import bucket, series
from exporter.ledger.work import Work, execute_rows
from exporter.model.samples import Series

ROWS_AT_ONCE = 500
"""Few enough that the rows read are gone before Python would look for garbage among them."""


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
class Known:
    """What the ledger knows of a window; ``base`` has the few buckets that have one."""

    figures: defaultdict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    base: dict[Key, float] = field(default_factory=dict)

    def at(self, places: Mapping[int, Iterable[int]]) -> dict[Key, Bucket]:
        """Return those of the buckets at ``places`` that are known."""
        found = flat(self.figures, places)
        return {key: Bucket(obs, self.base.get(key, 0.0)) for key, obs in found.items()}


def load(work: Work, floor_ms: int | None) -> Known:
    """Return what the ledger knows of the reading's window."""
    window = work.reading.window
    known = (
        sa.select(bucket.c.series_id, bucket.c.start_ms, bucket.c.obs, bucket.c.base)
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == work.claim.query_id)
        .where(bucket.c.start_ms >= max(window.start_ms, floor_ms or window.start_ms))
        .where(bucket.c.start_ms < window.end_ms)
    )
    if work.reading.kept:
        known = known.where(series.c.family.not_in(work.reading.kept))
    found = Known()
    for rows in _raw(work.tx.execute(known)):
        for number, start_ms, obs, base in rows:
            found.figures[number][start_ms] = obs
            if base:
                found.base[number, start_ms] = base
    return found


def _raw(result: sa.CursorResult[tuple[int, int, float, float]]) -> Iterator[Sequence[Any]]:
    """Yield the driver's own rows: nothing in them needs to be made into something else."""
    while rows := result.cursor.fetchmany(ROWS_AT_ONCE):
        yield rows
    result.close()


def by_number(
    rows: Mapping[Series, Mapping[int, float]], ids: Mapping[Series, int], floor_ms: int | None
) -> Figures:
    """Return rows by series number; those before the floor belong to no counter any more."""
    return {
        ids[key]: values if floor_ms is None else _since(floor_ms, values)
        for key, values in rows.items()
        if key in ids
    }


def flat(figures: Figures, places: Mapping[int, Iterable[int]]) -> dict[Key, float]:
    """Return the figures that there are at ``places``, which are starts by series number."""
    return {
        (number, start_ms): values[start_ms]
        for number, starts in places.items()
        if (values := figures.get(number))
        for start_ms in starts
        if start_ms in values
    }


def _since(floor_ms: int, values: Mapping[int, float]) -> Mapping[int, float]:
    if min(values) >= floor_ms:
        return values
    return {start_ms: value for start_ms, value in values.items() if start_ms >= floor_ms}


def write(work: Work, known: Mapping[Key, Bucket], merged: Merge) -> None:
    """Insert the buckets that are new, update those that changed; ``revised`` counts revisions."""
    new = [_bucket_row(key, value) for key, value in merged.buckets.items() if key not in known]
    revised = merged.revised
    old = [
        (obs, base, 1 if key in revised else 0, key[0], key[1])
        for key, (obs, base) in merged.buckets.items()
        if key in known
    ]
    if new:
        work.tx.execute(sa.insert(bucket), new)
    if old:
        execute_rows(work.tx, UPDATE_BUCKET, ("obs", "base", "more", "of", "at"), old)


def _bucket_row(key: Key, value: Bucket) -> dict[str, float]:
    return {"series_id": key[0], "start_ms": key[1], "obs": value.obs, "base": value.base}
