"""Applies one complete reading, all or nothing, and advances its query (specification: ledger.md).

A reading equal to the previous one skips loading and comparing buckets. That is sound: buckets
change only by a reading under a claim, and every claim raises the token; by retirement, which
moves the floor; and by new settings, which update ``state_ms`` or end the epoch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from exporter.errors import SchemaError
from exporter.ledger import (
    counters,
    gauges,
    label_rules,
    rules,
    settings,
    sketches,
    slices,
    streams,
)
from exporter.ledger.counters import LoadedSeries
from exporter.ledger.hours import MEASURES
from exporter.ledger.rows import Applied, ApplyInput, Counts, LastReading, unread_since
from exporter.ledger.rules import Bucket, Frame, Key
from exporter.ledger.tables import gap, set_query
from exporter.model.query import Past, PastMode
from exporter.model.samples import SECOND_MS, Window, floor_to

CONFIRMATIONS = 2
"""How many more polls must repeat a collapse before it is counted."""


class _Counted(NamedTuple):
    """The result of counting a reading's buckets.

    ``dropped``: a cap left some series without a place of its own. ``held``: the columns to set if
    the reading looks like a collapse, in which case no bucket was changed.
    """

    self_counts: Counts
    dropped: bool = False
    held: Mapping[str, int] = MappingProxyType({})


def apply_reading(given: ApplyInput) -> tuple[Applied, LastReading | None]:
    """Apply one reading; return what it changed, and what the next reading can be compared with.

    Applying a committed reading again counts nothing: its buckets and event ids are already stored.
    """
    if given.past is not None:
        return _apply_slice(given, given.past), None
    if given.reading.gauges_only:
        if memo := _memo(given):
            set_query(given.tx, given.query.id, **memo)
        return _applied(given, gauges.store(given)), None
    if given.spec.stream:
        if given.is_first:
            _check_whole(given)
        loaded = counters.load_series(given)
        counts, counted = streams.count(given, loaded)
        _hide_unreachable(given, loaded)
        counts += sketches.store(given, counted)
        return _applied(given, counts + _move_on(given)), None
    last = _last_reading(given)
    if last is not None and last.repeats(given.last_reading) and not given.label_rules_changed:
        counts = counters.write_off_aged(given)
    else:
        found = _count_buckets(given)
        counts = found.self_counts
        if found.held:
            set_query(given.tx, given.query.id, **found.held)
            return _applied(given, counts, held=True), None
        last = None if found.dropped else last
    return _applied(given, counts + gauges.store(given) + _move_on(given)), last


def _apply_slice(given: ApplyInput, past: Past) -> Applied:
    part = slices.comparable(given, past)
    if part is None:
        return _applied(given, [])
    given = replace(given, reading=part)
    counted = _count_buckets(given)
    slices.move_on(given, past, held=counted.held)
    return _applied(given, counted.self_counts, held=bool(counted.held))


def _last_reading(given: ApplyInput) -> LastReading | None:
    """Return a digest of the reading; None if the next poll cannot repeat it.

    That is the case for a poll in parts, and for one whose rows become the baseline.
    """
    reading, row = given.reading, given.query
    if row.epoch_ms is None or reading.more:
        return None
    window = reading.window.start_ms, reading.window.end_ms
    unread = sorted(reading.kept), sorted(reading.absent)
    reported = msgspec.msgpack.encode((window, unread, reading.counts))
    digest = hashlib.blake2b(reported, digest_size=16).digest()
    return LastReading(row.token, row.state_ms, row.floor_ms, digest)


def _count_buckets(given: ApplyInput) -> _Counted:
    """Count the reading's buckets, or hold back a suspected collapse."""
    reading, first = given.reading, given.is_first
    if first:
        _check_whole(given)
    floor_ms = _counted_from_ms(given)
    loaded = counters.load_series(given)
    room = counters.room(given, loaded)
    places = rules.place(reading.counts, given.families, room)
    values = rules.sum_counts(reading.counts, places, loaded.ids, floor_ms)
    window = Window(max(reading.window.start_ms, floor_ms), reading.window.end_ms)
    known = counters.load_buckets(given, window)
    # A series that now covers other raw values cannot be compared with its former buckets.
    rebased = _rebased(given, loaded)
    same = {key: old for key, old in known.items() if key[0] not in rebased} if rebased else known
    empty = not any(value for _, _, value in reading.counts)
    collapse = not first and rules.looks_collapsed(
        same, values, empty=empty, per_unit=_per_unit(given, loaded)
    )
    counts = given.count_dropped(room.dropped)
    if collapse and (held := _held(given, same, values)):
        return _Counted(counts, held=held)
    created = counters.create_series(given, loaded, places.values())
    if created is not loaded:
        values = rules.sum_counts(reading.counts, places, created.ids, floor_ms)
    slices.compare(given, known, values, created)
    merged = rules.merge(known, values, _frame(given, created))
    counts += counters.write(given, created, merged, forgive=collapse)
    counts += given.count_query("provider_resets_total", int(collapse))
    _hide_unreachable(given, created)
    return _Counted(counts, dropped=bool(room.dropped))


