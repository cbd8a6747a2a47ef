"""Builds what a query shows, from committed rows only."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from exporter.ledger import budget as budgets
from exporter.ledger import slices
from exporter.ledger.rows import (
    BudgetState,
    QueryState,
    Shown,
    View,
    decode_labels,
    unread_since,
)
from exporter.ledger.rules import period_expiry_ms, settled_periods
from exporter.ledger.tables import bucket, gap, gauge, query, series
from exporter.model.query import Budget, QueryKey, QuerySpec
from exporter.model.samples import Family, Series, Window

# Built once: building a statement costs more than running it, and every poll runs these. Rows are
# ordered, because a page reuses rendered text while its series keep their order.
IDS: sa.BindParameter[Any] = sa.bindparam("queries", expanding=True)
QUERIES = sa.select(query).where(
    sa.tuple_(query.c.target, query.c.name).in_(sa.bindparam("keys", expanding=True)),
    query.c.state == "active",
)
LIVE: sa.Select[Any] = (
    sa.select(
        series.c.query_id,
        series.c.id,
        series.c.family,
        series.c.labels,
        series.c.created_ms,
        series.c.c,
        series.c.held,
        series.c.held_since_ms,
        series.c.overhang,
    )
    .where(series.c.state == "live", series.c.query_id.in_(IDS))
    .order_by(series.c.id)
)
GAUGES = (
    sa.select(gauge)
    .where(gauge.c.query_id.in_(IDS), gauge.c.expires_ms > sa.bindparam("now_ms"))
    .order_by(gauge.c.query_id, gauge.c.family, gauge.c.labels)
)
GAPS = sa.select(gap.c.query_id).where(
    gap.c.query_id.in_(IDS),
    gap.c.reason == "unreadable",
    gap.c.from_ms < sa.bindparam("end_ms"),
    gap.c.to_ms > sa.bindparam("start_ms"),
)
SUMS = (
    sa.select(bucket.c.series_id, sa.func.sum(bucket.c.obs))
    .join(series, series.c.id == bucket.c.series_id)
    .where(
        series.c.query_id.in_(IDS),
        bucket.c.start_ms >= sa.bindparam("start_ms"),
        bucket.c.start_ms < sa.bindparam("end_ms"),
    )
    .group_by(bucket.c.series_id)
)


@dataclass(frozen=True, slots=True)
class _Live:
    """The counters shown, by series id; ``overhang`` and ``number`` (of series) by family."""

    shown: Mapping[int, Shown]
    pending: tuple[tuple[int, int], ...]
    overhang: Mapping[str, float]
    number: Mapping[str, int]


NOTHING = _Live({}, (), {}, {})


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of several queries, by query id; ``gaps`` and ``sums`` by window."""

    past: Mapping[int, sa.Row[Any]]
    live: Mapping[int, Sequence[sa.Row[Any]]]
    gauges: Mapping[int, Sequence[sa.Row[Any]]]
    gaps: Mapping[Window, Collection[int]]
    sums: Mapping[Window, Mapping[int, float]]
    budgets: Mapping[Budget, BudgetState]


def read_views(
    tx: sa.Connection, specs: Sequence[QuerySpec], families: Mapping[str, Family], now_ms: int
) -> dict[QueryKey, View]:
    """Return everything that ``specs`` show at ``now_ms``; those that are not active are left out.

    Many queries take no more statements than one.
    """
    asked = {spec.key: spec for spec in specs}
    found = tx.execute(QUERIES, {"keys": list(asked)}).all()
    queries = {row.id: (row, asked[row.target, row.name]) for row in found}
    periods = {number: _periods(row, spec, now_ms) for number, (row, spec) in queries.items()}
    rows = _read(tx, queries, periods, families, now_ms)
    return {
        spec.key: _view(row, spec, rows, periods[number], families)
        for number, (row, spec) in queries.items()
    }


def _read(
    tx: sa.Connection,
    queries: Mapping[int, tuple[sa.Row[Any], QuerySpec]],
    periods: Mapping[int, Mapping[str, Window]],
    families: Mapping[str, Family],
    now_ms: int,
) -> _Rows:
    numbers = list(queries)
    live = _by_query(tx.execute(LIVE, {"queries": numbers}).all())
    summed = {
        number
        for number, rows in live.items()
        if any(row.family in families and families[row.family].period for row in rows)
    }
    windows = defaultdict[Window, list[int]](list)
    for number, named in periods.items():
        for window in named.values():
            windows[window].append(number)
    gaps, sums = {}, {}
    for window, those in windows.items():
        bounds = {"start_ms": window.start_ms, "end_ms": window.end_ms}
        gaps[window] = set(tx.execute(GAPS, {"queries": those, **bounds}).scalars())
        if counted := [number for number in those if number in summed]:
            found = tx.execute(SUMS, {"queries": counted, **bounds})
            sums[window] = {row[0]: row[1] for row in found}
    limits = {spec.budget for _, spec in queries.values() if spec.budget is not None}
    return _Rows(
        past=slices.read(tx, numbers),
        live=live,
        gauges=_by_query(tx.execute(GAUGES, {"queries": numbers, "now_ms": now_ms}).all()),
        gaps=gaps,
        sums=sums,
        budgets={limit: budgets.left(tx, limit, now_ms) for limit in limits},
    )


