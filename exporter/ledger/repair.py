"""Repairs of a ledger while no exporter runs: deleting a target, raising counters."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

import sqlalchemy as sa

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.ledger import budget, counters, engine
from exporter.ledger.rows import Shown, decode_labels, encode_labels
from exporter.ledger.tables import OF_QUERY, bucket, query, self_counter, series
from exporter.ledger.transfer import unused
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import Family
from exporter.telemetry.counters import PREFIX


def delete_target(url: str, target: str, clock: Clock) -> dict[str, int]:
    """Delete everything about ``target`` from the ledger at ``url``; return row counts by table.

    A call budget belongs to the vendor's account and stays. Raises ``LedgerError`` if an exporter
    uses the ledger or the target is unknown.
    """
    with unused(url, clock) as opened:
        with opened.engine.begin() as tx:
            engine.allow_minutes(tx)
            known = sorted(tx.execute(sa.select(query.c.target).distinct()).scalars())
            if target not in known:
                raise LedgerError(f"{opened.place}: no target {target!r}; it knows {known}")
            queries = sa.select(query.c.id).where(query.c.target == target)
            owned = sa.select(series.c.id).where(series.c.query_id.in_(queries))
            deleted = {
                table.name: tx.execute(sa.delete(table).where(of_target)).rowcount
                for table, of_target in (
                    (bucket, bucket.c.series_id.in_(owned)),
                    *((each, each.c.query_id.in_(queries)) for each in OF_QUERY),
                    (query, query.c.target == target),
                    (self_counter, self_counter.c.target == target),
                )
            }
        if not opened.shared:  # deleted rows stay in the file's free pages until it is rewritten
            with closing(opened.engine.raw_connection()) as file:
                try:
                    file.cursor().execute("VACUUM")
                except sqlite3.Error as error:
                    todo = f"once there is room, run: sqlite3 {opened.place} VACUUM"
                    raise LedgerError(f"deleted, but not rewritten ({error}); {todo}") from None
    return deleted


def raise_counters(
    url: str,
    specs: Sequence[QuerySpec],
    families: Mapping[str, Family],
    shown: Sequence[Shown],
    clock: Clock,
) -> int:
    """Raise the counters of a restored ledger to what was ``shown`` since; return how many.

    The difference is overhang, repaid as the next polls read that time again. A call of every
    budget counts as spent now. The exporter's own counters are raised if the ledger has them;
    series that no query of ``specs`` feeds are left out. Raises ``LedgerError`` if an exporter uses
    the ledger. Source: counting.md, "When the ledger is lost or restored".
    """
    own = [each for each in shown if each.family.startswith(PREFIX)]
    with unused(url, clock) as opened, opened.engine.begin() as tx:
        engine.allow_minutes(tx)
        now_ms, raised = clock.now_ms(), 0
        by_query = _by_query(tx, specs, families, shown)
        known = {tuple(row) for row in tx.execute(sa.select(query.c.target, query.c.name))}
        for spec in specs:
            if spec.key in known and by_query[spec.key]:
                counters.raise_to(tx, spec, families, by_query[spec.key], now_ms)
                raised += len(by_query[spec.key])
            if spec.budget:
                budget.note_spent(tx, spec.budget.name, now_ms)
        for each in own:
            labels = encode_labels(families[each.family].labels, each.labels)
            lower = (self_counter.c.labels == labels) & (self_counter.c.v < each.value)
            raised_to = sa.update(self_counter).values(v=each.value)
            tx.execute(raised_to.where(self_counter.c.name == each.family, lower))
    return raised


def _by_query(
    tx: sa.Connection,
    specs: Iterable[QuerySpec],
    families: Mapping[str, Family],
    shown: Iterable[Shown],
) -> Mapping[QueryKey, list[Shown]]:
    """Return the provider's series in ``shown`` by the query that feeds them."""
    known, keys = _owners(tx, families), {spec.key: spec for spec in specs}
    found = defaultdict[QueryKey, list[Shown]](list)
    for each in shown:
        spec = keys.get(known.get((each.family, each.labels), ("", ""))) or _feeding(specs, each)
        if spec is not None and not each.family.startswith(PREFIX):
            found[spec.key].append(each)
    return found


def _owners(
    tx: sa.Connection, families: Mapping[str, Family]
) -> Mapping[tuple[str, tuple[str, ...]], QueryKey]:
    """Return the query of each series in the ledger."""
    columns = series.c.family, series.c.labels, query.c.target, query.c.name
    rows = tx.execute(sa.select(*columns).join(query, query.c.id == series.c.query_id))
    return {
        (family, decode_labels(families[family].labels, text)): (target, name)
        for family, text, target, name in rows
        if family in families
    }


def _feeding(specs: Iterable[QuerySpec], each: Shown) -> QuerySpec | None:
    """Return the query that feeds a series; None if that is ambiguous.

    If a target has several queries of a kind, their names end with project and environment, whose
    names may have slashes as well.
    """
    _, target, *labels = each.labels
    parts = {part for label in labels for part in label.split("/")}
    of_kind = [spec for spec in specs if spec.target == target and each.family in spec.fields]
    named = [spec for spec in of_kind if set(spec.name.split("/")[1:]) <= parts]
    return named[0] if len(named) == 1 else None
