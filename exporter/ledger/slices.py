"""Reads a query's past in slices, first as history, then once a day as an audit.

A slice polls an older window under the query's own claim (specification: schedule.md#the-past).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import msgspec
import sqlalchemy as sa

from exporter.errors import ClaimLost, Reason
from exporter.ledger import claims, label_rules, rules
from exporter.ledger.counters import LoadedSeries
from exporter.ledger.rows import ApplyInput, AuditState, Claim, HistoryState, Retry, claim_of
from exporter.ledger.rules import Bucket, Comparison, Key
from exporter.ledger.settings import join_history
from exporter.ledger.tables import bucket, query, series, slices
from exporter.model.query import Past, PastMode, QueryKey, QuerySpec
from exporter.model.samples import DAY_MS, HOUR_MS, RETENTION_MS, Reading, ceil_to, floor_to

STARVED_MS = HOUR_MS
"""A slice that has waited this long goes ahead of its target's live polls once."""
LOOK_AGAIN_MS = DAY_MS
"""After how long the past of a query that these settings lack is checked again."""
OTHER = query.alias("other")
BUSY_UNTIL: sa.BindParameter[int] = sa.bindparam("busy_until")
"""Now, so that a due query makes its target busy; 0: it does not."""
IDLE = claims.FREE & query.c.target.not_in(
    sa.select(OTHER.c.target).where(
        OTHER.c.state == "active",
        (OTHER.c.next_poll_ms <= BUSY_UNTIL) | (OTHER.c.last_reason == Reason.THROTTLED),
    )
)
LONGEST_WAITING = (
    sa.select(query)
    .join(slices)
    .join(claims.LEAD, claims.LEAD.c.id == claims.FIRST)
    .where(IDLE, slices.c.next_ms <= sa.bindparam("since_ms"), query.c.fail_streak == 0)
    .where(query.c.target.not_in(sa.bindparam("alone", expanding=True)))
    .order_by(slices.c.next_ms, query.c.id)
    .limit(1)
    .with_for_update(of=claims.LEAD, skip_locked=True)
)
TAKE = claims.taking(IDLE)
STATES = sa.select(slices).where(slices.c.query_id.in_(sa.bindparam("queries", expanding=True)))


def begin(given: ApplyInput, floor_ms: int, *, counts: bool) -> None:
    """Schedule the past of a query that has just begun to count, from ``floor_ms`` backwards."""
    if given.spec.initial_lookback_ms is not None:
        _begin(given.tx, given.query.id, given.spec, floor_ms, given.now_ms, counts=counts)


def shorten(tx: sa.Connection, specs: Iterable[QuerySpec], now_ms: int) -> None:
    """Cut histories under way to a shorter ``initial_lookback``; those are due now."""
    columns = query.c.target, query.c.name, query.c.epoch_ms, *slices.c
    reading = sa.select(*columns).join(slices).where(slices.c.mode != PastMode.AUDIT)
    rows = {(row.target, row.name): row for row in tx.execute(reading)}
    for spec in specs:
        row = rows.get(spec.key)
        if row is None or row.epoch_ms is None:
            continue
        asked_ms = row.epoch_ms - (spec.initial_lookback_ms or 0)
        from_ms = floor_to(asked_ms, spec.granularity_ms)
        if from_ms > row.from_ms:
            _set(tx, row.query_id, from_ms=min(from_ms, row.until_ms), next_ms=now_ms)


def wait_anew(tx: sa.Connection, now_ms: int) -> None:
    """Let due slices wait from now on, at a start: no exporter was running to read them."""
    tx.execute(sa.update(slices).where(slices.c.next_ms < now_ms).values(next_ms=now_ms))


def begin_missing(tx: sa.Connection, specs: Iterable[QuerySpec], now_ms: int) -> None:
    """Schedule the past of queries that began under a version that did not read it."""
    without = tx.execute(
        sa.select(query)
        .outerjoin(slices)
        .where(slices.c.query_id.is_(None))
        .where(query.c.epoch_ms.is_not(None), query.c.state == "active")
    )
    rows = {(row.target, row.name): row for row in without}
    for spec in specs:
        row = rows.get(spec.key)
        if row is None or spec.initial_lookback_ms is None:
            continue
        if row.label_rules == label_rules.encode(spec):  # else its next poll does this
            _begin(tx, row.id, spec, row.floor_ms, now_ms)