def _held(
    given: ApplyInput, known: Mapping[Key, Bucket], values: Mapping[Key, float]
) -> dict[str, int]:
    """Return the columns to set while a collapse awaits confirmation; none once it is confirmed."""
    row, at_ms = given.past or given.query, (given.past or given.query).quarantine_ms
    # Without an instant, an earlier part of this poll was confirmed.
    same = not given.first if at_ms is None else given.reading.window.holds(at_ms)
    repeats = row.quarantine if same else 0
    if repeats < CONFIRMATIONS:
        # The bucket that lost most, since the borders of parts move from poll to poll.
        _, most_ms = max(known, key=lambda key: known[key].obs - values.get(key, 0.0))
        return {"quarantine": repeats + 1, "quarantine_ms": at_ms if repeats and at_ms else most_ms}
    if given.past is None:  # later parts, which none of these polls has read, are confirmed, too
        set_query(given.tx, given.query.id, quarantine_ms=None)
    return {}


def _check_whole(given: ApplyInput) -> None:
    """Raise ``SchemaError`` if a query, or its past, cannot begin with this reading."""
    reading = given.reading
    if reading.kept or (reading.unfit and given.past is None):
        lacks = reading.unfit or f"{', '.join(sorted(reading.kept))} cannot begin"
        raise SchemaError(f"{given.spec.name}: a first read must be whole: {lacks}", "missing")


def _counted_from_ms(given: ApplyInput) -> int:
    """Return the instant before which no row counts; history being read lies before the floor."""
    return 0 if given.past is not None and given.is_first else given.query.floor_ms or 0


def _hide_unreachable(given: ApplyInput, loaded: LoadedSeries) -> None:
    row = given.query
    if given.label_rules_changed or (row.epoch_ms is None and row.last_read_ms is not None):
        settings.hide_unreachable(given.tx, given.spec, loaded.ids, given.families)


def _rebased(given: ApplyInput, loaded: LoadedSeries) -> frozenset[int]:
    """Return the series that cover other raw values than at the last poll."""
    if not given.label_rules_changed:
        return frozenset()
    # A poll that broke off may have created some, too; the clock may have stepped back since.
    since_ms = min((given.query.last_success_ms or 0) + 1, given.started_ms)
    new = {number for number, row in loaded.rows.items() if row.created_ms >= since_ms}
    stored = given.query.label_rules
    return label_rules.rebased(stored, given.spec, loaded.ids, given.families, new)


