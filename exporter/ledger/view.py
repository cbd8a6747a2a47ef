"""What a query shows, from committed rows only."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from exporter.ledger import claims
from exporter.ledger.periods import period_expiry_ms, settled_periods
from exporter.ledger.rows import QueryState, Shown, View, decode_labels
from exporter.ledger.tables import bucket, gap, gauge, query, series
from exporter.query import QuerySpec
from exporter.samples import Family, Window


def read_view(
    tx: sa.Connection, spec: QuerySpec, families: Mapping[str, Family], now_ms: int
) -> View:
    """Return all that the query of ``spec`` shows at ``now_ms``."""
    row = tx.execute(
        sa.select(query).where(query.c.target == spec.target, query.c.name == spec.name)
    ).one()
    live = _live_series(tx, row.id, families)
    shown = [_counter(found, families) for found in live]
    periods = _periods(tx, row, spec, now_ms)
    for name, period in periods.items():
        shown += _period_gauges(tx, live, families, name, period)
    gauges = tx.execute(
        sa.select(gauge).where(gauge.c.query_id == row.id, gauge.c.expires_ms > now_ms)
    ).all()
    shown += [_gauge(found, families) for found in gauges if found.family in families]
    expiries = [found.expires_ms for found in gauges]
    expiries += [period_expiry_ms(spec, period) for period in periods.values()]
    budget = claims.left(tx, spec.budget, now_ms) if spec.budget else None
    if budget is not None and budget.ready_ms is not None:
        expiries.append(budget.ready_ms)
    return View(
        state=replace(_state(row, live, periods), budget=budget),
        shown=tuple(shown),
        pending=tuple(
            (found.id, found.held_since_ms + spec.zero_hold_ms)
            for found in live
            if found.held is not None
        ),
        expires_ms=min(expiries, default=None),
    )


def _live_series(
    tx: sa.Connection, query_id: int, families: Mapping[str, Family]
) -> list[sa.Row[Any]]:
    rows = tx.execute(
        sa.select(series).where(series.c.query_id == query_id, series.c.state == "live")
    )
    return [row for row in rows if row.family in families]


def _counter(row: sa.Row[Any], families: Mapping[str, Family]) -> Shown:
    value = row.c if row.held is None else row.held
    labels = decode_labels(families[row.family].labels, row.labels)
    return Shown(row.family, labels, value, row.created_ms)


def _gauge(row: sa.Row[Any], families: Mapping[str, Family]) -> Shown:
    return Shown(row.family, decode_labels(families[row.family].labels, row.labels), row.value)


def _periods(
    tx: sa.Connection, row: sa.Row[Any], spec: QuerySpec, now_ms: int
) -> dict[str, Window]:
    """Return the settled periods to show: wholly covered, without a gap, not too old."""
    if row.epoch_ms is None or row.cursor_ms is None or not spec.granularity_ms:
        return {}
    return {
        name: period
        for name, period in settled_periods(spec, row.cursor_ms, row.floor_ms or 0).items()
        if period_expiry_ms(spec, period) > now_ms and not _has_gap(tx, row.id, period)
    }


def _has_gap(tx: sa.Connection, query_id: int, period: Window) -> bool:
    overlapping = sa.select(gap.c.id).where(
        gap.c.query_id == query_id,
        gap.c.reason == "unreadable",
        gap.c.from_ms < period.end_ms,
        gap.c.to_ms > period.start_ms,
    )
    return tx.execute(overlapping.limit(1)).scalar() is not None


def _period_gauges(
    tx: sa.Connection,
    live: list[sa.Row[Any]],
    families: Mapping[str, Family],
    name: str,
    period: Window,
) -> list[Shown]:
    """Return the period's sum of each counter; a known series that has no bucket had none: 0."""
    counted = {row.id: row for row in live if families[row.family].period}
    if not counted:
        return []
    sums = _sums(tx, live[0].query_id, period)
    totals: dict[tuple[str, tuple[str, ...]], float] = {}
    for number, row in counted.items():
        family = families[row.family]
        values = dict(zip(family.labels, decode_labels(family.labels, row.labels), strict=True))
        labels = tuple(
            name if label == "period" else values[label] for label in family.period_labels
        )
        key = (family.period_name, labels)
        totals[key] = totals.get(key, 0.0) + sums.get(number, 0.0)
    return [Shown(family, labels, value) for (family, labels), value in totals.items()]


def _sums(tx: sa.Connection, query_id: int, period: Window) -> dict[int, float]:
    inside = (bucket.c.start_ms >= period.start_ms) & (bucket.c.start_ms < period.end_ms)
    rows = tx.execute(
        sa.select(bucket.c.series_id, sa.func.sum(bucket.c.obs))
        .join(series, series.c.id == bucket.c.series_id)
        .where(series.c.query_id == query_id, inside)
        .group_by(bucket.c.series_id)
    )
    return {row[0]: row[1] for row in rows}


def _state(row: sa.Row[Any], live: list[sa.Row[Any]], periods: Mapping[str, Window]) -> QueryState:
    overhang: dict[str, float] = {}
    number: dict[str, int] = {}
    for found in live:
        overhang[found.family] = overhang.get(found.family, 0.0) + found.overhang
        number[found.family] = number.get(found.family, 0) + 1
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
        last_fault=row.last_fault,
        fail_streak=row.fail_streak,
        circuit=row.circuit,
        quarantined=row.quarantine > 0,
        periods={name: period.end_ms for name, period in periods.items()},
        overhang=overhang,
        series=number,
    )
