"""Copies a ledger to another database, and checks its invariants; no ledger may be in use."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import sqlalchemy as sa

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.ledger import engine, replicas, sketches
from exporter.ledger.engine import Opened
from exporter.ledger.tables import bucket, gap, installation, metadata, query, replica, series

BATCH_ROWS = 5_000
LARGEST_DIFFERENCE = 1e-6
"""Tolerance relative to a sum: doubles were added up in another order."""
LEFT_OUT = frozenset({replica.name, installation.name})
UNCLAIMED = {"claim_expires_ms": 0, "holder": None, "changed_by": "", "changed": 0, "generation": 0}


def copy(source: str, target: str, clock: Clock) -> dict[str, int]:
    """Copy the ledger at ``source`` into a new one at ``target``; return row counts by table.

    Counters, schedule and budgets continue there. Raises ``LedgerError`` if an exporter uses
    either ledger, or if the target has rows.
    """
    if engine.create_engine(source).url == engine.create_engine(target).url:
        raise LedgerError("a ledger cannot be copied to itself; name a new, empty database or file")
    with (
        unused(source, clock) as old,
        unused(target, clock, new=True) as new,
        old.engine.connect() as reading,
        new.engine.begin() as writing,
    ):
        if writing.execute(sa.select(query.c.id).limit(1)).first() is not None:
            raise LedgerError(f"{new.place}: this ledger has rows; copy to a new database")
        engine.allow_minutes(writing)
        copied = {
            table.name: _copy_table(reading, writing, table)
            for table in metadata.sorted_tables
            if table.name not in LEFT_OUT
        }
        writing.execute(sa.update(query).values(UNCLAIMED))
        _give_key(new, writing, _key(old, reading))
    return copied


def check(url: str, clock: Clock) -> list[str]:
    """Return the violated invariants of the ledger at ``url``, one sentence each.

    Checks P2, and the part of P13 about gaps (specification: invariants.md).
    """
    with unused(url, clock) as opened, opened.engine.connect() as tx:
        engine.allow_minutes(tx)
        return [*_wrong_counters(tx), *_wrong_gaps(tx)]


@contextmanager
def unused(url: str, own: Clock, *, new: bool = False) -> Iterator[Opened]:
    """Open the ledger at ``url``, migrated and locked; raise ``LedgerError`` if it is in use.

    It is created only if ``new``, so that a mistyped path does not make an empty ledger.
    """
    if not new and sa.make_url(url).get_backend_name() == "sqlite":
        engine.existing_file(url)
    clock = engine.clock_of(url, own)
    opened = engine.open_engine(url, clock)
    try:
        if opened.check is not None:
            opened.check.result()
        with opened.engine.begin() as tx:
            if replicas.any_alive(tx, clock.now_ms()):
                raise LedgerError(f"{opened.place}: an exporter runs on it; stop it first")
        yield opened
    except sa.exc.SQLAlchemyError as error:
        raise LedgerError(f"the ledger cannot be used: {engine.cause(error)}") from error
    finally:
        opened.close()


def _key(opened: Opened, tx: sa.Connection) -> bytes | None:
    if opened.key_file is not None and opened.key_file.exists():
        return opened.key_file.read_bytes()
    return tx.execute(sa.select(installation.c.key)).scalar()


def _give_key(opened: Opened, tx: sa.Connection, key: bytes | None) -> None:
    """Give the copy the same key: users in sketches of two keys would count twice."""
    if key is not None and opened.key_file is not None:
        if sketches.installation_key(opened.key_file, key) != key:
            raise LedgerError(f"{opened.key_file}: the key of another ledger; delete it first")
    elif key is not None:
        tx.execute(sa.insert(installation).values(id=1, key=key))


def _copy_table(reading: sa.Connection, writing: sa.Connection, table: sa.Table) -> int:
    number = 0
    rows = reading.execution_options(yield_per=BATCH_ROWS).execute(sa.select(table)).mappings()
    for batch in rows.partitions():
        try:
            writing.execute(sa.insert(table), [dict(row) for row in batch])
        except sa.exc.DBAPIError as error:  # whose text repeats the rows
            cause = engine.cause(error)
            raise LedgerError(f"the new database refuses rows of {table.name}: {cause}") from None
        number += len(batch)
    if number and "id" in table.c and writing.dialect.name == "postgresql":
        newest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
        counter = sa.func.pg_get_serial_sequence(table.name, "id")
        writing.execute(sa.select(sa.func.setval(counter, newest)))
    return number


def _wrong_counters(tx: sa.Connection) -> Iterator[str]:
    """Yield series whose c - overhang - written_off is not retired + Σ (obs - base)."""
    counted = (
        sa.select(sa.func.coalesce(sa.func.sum(bucket.c.obs - bucket.c.base), 0.0))
        .where(bucket.c.series_id == series.c.id)
        .scalar_subquery()
    )
    shown = series.c.c - series.c.overhang - series.c.written_off
    found = sa.select(
        series.c.family,
        series.c.labels,
        shown.label("shown"),
        (series.c.retired + counted).label("sum"),
    )
    for row in tx.execute(found):
        if abs(row.shown - row.sum) > LARGEST_DIFFERENCE * max(1.0, abs(row.sum)):
            yield (
                f"{row.family} {row.labels}: the counter amounts to {row.shown:g}, "
                f"its buckets to {row.sum:g}"
            )


def _wrong_gaps(tx: sa.Connection) -> Iterator[str]:
    """Yield gaps that are empty, end after the last read, or overlap."""
    columns = gap.c.from_ms, gap.c.to_ms, query.c.target, query.c.name, query.c.last_read_ms
    found = (
        sa.select(*columns, gap.c.query_id, gap.c.reason)
        .join(query, query.c.id == gap.c.query_id)
        .order_by(gap.c.query_id, gap.c.reason, gap.c.from_ms)
    )
    rows = tx.execute(found).all()
    for row in rows:
        if row.from_ms >= row.to_ms or (row.last_read_ms or 0) < row.to_ms:
            yield f"{row.target}/{row.name}: the gap from {row.from_ms} to {row.to_ms} is invalid"
    for one, other in pairwise(rows):
        same = (one.query_id, one.reason) == (other.query_id, other.reason)
        if same and other.from_ms < one.to_ms:
            yield f"{one.target}/{one.name}: gaps at {one.from_ms} and {other.from_ms} overlap"
