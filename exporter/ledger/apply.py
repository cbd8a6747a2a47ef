"""T-apply: one complete reading into the ledger, all or nothing (``semantics.md`` B.2, C.3)."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger import (
    buckets,
    claims,
    counters,
    gauges,
    label_rules,
    repeats,
    rules,
    sketches,
    streams,
)
from exporter.ledger.periods import settled_until
from exporter.ledger.rows import Applied
from exporter.ledger.rules import Bucket, Figures, Frame, Key, Merge
from exporter.ledger.settings import encode_label_rules
from exporter.ledger.tables import gap, poll_log, query
from exporter.ledger.work import Work, add_self_counts
from exporter.model.samples import Series, Window, floor_to

CONFIRMATIONS = 2
NOTHING = Merge({}, {})


def apply_reading(work: Work, poll_id: str) -> Applied:
    """Apply one reading and move the query on; a repeated ``poll_id`` changes nothing."""
    row = claims.check(work.tx, work.claim)
    if _already_applied(work, poll_id):
        return Applied(held=False, counted={}, rows=0)
    work.label_rules_changed = row.label_rules != encode_label_rules(work.spec)
    if work.reading.gauges_only:
        gauges.store(work)
        _update_query(work, **_memo(work))
        return _finished(work, held=False)
    if work.spec.stream:
        return _apply_events(work, row)
    told = repeats.last_reading(row, work.reading)
    if repeats.repeated(told, work.before) and not work.label_rules_changed:
        counters.write(work, NOTHING, forgive=False)
    elif not _count(work, row):
        _update_query(work, quarantine=row.quarantine + 1)
        return _finished(work, held=True)
    work.told = None if work.crowded else told
    gauges.store(work)
    _move_on(work, row)
    return _finished(work, held=False)


def _apply_events(work: Work, row: sa.Row[Any]) -> Applied:
    counted = streams.count(work, row)
    sketches.store(work, row, counted)
    if work.label_rules_changed:
        label_rules.hide(work.tx, work.spec, counters.known(work), work.families)
    _move_on(work, row)
    return _finished(work, held=False)


def _count(work: Work, row: sa.Row[Any]) -> bool:
    """Count the reading's buckets; say False, with nothing changed, to hold a collapse back."""
    if work.reading.kept and row.epoch_ms is None:
        raise SchemaError(f"{work.spec.name}: a first read must be whole", "missing")
    known = counters.known(work)
    rows = counters.fold(work, known)
    before = buckets.load(work, row.floor_ms)
    odd = _looks_collapsed(row, before.figures, rows, known, _moved(work, row, known))
    if odd and row.quarantine < CONFIRMATIONS:
        return False
    created, adopted = counters.create(work, rows.keys() - known.keys())
    ids = known | created
    frame = _frame(work, row, _moved(work, row, ids) | adopted)
    old, new = _compared(before, buckets.by_number(rows, ids, row.floor_ms), frame)
    merged = rules.merge(old, new, frame)
    buckets.write(work, old, merged)
    counters.write(work, merged, forgive=odd)
    if odd:
        work.count_query("provider_resets_total")
    _count_revisions(work, merged)
    if work.label_rules_changed:
        label_rules.hide(work.tx, work.spec, ids, work.families)
    return True


def _compared(
    before: buckets.Known, now: Figures, frame: Frame
) -> tuple[dict[Key, Bucket], dict[Key, float]]:
    """Return what is known and what was read of the buckets that the read may change."""
    places = rules.concerned(before.figures, now, frame)
    return before.at(places), buckets.flat(now, places)


def _already_applied(work: Work, poll_id: str) -> bool:
    seen = sa.select(poll_log.c.poll_id).where(poll_log.c.poll_id == poll_id)
    if work.tx.execute(seen).scalar() is not None:
        return True
    work.tx.execute(
        sa.insert(poll_log).values(
            poll_id=poll_id, query_id=work.claim.query_id, committed_ms=work.now_ms
        )
    )
    return False


def _moved(work: Work, row: sa.Row[Any], ids: Mapping[Series, int]) -> frozenset[int]:
    """Return the series that the label_rules in force takes from other raw values than before."""
    if not work.label_rules_changed:
        return frozenset()
    new = counters.born_since(work, work.started_ms)
    return label_rules.changed(row.label_rules, work.spec, ids, work.families, new)


def _frame(work: Work, row: sa.Row[Any], moved: frozenset[int]) -> Frame:
    return Frame(
        window=work.reading.window,
        granularity_ms=work.spec.granularity_ms,
        settle_ms=work.spec.settle_ms,
        baseline=row.epoch_ms is None and not _counts_history(work, row),
        last_read_ms=row.last_read_ms,
        rebased=moved.__contains__,
    )


