"""Reading and writing buckets: what the provider last said of each hour of each series."""

from collections.abc import Mapping

import sqlalchemy as sa

from exporter.ledger.counting import Bucket, Key, Merge
from exporter.ledger.tables import bucket, series
from exporter.ledger.work import Work
from exporter.samples import Series


def load(work: Work, floor_ms: int | None) -> dict[Key, Bucket]:
    """Return what the ledger knows of the reading's window, by series number and start."""
    window = work.reading.window
    known = (
        sa.select(bucket.c.series_id, bucket.c.start_ms, bucket.c.obs, bucket.c.base)
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == work.claim.query_id)
        .where(series.c.family.not_in(work.reading.kept))
        .where(bucket.c.start_ms >= max(window.start_ms, floor_ms or window.start_ms))
        .where(bucket.c.start_ms < window.end_ms)
    )
    rows = work.tx.execute(known).all()
    return {(series_id, start_ms): Bucket(obs, base) for series_id, start_ms, obs, base in rows}


def numbered(
    rows: Mapping[Series, Mapping[int, float]], ids: Mapping[Series, int], floor_ms: int | None
) -> dict[Key, float]:
    """Return rows by series number; those before the floor belong to no counter any more."""
    return {
        (ids[key], start_ms): value
        for key, values in rows.items()
        if key in ids
        for start_ms, value in values.items()
        if floor_ms is None or start_ms >= floor_ms
    }


def write(work: Work, known: Mapping[Key, Bucket], merged: Merge) -> None:
    """Insert the buckets that are new, update those that changed; ``revised`` counts revisions."""
    new = [_bucket_row(key, value) for key, value in merged.buckets.items() if key not in known]
    old = [
        {"b_series": key[0], "b_start": key[1], "obs": value.obs, "base": value.base}
        | {"more": int(key in merged.revised)}
        for key, value in merged.buckets.items()
        if key in known
    ]
    if new:
        work.tx.execute(sa.insert(bucket), new)
    if old:
        work.tx.execute(
            sa.update(bucket)
            .where(bucket.c.series_id == sa.bindparam("b_series"))
            .where(bucket.c.start_ms == sa.bindparam("b_start"))
            .values(
                obs=sa.bindparam("obs"),
                base=sa.bindparam("base"),
                revised=bucket.c.revised + sa.bindparam("more"),
            ),
            old,
        )


def _bucket_row(key: Key, value: Bucket) -> dict[str, float]:
    return {"series_id": key[0], "start_ms": key[1], "obs": value.obs, "base": value.base}
