"""The ledger's tables, the same for SQLite and PostgreSQL (specification: ledger.md)."""

from collections.abc import Sequence

import sqlalchemy as sa

metadata = sa.MetaData()

Id = sa.BigInteger().with_variant(
    sa.Integer, "sqlite"
)  # SQLite assigns ids only to columns declared INTEGER

query = sa.Table(
    "query",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("label_rules", sa.Text, nullable=False),
    sa.Column("start_mode", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    sa.Column("state_ms", sa.BigInteger, nullable=False),
    sa.Column("epoch_ms", sa.BigInteger),
    sa.Column("floor_ms", sa.BigInteger),
    sa.Column("oldest_ms", sa.BigInteger),
    sa.Column("cursor_ms", sa.BigInteger),
    sa.Column("watermark_ms", sa.BigInteger),
    sa.Column("ids_from_ms", sa.BigInteger),
    sa.Column("memo", sa.Text, nullable=False, server_default="{}"),
    sa.Column("unread", sa.Text, nullable=False, server_default="{}"),
    sa.Column("last_read_ms", sa.BigInteger),
    sa.Column("last_attempt_ms", sa.BigInteger),
    sa.Column("last_success_ms", sa.BigInteger),
    sa.Column("next_poll_ms", sa.BigInteger, nullable=False),
    sa.Column("last_reason", sa.Text),
    sa.Column("last_error", sa.Text),
    sa.Column("fail_streak", sa.Integer, nullable=False, server_default="0"),
    sa.Column("backoff_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("circuit", sa.Text, nullable=False, server_default="closed"),
    sa.Column("quarantine", sa.Integer, nullable=False, server_default="0"),
    sa.Column("quarantine_ms", sa.BigInteger),
    sa.Column("holder", sa.Text),
    sa.Column("token", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("claim_expires_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("changed_by", sa.Text, nullable=False, server_default=""),
    sa.Column("changed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("generation", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("target", "name"),
    sa.CheckConstraint("start_mode IN ('zero', 'history')", name="start_mode"),
    sa.Index("query_due", "state", "next_poll_ms"),
    sa.Index("query_changed", "changed_by", "changed"),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("query_id", sa.BigInteger, sa.ForeignKey("query.id"), nullable=False),
    sa.Column("family", sa.Text, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("retired", sa.Double, nullable=False, server_default="0"),
    sa.Column("retired_base", sa.Double, nullable=False, server_default="0"),
    sa.Column("c", sa.Double, nullable=False, server_default="0"),
    sa.Column("overhang", sa.Double, nullable=False, server_default="0"),
    sa.Column("overhang_since_ms", sa.BigInteger),
    sa.Column("written_off", sa.Double, nullable=False, server_default="0"),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
    sa.Column("held", sa.Double),
    sa.Column("held_since_ms", sa.BigInteger),
    sa.Column("history", sa.Double),
    sa.Column("state", sa.Text, nullable=False, server_default="live"),
    sa.UniqueConstraint("family", "labels"),
    sa.CheckConstraint("overhang >= 0", name="overhang"),
    sa.CheckConstraint("written_off >= 0", name="written_off"),
    sa.CheckConstraint("state IN ('live', 'dormant', 'hidden')", name="state"),
    sa.Index("series_query", "query_id"),
)

bucket = sa.Table(
    "bucket",
    metadata,
    sa.Column("series_id", sa.BigInteger, sa.ForeignKey("series.id"), primary_key=True),
    sa.Column("start_ms", sa.BigInteger, primary_key=True),
    sa.Column("obs", sa.Double, nullable=False),
    sa.Column("base", sa.Double, nullable=False),
    sa.Column("revised", sa.Integer, nullable=False, server_default="0"),
    sa.CheckConstraint("obs >= 0", name="obs"),
    sqlite_with_rowid=False,
)

gauge = sa.Table(
    "gauge",
    metadata,
    sa.Column("query_id", sa.BigInteger, sa.ForeignKey("query.id"), primary_key=True),
    sa.Column("family", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, primary_key=True),
    sa.Column("slot", sa.Text, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("end_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("family", "labels"),
)

seen_event = sa.Table(
    "seen_event",
    metadata,
    sa.Column("query_id", sa.BigInteger, sa.ForeignKey("query.id"), primary_key=True),
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("ts_ms", sa.BigInteger, nullable=False),
    sa.Column("content", sa.BigInteger, nullable=False),
    sa.Index("seen_event_ts", "query_id", "ts_ms"),
    sqlite_with_rowid=False,
)

sketch = sa.Table(
    "sketch",
    metadata,
    sa.Column("query_id", sa.BigInteger, sa.ForeignKey("query.id"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, primary_key=True),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

budget = sa.Table(
    "budget",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("spent_ms", sa.BigInteger, nullable=False),
    sa.Column("blocked_until_ms", sa.BigInteger, nullable=False, server_default="0"),
)

slices = sa.Table(
    "slice",
    metadata,
    sa.Column("query_id", sa.BigInteger, sa.ForeignKey("query.id"), primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("from_ms", sa.BigInteger),
    sa.Column("until_ms", sa.BigInteger),
    sa.Column("next_ms", sa.BigInteger, nullable=False),
    sa.Column("hole_ms", sa.BigInteger),
    sa.Column("span_ms", sa.BigInteger),
    sa.Column("backoff_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("quarantine", sa.Integer, nullable=False, server_default="0"),
    sa.Column("quarantine_ms", sa.BigInteger),
    sa.Column("found", sa.Text, nullable=False, server_default="{}"),
    sa.Column("audited", sa.Text),
    sa.Column("audited_ms", sa.BigInteger),
    sa.CheckConstraint("mode IN ('baseline', 'count', 'audit')", name="mode"),
    sa.Index("slice_due", "next_ms"),
)

gap = sa.Table(
    "gap",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("query_id", sa.BigInteger, sa.ForeignKey("query.id"), nullable=False),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("to_ms", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("gap_query", "query_id"),
)

self_counter = sa.Table(
    "self_counter",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, primary_key=True),
    sa.Column("v", sa.Double, nullable=False),
    sa.Column("target", sa.Text, nullable=False, server_default=""),
    sa.Index("self_counter_target", "target"),
    sqlite_with_rowid=False,
)

replica = sa.Table(
    "replica",
    metadata,
    sa.Column("holder", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("settings", sa.LargeBinary, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    sa.Column("server", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("kept", sa.BigInteger, nullable=False, server_default="0"),
)

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
)

backfill = sa.Table(
    "backfill",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.Text, nullable=False),
)

OF_QUERY = series, gauge, seen_event, sketch, slices, gap
"""The tables with a ``query_id``; buckets belong to a query through their series."""

GROWING = query, series, bucket, gauge, seen_event, sketch, slices, gap, self_counter, backfill
"""The tables whose rows are worth counting; the others have one row per replica, budget or key."""


def upsert(
    tx: sa.Connection, table: sa.Table, rows: Sequence[tuple[object, ...]], update: str = ""
) -> None:
    """Insert ``rows`` of all columns; on a conflict of keys, ``update`` or keep the stored row.

    Rows go straight to the driver: SQLAlchemy's work on each would cost more than storing it.
    """
    if not rows:
        return
    marks = ", ".join(placeholders(tx, len(table.columns)))
    columns, keys = (", ".join(some.keys()) for some in (table.columns, table.primary_key.columns))
    otherwise = f"DO UPDATE SET {update}" if update else "DO NOTHING"
    insert = f"INSERT INTO {table.name} ({columns}) VALUES ({marks})"  # noqa: S608 - names of ours
    tx.exec_driver_sql(f"{insert} ON CONFLICT ({keys}) {otherwise}", list(rows))


def set_query(tx: sa.Connection, query_id: int, **columns: object) -> None:
    """Set columns of a query."""
    tx.execute(sa.update(query).where(query.c.id == query_id).values(**columns))


def placeholders(tx: sa.Connection, number: int) -> list[str]:
    """Return ``number`` placeholders in the driver's parameter style."""
    return ["?" if tx.dialect.paramstyle == "qmark" else "%s"] * number
