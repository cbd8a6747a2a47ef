"""Brings the ledger's queries and series in line with the settings."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from exporter.errors import LedgerError
from exporter.ledger import label_rules
from exporter.ledger.rows import decode_series
from exporter.ledger.tables import (
    bucket,
    gauge,
    query,
    self_counter,
    series,
    set_query,
    slices,
)
from exporter.model.query import PastMode, QueryKey, QuerySpec
from exporter.model.samples import Family, Series

OWN_PREFIX = "chatbot_custom_"


def sync_queries(
    tx: sa.Connection,
    specs: Sequence[QuerySpec],
    families: Mapping[str, Family],
    now_ms: int,
    *,
    holder: str = "",
    generation: int = 0,
) -> None:
    """Make ``specs`` the active queries: new ones are due now, missing ones stop, others continue.

    One that only has another name continues under it. Queries that are new, changed or removed
    belong to ``generation`` of the settings from now on.
    """
    rows = {(row.target, row.name): row for row in tx.execute(sa.select(query))}
    known = list(rows.values())
    _follow_names(rows, specs)
    held_ms = _held_until(known)
    for spec in specs:
        row = rows.pop(spec.key, None)
        if row is not None and row.provider != spec.provider:  # its series have another label
            former = f"{row.name} #{row.id}"
            set_query(tx, row.id, name=former)
            rows[row.target, former] = row
            row = None
        if row is None:
            tx.execute(
                sa.insert(query).values(
                    **_columns(spec),
                    label_rules=label_rules.encode(spec),
                    next_poll_ms=now_ms,
                    state_ms=now_ms,
                    generation=generation,
                )
            )
        else:
            if _update(tx, row, spec, families, now_ms, stood_in=_stood_in(row, known)):
                changed = {"name": spec.name, "generation": generation}
                set_query(tx, row.id, **changed, **_claim_ended(row, holder))
            _end_long_wait(tx, row, spec, now_ms, held_ms.get(spec.target, 0))
    for row in rows.values():
        if row.state == "active":
            gone = {"state": "removed", "state_ms": now_ms, "generation": generation}
            set_query(tx, row.id, **gone, **_claim_ended(row, holder))
            tx.execute(sa.delete(gauge).where(gauge.c.query_id == row.id))


def _follow_names(rows: dict[QueryKey, sa.Row[Any]], specs: Sequence[QuerySpec]) -> None:
    """Move the rows of queries whose name alone has changed to their new keys.

    Names that were swapped stay: each of the two has the other's series.
    """
    names = {spec.key for spec in specs}
    gone = {
        (row.target, row.fingerprint): key
        for key, row in rows.items()
        if row.state == "active" and key not in names
    }
    for spec in specs:
        key = None if spec.key in rows else gone.get((spec.target, spec.fingerprint))
        if key in rows and label_rules.keeps_names(rows[key].label_rules, spec):
            rows[spec.key] = rows.pop(key)


def _claim_ended(row: sa.Row[Any], holder: str) -> dict[str, object]:
    """Return the columns that end the claim of a poll whose meaning has changed.

    Another replica's claim still reserves the target: its request may be under way.
    """
    return {"holder": None} | ({"claim_expires_ms": 0} if row.holder == holder else {})


def rename(tx: sa.Connection, old: str, new: str, holder: str, generation: int) -> None:
    """Move the queries and series of target ``old`` to the name ``new``; its self counters end.

    Does nothing if the ledger already knows ``new``, as at every start after the first. Polls under
    way lose their claims, as with any change of their meaning.
    """
    if tx.execute(sa.select(query.c.id).where(query.c.target == new).limit(1)).scalar() is not None:
        return
    owned = sa.select(query.c.id).where(query.c.target == old)
    for table in (series, gauge):
        for family, text in tx.execute(
            sa.select(table.c.family, table.c.labels).where(table.c.query_id.in_(owned))
        ).all():
            labels = msgspec.json.decode(text) | {"target": new}
            moved = msgspec.json.encode(labels, order="sorted").decode()
            mine = (table.c.family == family) & (table.c.labels == text)
            tx.execute(sa.update(table).where(mine).values(labels=moved))
    for row in tx.execute(sa.select(query).where(query.c.target == old)).all():
        set_query(tx, row.id, target=new, generation=generation, **_claim_ended(row, holder))
    tx.execute(sa.delete(self_counter).where(self_counter.c.target == old))


def delete_redefined(
    tx: sa.Connection, families: Mapping[str, Family], *, holder: str = "", generation: int = 0
) -> None:
    """Delete series of user-defined families whose labels or parts per unit have changed.

    Their queries start over: else what they report of the past would count again.
    """
    for table in (series, gauge):
        asked: sa.Select[Any] = (
            sa.select(table.c.family, table.c.labels, table.c.query_id)
            .add_columns(query.c.label_rules, query.c.holder)
            .join(query, query.c.id == table.c.query_id)
            .where(table.c.family.startswith(OWN_PREFIX, autoescape=True))
        )
        for row in tx.execute(asked).all():
            family = families.get(row.family)
            if family is None or _is_as_before(family, row.labels, row.label_rules):
                continue
            mine = (table.c.family == row.family) & (table.c.labels == row.labels)
            mine &= table.c.query_id == row.query_id
            if table is series:
                counted = sa.select(series.c.id).where(mine)
                tx.execute(sa.delete(bucket).where(bucket.c.series_id.in_(counted)))
                _rebase(tx, row.query_id, generation=generation, **_claim_ended(row, holder))
            tx.execute(sa.delete(table).where(mine))


def _is_as_before(family: Family, labels: str, rules: str) -> bool:
    counted = label_rules.per_unit(rules).get(family.name, 1)
    return {*msgspec.json.decode(labels)} == {*family.labels} and counted == family.per_unit


def _columns(spec: QuerySpec) -> dict[str, object]:
    return {
        "target": spec.target,
        "name": spec.name,
        "provider": spec.provider,
        "fingerprint": spec.fingerprint,
        "start_mode": _start_mode(spec),
    }


def _start_mode(spec: QuerySpec) -> str:
    return "history" if spec.history else "zero"


def _stood_in(row: sa.Row[Any], known: Iterable[sa.Row[Any]]) -> bool:
    """Return whether another query has counted the same data since this one was removed."""
    return row.state == "removed" and any(
        (each.target, each.fingerprint) == (row.target, row.fingerprint)
        and (each.state == "active" or each.state_ms > row.state_ms)
        for each in known
    )


def _update(
    tx: sa.Connection,
    row: sa.Row[Any],
    spec: QuerySpec,
    families: Mapping[str, Family],
    now_ms: int,
    *,
    stood_in: bool,
) -> bool:
    """Bring the row of a known query in line with ``spec``; return whether it changed."""
    if spec.history and row.start_mode == "zero" and row.epoch_ms is not None:
        raise LedgerError(
            f"{spec.target}/{spec.name}: start: history would make a live counter jump; "
            "keep start: zero, or give the target a new name"
        )
    if row.epoch_ms is None:
        set_query(tx, row.id, start_mode=_start_mode(spec))
    if row.state != "active":
        set_query(tx, row.id, state="active", state_ms=now_ms)
    rules = label_rules.encode(spec)
    if row.fingerprint != spec.fingerprint or stood_in:
        # What a stream counted before, it perhaps counted without ids.
        known_ms = row.ids_from_ms if row.epoch_ms is None else now_ms
        _rebase(tx, row.id, **_columns(spec), ids_from_ms=known_ms)
    elif label_rules.latest(row.label_rules) != rules:  # if equal, earlier ones are read again
        _change_label_rules(tx, row, spec, families)
    if row.name != spec.name:  # its labels may be those of the old name
        tx.execute(sa.delete(gauge).where(gauge.c.query_id == row.id))
    before = row.state, row.name, row.fingerprint, row.label_rules
    return before != ("active", spec.name, spec.fingerprint, rules)


def _change_label_rules(
    tx: sa.Connection, row: sa.Row[Any], spec: QuerySpec, families: Mapping[str, Family]
) -> None:
    """Have the past read again under new label rules, which are in force if they change no series."""
    if _touched(tx, row, spec, families):
        _end_past(tx, row.id)
    else:
        set_query(tx, row.id, label_rules=label_rules.encode(spec))


def _end_past(tx: sa.Connection, query_id: int) -> None:
    """Discard the progress of a query's past; a history that counts ends with what was read."""
    mine = slices.c.query_id == query_id
    found = sa.select(slices.c.mode, query.c.floor_ms).join(query).where(mine)
    mode, floor_ms = tx.execute(found).one_or_none() or (None, 0)
    if mode == PastMode.COUNT:
        join_history(tx, query_id, floor_ms)
    tx.execute(sa.delete(slices).where(mine))


