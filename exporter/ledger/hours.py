"""Settled hours of the bots that a query counts, from which expected engagement is learnt.

A bot's engagement is its messages received; if the vendor counts no messages, its interactions;
otherwise its conversations started.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from exporter.ledger.rows import decode_labels, unread_since
from exporter.ledger.rules import is_repeated, period_expiry_ms, settled_hour
from exporter.ledger.tables import bucket, gap, query, series
from exporter.model.families import CONVERSATIONS_STARTED, INTERACTIONS, MESSAGES_RECEIVED
from exporter.model.query import QuerySpec
from exporter.model.samples import BASE, HOUR_MS, Window, ceil_to

MEASURES = {each.name: each for each in (MESSAGES_RECEIVED, INTERACTIONS, CONVERSATIONS_STARTED)}
"""The families that measure engagement, best first."""
RANK = {name: rank for rank, name in enumerate(MEASURES)}

# Built once: building a statement costs more than running it.
QUERY = sa.select(query).where(
    query.c.target == sa.bindparam("target"), query.c.name == sa.bindparam("name")
)
COUNTED = (
    sa.select(series.c.id, series.c.query_id, series.c.family, series.c.labels)
    .join(query, query.c.id == series.c.query_id)
    .where(
        query.c.target == sa.bindparam("target"),
        query.c.state == "active",
        series.c.family.in_(MEASURES),
        series.c.state == "live",
        sa.exists().where(bucket.c.series_id == series.c.id, bucket.c.obs > 0),
    )
    .order_by(series.c.id)
)
BUCKETS = sa.select(bucket.c.series_id, bucket.c.start_ms, bucket.c.obs).where(
    bucket.c.series_id.in_(sa.bindparam("numbers", expanding=True)),
    bucket.c.start_ms >= sa.bindparam("start_ms"),
    bucket.c.start_ms < sa.bindparam("end_ms"),
)
GAPS = sa.select(gap.c.from_ms, gap.c.to_ms).where(
    gap.c.query_id == sa.bindparam("query"), gap.c.to_ms > sa.bindparam("start_ms")
)


class BotLabels(NamedTuple):
    """What identifies a bot: the base labels."""

    provider: str
    target: str
    project: str
    bot_environment: str


@dataclass(frozen=True, slots=True)
class SettledHours:
    """Hours of a query's bots up to the newest settled one, bots in the order of their creation.

    ``known_from_ms`` is the start of the oldest known hour, even before ``start_ms``. All bots have
    the same hours, from ``start_ms`` on; None: unknown. They are outdated from ``expires_ms`` on.
    """

    known_from_ms: int
    start_ms: int
    end_ms: int
    expires_ms: int
    bots: Mapping[BotLabels, tuple[float | None, ...]]

    @property
    def totals(self) -> list[float | None]:
        """Return the sums over all bots by hour; None if any is unknown."""
        return [
            None if None in counts else sum(filter(None, counts))
            for counts in zip(*self.bots.values(), strict=True)
        ]


def read_hours(tx: sa.Connection, spec: QuerySpec, most: int) -> SettledHours | None:
    """Return up to ``most`` of the newest settled hours; None if there are none yet."""
    row = tx.execute(QUERY, {"target": spec.target, "name": spec.name}).one_or_none()
    if row is None or row.epoch_ms is None or row.cursor_ms is None or row.floor_ms is None:
        return None
    newest = settled_hour(spec, row.cursor_ms)
    shift_ms = newest.end_ms % HOUR_MS
    begins_ms = max(row.floor_ms, row.epoch_ms) if spec.stream else row.floor_ms
    known_from_ms = ceil_to(begins_ms - shift_ms, HOUR_MS) + shift_ms
    start_ms = max(known_from_ms, newest.end_ms - most * HOUR_MS)
    if start_ms >= newest.end_ms:
        return None
    window = Window(start_ms, newest.end_ms)
    unknown = _unknown(tx, row.id, window)
    unread = {name for name, ms in unread_since(row).items() if ms < newest.end_ms}
    bots = _bots(tx, spec, row.id, unread)
    counts = _counts(tx, bots, window)
    for hour in _repeated(spec, window) if spec.local_hours else ():
        for values in counts.values():
            values[hour - 1 : hour + 1] = [sum(values[hour - 1 : hour + 1]) / 2] * 2
    return SettledHours(
        known_from_ms=known_from_ms,
        start_ms=start_ms,
        end_ms=newest.end_ms,
        expires_ms=period_expiry_ms(spec, newest),
        bots={
            bot: tuple(None if at in unknown else value for at, value in enumerate(counts[bot]))
            for bot in bots
        },
    )


def _bots(
    tx: sa.Connection, spec: QuerySpec, query_id: int, unread: Collection[str]
) -> dict[BotLabels, list[int]]:
    """Return the series that measure engagement, for each bot that this query measures.

    A bot whose family is in ``unread`` is left out.
    """
    rows = [
        (BotLabels(*decode_labels(BASE, row.labels)), row)
        for row in tx.execute(COUNTED, {"target": spec.target})
    ]
    best: dict[BotLabels, str] = {}
    for bot, row in sorted(rows, key=lambda each: RANK[each[1].family]):
        best.setdefault(bot, row.family)
    found: dict[BotLabels, list[int]] = {}
    for bot, row in rows:
        if row.query_id == query_id and row.family == best[bot] and row.family not in unread:
            found.setdefault(bot, []).append(row.id)
    return found


def _counts(
    tx: sa.Connection, bots: Mapping[BotLabels, Iterable[int]], window: Window
) -> dict[BotLabels, list[float]]:
    number = window.length_ms // HOUR_MS
    counts = {bot: [0.0] * number for bot in bots}
    of_series = {each: counts[bot] for bot, numbers in bots.items() for each in numbers}
    asked = {"numbers": list(of_series), "start_ms": window.start_ms, "end_ms": window.end_ms}
    for series_id, start_ms, obs in tx.execute(BUCKETS, asked).all():  # row by row: twice as slow
        of_series[series_id][(start_ms - window.start_ms) // HOUR_MS] += obs
    return counts


def _repeated(spec: QuerySpec, window: Window) -> list[int]:
    """Return the indexes of hours that share the bucket of the hour before."""
    starts = range(window.start_ms + HOUR_MS, window.end_ms, HOUR_MS)
    return [hour for hour, start_ms in enumerate(starts, 1) if is_repeated(spec, start_ms)]


def _unknown(tx: sa.Connection, query_id: int, window: Window) -> set[int]:
    """Return the indexes of the hours that overlap a gap."""
    gaps = tx.execute(GAPS, {"query": query_id, "start_ms": window.start_ms})
    return {
        hour
        for from_ms, to_ms in gaps
        for hour in range(
            max(0, from_ms - window.start_ms) // HOUR_MS,
            (ceil_to(min(to_ms, window.end_ms) - window.start_ms, HOUR_MS)) // HOUR_MS,
        )
    }