def _begin(
    tx: sa.Connection,
    query_id: int,
    spec: QuerySpec,
    floor_ms: int,
    now_ms: int,
    *,
    counts: bool = False,
) -> None:
    delete_past(tx, query_id)
    past = rules.history(spec, floor_ms, now_ms, counts=counts)
    columns: dict[str, Any] = {"mode": PastMode.AUDIT, "next_ms": now_ms + spec.audit_every_ms}
    if past is not None:
        bounds = {"from_ms": past.from_ms, "until_ms": past.until_ms}
        columns = {"mode": past.mode, "next_ms": now_ms, **bounds}
    elif counts:
        join_history(tx, query_id, floor_ms)
    tx.execute(sa.insert(slices).values(query_id=query_id, **columns))


def read(tx: sa.Connection, queries: Sequence[int]) -> dict[int, sa.Row[Any]]:
    """Return the rows about the past of ``queries``, by query id."""
    return {row.query_id: row for row in tx.execute(STATES, {"queries": queries})}


def history_pending(row: sa.Row[Any], past: sa.Row[Any] | None) -> bool:
    """Return whether history that counts is still being read, so its sum is not known yet."""
    return row.last_read_ms is None if past is None else past.mode == PastMode.COUNT


def delete_past(tx: sa.Connection, query_id: int) -> None:
    """Discard the progress of a query's past, to be read anew after its next success."""
    tx.execute(sa.delete(slices).where(slices.c.query_id == query_id))


def end_history(tx: sa.Connection, query_id: int) -> None:
    """End a history under way."""
    reading = (slices.c.query_id == query_id) & (slices.c.mode != PastMode.AUDIT)
    tx.execute(sa.update(slices).where(reading).values(from_ms=slices.c.until_ms))


def claim(
    tx: sa.Connection,
    holder: str,
    specs: Mapping[QueryKey, QuerySpec],
    now_ms: int,
    generation: int = 0,
    *,
    ahead: bool = False,
) -> Claim | None:
    """Claim a query with a due slice of its past, of a target that is idle.

    An idle target is not being polled, has no query due, and was not asked to wait. ``ahead``:
    claim one that has waited too long, even if a query of the target is due.
    """
    alone = [spec.target for spec in specs.values() if spec.budget is not None]
    given = {"now_ms": now_ms, "up_to": generation, "alone": alone}
    given |= (
        {"busy_until": 0, "since_ms": now_ms - STARVED_MS}
        if ahead
        else {"busy_until": now_ms, "since_ms": now_ms}
    )
    while (row := tx.execute(LONGEST_WAITING, given).one_or_none()) is not None:
        spec = specs.get((row.target, row.name))
        past = None if spec is None else due_of(tx, row.id, spec, now_ms)
        if spec is None:
            _set(tx, row.id, next_ms=now_ms + LOOK_AGAIN_MS)
        if past is None:  # ``due_of`` has set when to look again
            continue
        taken = tx.execute(TAKE, given | {"q_id": row.id, "q_holder": holder}).one_or_none()
        if taken is not None:
            return replace(claim_of(taken, holder), past=past, ahead=ahead)
    return None


def starved(tx: sa.Connection, now_ms: int) -> bool:
    """Return whether a slice has waited too long, so that one may go ahead of live polls."""
    waiting = (
        sa.select(slices.c.query_id)
        .join(query)
        .where(slices.c.next_ms <= now_ms - STARVED_MS)
        .where(query.c.state == "active", query.c.fail_streak == 0)
    )
    return tx.execute(waiting.limit(1)).first() is not None


def due_of(tx: sa.Connection, query_id: int, spec: QuerySpec, now_ms: int) -> Past | None:
    """Return the part of a query's past to read now; begin an audit if one is due.

    A query without buckets has none; an earlier version scheduled that of streams.
    """
    if spec.initial_lookback_ms is None:
        delete_past(tx, query_id)
        return None
    mine = sa.select(slices).where(slices.c.query_id == query_id, slices.c.next_ms <= now_ms)
    found = tx.execute(mine).one_or_none()
    if found is None:
        return None
    past = _past_of_row(found)
    if past is None:
        row = tx.execute(sa.select(query).where(query.c.id == query_id)).one()
        step_ms = spec.granularity_ms
        from_ms = max(ceil_to(row.floor_ms, step_ms), floor_to(now_ms - RETENTION_MS, step_ms))
        past = Past(PastMode.AUDIT, from_ms, floor_to(row.cursor_ms, step_ms))
        found_text = _encode(Comparison(until_ms=past.until_ms))
        _set(tx, query_id, from_ms=past.from_ms, until_ms=past.until_ms, found=found_text)
    if spec.budget is not None and spec.span_ms is not None:  # one call reads it up to now
        one_call_ms = ceil_to(now_ms + 1, spec.granularity_ms) - spec.span_ms
        past = replace(past, from_ms=max(past.from_ms, one_call_ms))
    if rules.past_window(spec, past, now_ms).length_ms > 0:
        return past
    finish(tx, query_id, spec, now_ms)
    return None