def join_history(tx: sa.Connection, query_id: int, floor_ms: int) -> None:
    """Show the counters of a query whose history counts and has been read, starting at their sum.

    A backfill of their past ends there, so no 0 comes first, and they date from the floor.
    """
    mine = (series.c.query_id == query_id) & series.c.history.is_(None)
    joined = {"history": series.c.c, "created_ms": floor_ms, "held": None, "held_since_ms": None}
    tx.execute(sa.update(series).where(mine).values(joined))


def _touched(
    tx: sa.Connection, row: sa.Row[Any], spec: QuerySpec, families: Mapping[str, Family]
) -> bool:
    """Return whether a change of label rules, caps or parts per unit concerns a series."""
    if label_rules.per_unit(row.label_rules) != spec.per_unit:
        return True
    known = tx.execute(sa.select(series).where(series.c.query_id == row.id)).all()
    ids = {
        decode_series(families, each.family, each.labels): each.id
        for each in known
        if each.family in families
    }
    new = {each.id for each in known if each.created_ms > (row.last_success_ms or 0)}
    return bool(label_rules.rebased(row.label_rules, spec, ids, families, new))


def _held_until(rows: Iterable[sa.Row[Any]]) -> dict[str, int]:
    """Return until when failures keep each target quiet, perhaps at the provider's request."""
    held: dict[str, int] = {}
    for row in rows:
        if row.fail_streak:
            held[row.target] = max(held.get(row.target, 0), row.next_poll_ms)
    return held