def _frame(given: ApplyInput, loaded: LoadedSeries) -> Frame:
    row, spec, past = given.query, given.spec, given.past
    if past is not None and given.is_first:
        # Buckets known already keep what was counted of them. Others count or are baseline.
        kept = loaded.adopted if past.mode is PastMode.COUNT else loaded.rows.keys()
        return Frame(spec.granularity_ms, spec.settle_ms, rebased=kept)
    return Frame(
        granularity_ms=spec.granularity_ms,
        settle_ms=spec.settle_ms,
        baseline=row.epoch_ms is None and not _history_counts(given),
        last_read_ms=row.last_read_ms,
        rebased=_rebased(given, loaded) | loaded.adopted,
        per_unit=_per_unit(given, loaded),
    )


def _per_unit(given: ApplyInput, loaded: LoadedSeries) -> dict[int, int]:
    """Return the parts per unit of the series that count parts of a unit."""
    parts = given.spec.per_unit
    series = loaded.ids.items() if parts else ()
    return {number: parts[name] for (name, _), number in series if name in parts}


def _history_counts(given: ApplyInput) -> bool:
    """Return whether history counts: only on the first read, or a rebase would count it twice."""
    return given.spec.history and given.query.last_read_ms is None


def _move_on(given: ApplyInput) -> Counts:
    """Advance cursor, epoch and floor; record the gap of a resumed or rebased query."""
    row, reading = given.query, given.reading
    cursor_ms = _cursor_ms(given)
    columns = _memo(given) | {
        "floor_ms": _floor_ms(given),
        "cursor_ms": max(cursor_ms, row.cursor_ms or cursor_ms),
    }
    if row.floor_ms is None:
        columns["oldest_ms"] = columns["floor_ms"]
    if given.first and row.quarantine_ms is None:
        # What a poll confirmed that broke off is not confirmed for other parts.
        columns["quarantine"] = 0
    if not reading.more:
        columns |= {
            "quarantine": 0,  # only with the last part: an earlier one must not clear it
            "epoch_ms": row.epoch_ms or given.started_ms,
            "last_read_ms": given.started_ms,
            "unread": msgspec.json.encode(_unread(given)).decode(),
        }
        if given.label_rules_changed:
            read = label_rules.with_all_read(row.label_rules, given.spec, given.kept)
            columns["label_rules"] = read
        if row.epoch_ms is None or given.label_rules_changed:
            slices.begin(given, columns["floor_ms"], counts=_history_counts(given))
    elif given.label_rules_changed:
        columns["label_rules"] = label_rules.with_partly_read(row.label_rules, given.spec)
    if reading.watermark_ms is not None:
        columns["watermark_ms"] = given.watermark_ms
    set_query(given.tx, row.id, **columns)
    return _record_gap(given, cursor_ms)


def _floor_ms(given: ApplyInput) -> int:
    """Return where counting begins: the start of the first poll, or of the first with new labels.

    Older buckets were counted under the old labels; reading them again would count them twice.
    So would known buckets that are absent from that poll.
    """
    row, reading, window = given.query, given.reading, given.reading.window
    if row.floor_ms is None:
        return window.start_ms
    if given.spec.stream or not given.label_rules_changed:
        return int(row.floor_ms)
    whole = replace(given, reading=replace(reading, absent=frozenset()))
    known = counters.load_buckets(whole, window) if reading.absent else ()
    ends = [at_ms + given.spec.granularity_ms for _, at_ms in known if at_ms in reading.absent]
    return max([int(row.floor_ms), *[window.start_ms] * given.first, *ends])


def _cursor_ms(given: ApplyInput) -> int:
    """Return the end of the settled and read buckets; a stream counts whole hours it has passed."""
    step_ms, end_ms = given.spec.granularity_ms, given.reading.window.end_ms
    if given.spec.stream:
        end_ms = floor_to(given.watermark_ms, step_ms)
    return min(floor_to(given.now_ms - given.spec.settle_ms, step_ms), end_ms)