def _past_of_row(row: sa.Row[Any]) -> Past | None:
    """Return the past to read; None for an audit that has not begun."""
    if row.until_ms is None:
        return None
    _, *others = [getattr(row, each.name) for each in fields(Past)]
    return Past(PastMode(row.mode), *others)


def _past(tx: sa.Connection, query_id: int) -> Past | None:
    row = tx.execute(sa.select(slices).where(slices.c.query_id == query_id)).one_or_none()
    return None if row is None else _past_of_row(row)


def under(tx: sa.Connection, held: Claim) -> Past:
    """Return the past to read of a claimed query; raise ``ClaimLost`` if there is none."""
    past = _past(tx, held.query_id)
    if past is None:
        raise ClaimLost(f"{held.target}/{held.query}: no more of its past is to be read")
    return past


def comparable(given: ApplyInput, past: Past) -> Reading | None:
    """Return the part of the reading to apply now; None: older buckets must be read first.

    Buckets that the provider no longer reports, along with everything older, are beyond its reach
    and stay unchanged. An audit must read on to tell that from a retraction.
    """
    reading, window = given.reading, given.reading.window
    if not past.audits or reading.more:
        return reading
    floor_ms = given.query.floor_ms
    reported = [start_ms for _, start_ms, value in reading.counts if value and start_ms >= floor_ms]
    oldest_ms = min(reported, default=None)
    known_ms = _oldest_count_ms(given, max(window.start_ms, floor_ms))
    at_hole = past.hole_ms == past.until_ms
    if oldest_ms is None and known_ms is not None and not at_hole:
        hole_ms = past.hole_ms or past.until_ms
        _read_on(given, replace(past, until_ms=window.start_ms, hole_ms=hole_ms), end_ms=hole_ms)
        return None
    if oldest_ms is not None and past.hole_ms is not None and not at_hole:
        _read_on(given, replace(past, until_ms=past.hole_ms))
        return None
    if oldest_ms is not None and known_ms is not None and known_ms < oldest_ms:
        return reading.since(oldest_ms)
    return reading


def _read_on(given: ApplyInput, rest: Past, *, end_ms: int | None = None) -> None:
    """Continue with ``rest``; if none of it is in reach, end, at ``end_ms`` if given."""
    tx, query_id, now_ms = given.tx, given.query.id, given.now_ms
    more = given.spec.budget is None and rules.past_window(given.spec, rest, now_ms).length_ms > 0
    until_ms = rest.until_ms if more or end_ms is None else end_ms
    columns = {"until_ms": until_ms, "hole_ms": rest.hole_ms, "next_ms": now_ms}
    span_ms = rest.span_ms and 2 * rest.span_ms  # there was time enough for this slice
    _set(tx, query_id, **columns, span_ms=span_ms, backoff_ms=0, quarantine=0)
    if not more:
        finish(tx, query_id, given.spec, now_ms)


def _oldest_count_ms(given: ApplyInput, since_ms: int) -> int | None:
    """Return the start of the oldest nonzero bucket from ``since_ms`` to the end of the slice."""
    oldest = (
        sa.select(sa.func.min(bucket.c.start_ms))
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == given.query.id, bucket.c.obs > 0)
        .where(bucket.c.start_ms >= since_ms, bucket.c.start_ms < given.reading.window.end_ms)
        .where(series.c.family.not_in(given.reading.kept))
        .where(bucket.c.start_ms.not_in(given.reading.absent))
    )
    return given.tx.execute(oldest).scalar()