def _by_query(rows: Sequence[sa.Row[Any]]) -> Mapping[int, Sequence[sa.Row[Any]]]:
    found = defaultdict[int, list[sa.Row[Any]]](list)
    for row in rows:
        found[row.query_id].append(row)
    return found


def _view(
    row: sa.Row[Any],
    spec: QuerySpec,
    rows: _Rows,
    periods: Mapping[str, Window],
    families: Mapping[str, Family],
) -> View:
    past = rows.past.get(row.id)
    joins = spec.history and spec.initial_lookback_ms is not None
    hidden = joins and slices.history_pending(row, past)
    live = NOTHING if hidden else _live_series(rows.live.get(row.id, ()), spec, families)
    shown = list(live.shown.values())
    covered = {name: each for name, each in periods.items() if row.id not in rows.gaps[each]}
    if any(families[each].period for each in live.number):
        unread = unread_since(row)
        for name, period in covered.items():
            lacks = {family for family, since_ms in unread.items() if since_ms < period.end_ms}
            shown += _period_gauges(live, families, name, rows.sums[period], lacks)
    gauges = rows.gauges.get(row.id, ())
    shown += [_gauge(found, families) for found in gauges if found.family in families]
    expiries = [found.expires_ms for found in gauges]
    expiries += [period_expiry_ms(spec, period) for period in covered.values()]
    budget = rows.budgets[spec.budget] if spec.budget else None
    history, audit = None, None
    if past is not None and spec.initial_lookback_ms is not None:
        history, audit = slices.state(past, spec.per_unit)
    if budget is not None and budget.next_at_ms is not None:
        expiries.append(budget.next_at_ms)
    return View(
        state=replace(
            _state(row, live, covered),
            series=Counter(each.family for each in shown),
            budget=budget,
            history=history,
            audit=audit,
        ),
        shown=tuple(shown),
        pending=live.pending,
        expires_ms=min(expiries, default=None),
        mark=(row.changed_by, row.changed),
    )


def _live_series(rows: Sequence[Any], spec: QuerySpec, families: Mapping[str, Family]) -> _Live:
    shown: dict[int, Shown] = {}
    pending: list[tuple[int, int]] = []
    overhangs: defaultdict[str, float] = defaultdict(float)
    for _, number, name, labels, created_ms, c, held, since_ms, overhang in rows:
        family = families.get(name)
        if family is None:
            continue
        value = (c if held is None else held) / family.per_unit
        shown[number] = Shown(name, decode_labels(family.labels, labels), value, created_ms)
        if held is not None:
            pending.append((number, since_ms + spec.zero_hold_ms))
        if overhang:
            overhangs[name] += overhang / family.per_unit
    number_of = Counter(each.family for each in shown.values())
    return _Live(shown, tuple(pending), overhangs, number_of)


def _gauge(row: sa.Row[Any], families: Mapping[str, Family]) -> Shown:
    return Shown(row.family, decode_labels(families[row.family].labels, row.labels), row.value)


def _periods(row: sa.Row[Any], spec: QuerySpec, now_ms: int) -> dict[str, Window]:
    """Return the settled periods that may be shown, gaps aside: completely covered, not too old."""
    if row.epoch_ms is None or row.cursor_ms is None or not spec.period_gauges:
        return {}
    return {
        name: period
        for name, period in settled_periods(spec, row.cursor_ms, row.floor_ms or 0).items()
        if period_expiry_ms(spec, period) > now_ms
    }


def _period_gauges(
    live: _Live,
    families: Mapping[str, Family],
    name: str,
    sums: Mapping[int, float],
    lacks: Collection[str],
) -> list[Shown]:
    """Return the sum of each counter over the period; a known series without buckets is 0.

    Families in ``lacks`` were not read in it.
    """
    aggregated = {
        each: _aggregated(families[each], name)
        for each in live.number
        if families[each].period and each not in lacks
    }
    totals: defaultdict[Series, float] = defaultdict(float)
    for number, each in live.shown.items():
        if each.family in aggregated:
            gauge_name, kept = aggregated[each.family]
            totals[gauge_name, kept(each.labels)] += sums.get(number, 0.0)
    per_unit = {families[each].period_name: families[each].per_unit for each in aggregated}
    return [
        Shown(family, labels, value / per_unit[family])
        for (family, labels), value in totals.items()
    ]


def _aggregated(
    family: Family, name: str
) -> tuple[str, Callable[[tuple[str, ...]], tuple[str, ...]]]:
    """Return the name of the period gauge, and a function from the counter's labels to its own."""
    kept = [family.labels.index(label) for label in family.period_labels if label != "period"]
    return family.period_name, lambda labels: (*[labels[at] for at in kept], name)


def _state(row: sa.Row[Any], live: _Live, periods: Mapping[str, Window]) -> QueryState:
    return QueryState(
        target=row.target,
        query=row.name,
        provider=row.provider,
        epoch_ms=row.epoch_ms,
        cursor_ms=row.cursor_ms,
        watermark_ms=row.watermark_ms,
        last_attempt_ms=row.last_attempt_ms,
        last_success_ms=row.last_success_ms,
        next_poll_ms=row.next_poll_ms,
        last_reason=row.last_reason,
        last_error=row.last_error,
        fail_streak=row.fail_streak,
        circuit=row.circuit,
        quarantined=row.quarantine > 0,
        periods={name: period.end_ms for name, period in periods.items()},
        overhang={family: live.overhang.get(family, 0.0) for family in live.number},
        oldest_ms=row.oldest_ms,
    )