def _unread(given: ApplyInput) -> dict[str, int]:
    """Return since when each family has not been read, of those that the poll's end lacks."""
    before, start_ms = unread_since(given.query), given.reading.window.start_ms
    cursor_ms = given.query.cursor_ms or start_ms
    return {  # earlier parts have read what lies before this one
        family: before.get(family, cursor_ms) if since_ms == start_ms and given.first else since_ms
        for family, since_ms in sorted(_lacking(given).items())
    }


def _lacking(given: ApplyInput) -> dict[str, int]:
    """Return since when the reading lacks each family, of those that its end lacks."""
    reading, step_ms = given.reading, given.spec.granularity_ms
    start_ms, end_ms = reading.window.start_ms, reading.window.end_ms
    while end_ms > start_ms and end_ms - step_ms in reading.absent:
        end_ms -= step_ms
    without_end = given.spec.fields if end_ms < reading.window.end_ms else ()
    return dict.fromkeys(without_end, end_ms) | dict.fromkeys(reading.kept, start_ms)


def _memo(given: ApplyInput) -> dict[str, Any]:
    memo = given.reading.memo
    return {} if memo is None else {"memo": msgspec.json.encode(memo).decode()}


def _read_again(given: ApplyInput) -> list[int]:
    """Return since when measures of engagement that this poll reads again had not been read."""
    before = unread_since(given.query).items() if given.first else ()
    unread, start_ms = _lacking(given), given.reading.window.start_ms
    return [ms for name, ms in before if name in MEASURES and unread.get(name) != start_ms]


def _record_gap(given: ApplyInput, cursor_ms: int) -> Counts:
    row, start_ms = given.query, given.reading.window.start_ms
    if row.epoch_ms is None:  # the first poll ever, or the first after a rebase
        if row.last_success_ms is None or given.reading.more:
            return []
        lost = Window(row.last_success_ms, given.started_ms)
    elif given.spec.stream:
        lost = Window(row.watermark_ms or start_ms, start_ms)
    else:
        # Unsettled hours between two parts of one poll are no gap: they are read again.
        from_ms = min([row.cursor_ms or start_ms, *_read_again(given)])
        lost = Window(from_ms, min(start_ms, cursor_ms))
    if lost.length_ms <= 0:
        return []
    reason = "rebase" if row.epoch_ms is None else "unreadable"
    new = _not_yet_recorded(given, lost, reason)
    of_query = {"query_id": row.id, "reason": reason}
    for each in new:
        bounds = {"from_ms": each.start_ms, "to_ms": each.end_ms}
        given.tx.execute(sa.insert(gap).values(of_query | bounds))
    lost_ms = sum(each.length_ms for each in new)
    seconds = given.count_query("coverage_gap_seconds_total", lost_ms / SECOND_MS)
    return given.count_query("coverage_gaps_total", len(new)) + seconds


def _not_yet_recorded(given: ApplyInput, lost: Window, reason: str) -> list[Window]:
    """Return the parts of ``lost`` that no gap of the query has: several families may lack one."""
    known = sa.select(gap.c.from_ms, gap.c.to_ms).where(
        gap.c.query_id == given.query.id,
        gap.c.reason == reason,
        gap.c.from_ms < lost.end_ms,
        gap.c.to_ms > lost.start_ms,
    )
    rows = given.tx.execute(known.order_by(gap.c.from_ms)).all()
    starts = accumulate((lost.start_ms, *(row.to_ms for row in rows)), max)
    ends = (*(row.from_ms for row in rows), lost.end_ms)
    return [Window(*each) for each in zip(starts, ends, strict=True) if each[0] < each[1]]


def _applied(given: ApplyInput, counts: Counts, *, held: bool = False) -> Applied:
    reading = given.reading
    counts = counts + given.count_dropped(reading.dropped)
    for kind, number in reading.drift.items():
        counts += given.count_query("schema_drift_total", number, kind=kind)
    counted = counters.add_self_counts(given.tx, counts)
    return Applied(held, counted, reading.rows)