def compare(
    given: ApplyInput,
    known: Mapping[Key, Bucket],
    values: Mapping[Key, float],
    loaded: LoadedSeries,
) -> None:
    """During an audit, add the differences between ``values`` and ``known`` to its result."""
    if given.past is None or not given.past.audits:
        return
    mine = slices.c.query_id == given.query.id
    text = given.tx.execute(sa.select(slices.c.found).where(mine)).scalar_one()
    found = msgspec.json.decode(text, type=Comparison)
    found.add(known, values, {number: row.family for number, row in loaded.rows.items()})
    _set(given.tx, given.query.id, found=_encode(found))


def move_on(given: ApplyInput, past: Past, *, held: Mapping[str, int]) -> None:
    """Continue with older buckets; in a history, the oldest count found becomes the floor.

    Earlier counts are unknown: the API may not reach back that far.
    """
    tx, query_id, window = given.tx, given.query.id, given.reading.window
    if held:
        next_ms = given.now_ms + given.spec.interval_ms
        _set(tx, query_id, next_ms=next_ms, **held)
        return
    if given.reading.more:
        return
    oldest_ms = None if past.audits else _oldest_count_ms(given, window.start_ms)
    if oldest_ms is not None:
        mine = sa.update(query).where(query.c.id == query_id, query.c.floor_ms > oldest_ms)
        tx.execute(mine.values(floor_ms=oldest_ms, oldest_ms=oldest_ms))
    _read_on(given, replace(past, until_ms=window.start_ms, hole_ms=None))


def finish(tx: sa.Connection, query_id: int, spec: QuerySpec, now_ms: int) -> None:
    """End a history or an audit at its present position; schedule the next audit."""
    row = tx.execute(sa.select(slices).where(slices.c.query_id == query_id)).one()
    columns: dict[str, Any] = dict.fromkeys(("from_ms", "until_ms", "hole_ms", "span_ms"))
    if row.mode == PastMode.COUNT:
        floor_ms = tx.execute(
            sa.select(query.c.floor_ms).where(query.c.id == query_id)
        ).scalar_one()
        join_history(tx, query_id, floor_ms)
    if row.mode == PastMode.AUDIT:
        found = msgspec.json.decode(row.found, type=Comparison)
        found.from_ms = row.until_ms
        columns |= {"audited": _encode(found), "audited_ms": now_ms}
    _set(
        tx,
        query_id,
        mode=PastMode.AUDIT,
        next_ms=now_ms + spec.audit_every_ms,
        backoff_ms=0,
        quarantine=0,
        found="{}",
        **columns,
    )


def give_way(tx: sa.Connection, held: Claim, spec: QuerySpec, now_ms: int) -> None:
    """End the claim of an unread slice, and make the next one half as long.

    A slice that went ahead of live polls has had its turn and starts waiting anew.
    """
    claims.end(tx, held)
    past = _past(tx, held.query_id)
    if past is not None:  # else it was the last slice, already applied
        window = rules.past_window(spec, past, now_ms)
        turn: dict[str, Any] = {"next_ms": now_ms} if held.ahead else {}
        _set(tx, held.query_id, span_ms=rules.smaller_span_ms(spec, window), **turn)


def fail(tx: sa.Connection, held: Claim, retry: Retry) -> None:
    """Record a slice that could not be read and when to try again; end the claim."""
    claims.end(tx, held)
    _set(tx, held.query_id, next_ms=retry.next_poll_ms, backoff_ms=max(1, retry.backoff_ms))


def state(
    row: sa.Row[Any], per_unit: Mapping[str, int]
) -> tuple[HistoryState | None, AuditState | None]:
    """Return the progress of a query's history, and what its last audit found, in whole units."""
    history, audit = None, None
    if row.mode != PastMode.AUDIT:
        counts, failing = row.mode == PastMode.COUNT, row.backoff_ms > 0
        history = HistoryState(row.from_ms, row.until_ms, counts=counts, failing=failing)
    if row.audited is not None:
        found = msgspec.json.decode(row.audited, type=Comparison)
        found.difference = {
            family: parts / per_unit.get(family, 1) for family, parts in found.difference.items()
        }
        audit = AuditState(at_ms=row.audited_ms, **asdict(found))
    return history, audit


def _encode(found: Comparison) -> str:
    return msgspec.json.encode(found).decode()


def _set(tx: sa.Connection, query_id: int, **columns: Any) -> None:
    tx.execute(sa.update(slices).where(slices.c.query_id == query_id).values(**columns))