def _counts_history(work: Work, row: sa.Row[Any]) -> bool:
    """Say whether a first read counts in full: not that of a new meaning, which would repeat it."""
    return work.spec.history and row.last_read_ms is None


def _looks_collapsed(
    row: sa.Row[Any],
    before: Figures,
    rows: Mapping[Series, Mapping[int, float]],
    known: Mapping[Series, int],
    moved: frozenset[int],
) -> bool:
    """Say whether a collapse must be held back until the next two polls say the same.

    A series that was given other raw values has no figures of its own to compare.
    """
    same = {number: values for number, values in before.items() if number not in moved}
    now = buckets.by_number(rows, known, row.floor_ms)
    empty = not any(value for values in rows.values() for value in values.values())
    return row.epoch_ms is not None and rules.collapsed(same, now, empty=empty)


def _count_revisions(work: Work, merged: Merge) -> None:
    for (direction, stage), number in merged.revisions.items():
        work.count_query("revisions_total", number, direction=direction, stage=stage)
    work.count_query("retracted_total", merged.retracted)


def _move_on(work: Work, row: sa.Row[Any]) -> None:
    """Advance cursor, epoch and floor; a resumed or rebased query leaves a gap where it was blind."""
    window = work.reading.window
    last = not work.reading.more
    cursor = _cursor_ms(work, row)
    _record_gap(work, row, window, cursor)
    columns: dict[str, Any] = {
        "floor_ms": _floor_ms(work, row),
        "cursor_ms": max(cursor, row.cursor_ms or cursor),
    } | _memo(work)
    if last:
        columns["quarantine"] = 0  # an earlier part of the poll says nothing of what is held back
        columns["epoch_ms"] = row.epoch_ms or work.started_ms
        columns["last_read_ms"] = work.started_ms
        columns["label_rules"] = encode_label_rules(work.spec)
    if work.reading.watermark_ms is not None:
        columns["watermark_ms"] = max(work.reading.watermark_ms, row.watermark_ms or 0)
    _update_query(work, **columns)


def _floor_ms(work: Work, row: sa.Row[Any]) -> int:
    """Return where counting begins: that of the first poll, or of the first with new labels.

    What is older was counted under the old labels, and read again it would count twice.
    """
    start_ms = work.reading.window.start_ms
    if row.floor_ms is None:
        return start_ms
    begins = work.first and not work.spec.stream and work.label_rules_changed
    return max(row.floor_ms, start_ms) if begins else int(row.floor_ms)


def _cursor_ms(work: Work, row: sa.Row[Any]) -> int:
    """Return up to where buckets are settled and read: of a stream, whole hours that are drained."""
    step_ms, end_ms = work.spec.granularity_ms, work.reading.window.end_ms
    if not step_ms:
        return end_ms
    if work.spec.stream:
        end_ms = floor_to(max(work.reading.watermark_ms or 0, row.watermark_ms or 0), step_ms)
    return min(settled_until(work.now_ms, step_ms, work.spec.settle_ms), end_ms)


def _memo(work: Work) -> dict[str, Any]:
    memo = work.reading.memo
    return {} if memo is None else {"memo": msgspec.json.encode(memo).decode()}


def _record_gap(work: Work, row: sa.Row[Any], window: Window, cursor_ms: int) -> None:
    if row.epoch_ms is None:  # first poll ever, or the first of a new meaning
        if row.last_success_ms is None or work.reading.more:
            return
        lost = Window(row.last_success_ms, work.started_ms)
    else:
        reached_ms = row.watermark_ms if work.spec.stream else row.cursor_ms
        # Between two parts of one poll there may be hours that are not settled: they come again.
        until_ms = window.start_ms if work.spec.stream else min(window.start_ms, cursor_ms)
        lost = Window(reached_ms or window.start_ms, until_ms)
    if lost.length_ms <= 0 or not work.spec.granularity_ms:
        return
    reason = "rebase" if row.epoch_ms is None else "unreadable"
    work.tx.execute(
        sa.insert(gap).values(
            query_id=work.claim.query_id,
            from_ms=lost.start_ms,
            to_ms=lost.end_ms,
            reason=reason,
            at_ms=work.now_ms,
        )
    )
    work.count_query("coverage_gaps_total")
    work.count_query("coverage_gap_seconds_total", lost.length_ms / 1000)


def _update_query(work: Work, **columns: Any) -> None:
    work.tx.execute(sa.update(query).where(query.c.id == work.claim.query_id).values(**columns))


def _finished(work: Work, *, held: bool) -> Applied:
    for kind, number in work.reading.drift.items():
        work.count_query("schema_drift_total", number, kind=kind)
    work.count_dropped(work.reading.dropped)
    add_self_counts(work.tx, work.counted)
    rows = len(work.reading.counts) + len(work.reading.events)
    return Applied(held=held, counted=dict(work.counted), rows=rows)