def _end_long_wait(
    tx: sa.Connection, row: sa.Row[Any], spec: QuerySpec, now_ms: int, held_ms: int
) -> None:
    """Make a query due if its wait exceeds its interval, unless a failure explains that."""
    longest_ms = spec.interval_ms + spec.interval_ms // 10  # slots have some jitter
    if spec.budget is None and row.next_poll_ms > max(now_ms + longest_ms, held_ms):
        set_query(tx, row.id, next_poll_ms=now_ms)


def _rebase(tx: sa.Connection, query_id: int, **columns: Any) -> None:
    """Start over from a new baseline after a change of meaning; what was counted stays counted.

    Gauges are withdrawn: another query may show them from now on.
    """
    _end_past(tx, query_id)
    tx.execute(sa.delete(gauge).where(gauge.c.query_id == query_id))
    retire_buckets(tx, series.c.query_id == query_id)
    set_query(
        tx,
        query_id,
        **columns,
        epoch_ms=None,
        floor_ms=None,
        cursor_ms=None,
        quarantine=0,
        watermark_ms=None,
        memo="{}",
    )


def digest(specs: Sequence[QuerySpec]) -> bytes:
    """Return a 16-byte digest, equal for settings whose queries have the same meaning."""
    meanings = [(*spec.key, spec.fingerprint, label_rules.encode(spec)) for spec in specs]
    return hashlib.blake2b(msgspec.msgpack.encode(sorted(meanings)), digest_size=16).digest()


def retire_buckets(
    tx: sa.Connection, which: sa.ColumnElement[bool], until_ms: int | None = None
) -> None:
    """Retire buckets of the series ``which``, if given only before ``until_ms``; no counter moves.

    When all are retired, ``retired_base`` becomes 0: the past is read anew and must not add to it.
    """
    old = sa.true() if until_ms is None else bucket.c.start_ms < until_ms

    def summed(amount: sa.ColumnElement[float]) -> sa.ScalarSelect[float]:
        total = sa.select(sa.func.coalesce(sa.func.sum(amount), 0.0))
        return total.where(bucket.c.series_id == series.c.id, old).scalar_subquery()

    sums = {
        "retired": series.c.retired + summed(bucket.c.obs - bucket.c.base),
        "retired_base": 0.0 if until_ms is None else series.c.retired_base + summed(bucket.c.base),
    }
    tx.execute(sa.update(series).where(which).values(**sums))
    mine = sa.select(series.c.id).where(which)
    tx.execute(sa.delete(bucket).where(bucket.c.series_id.in_(mine), old))


def hide_unreachable(
    tx: sa.Connection,
    spec: QuerySpec,
    ids: Mapping[Series, int],
    families: Mapping[str, Family],
) -> None:
    """Hide series that the query can no longer produce from ``/metrics``; show the others."""
    gone = label_rules.unreachable(spec, ids, families)
    _set_state(tx, gone, series.c.state != "hidden", "hidden")
    _set_state(tx, set(ids.values()) - gone, series.c.state == "hidden", "live")


def _set_state(tx: sa.Connection, ids: set[int], which: sa.ColumnElement[bool], state: str) -> None:
    if ids:
        tx.execute(
            sa.update(series).where(series.c.id == sa.bindparam("s_id"), which).values(state=state),
            [{"s_id": number} for number in ids],
        )
