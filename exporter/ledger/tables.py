"""The ledger's tables, for SQLite and PostgreSQL alike (specification: ledger.md)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only where it says INTEGER

query = Table(
    "query",
    metadata,
    Column("id", Id, primary_key=True),
    Column("target", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("label_rules", Text, nullable=False),
    Column("start_mode", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="active"),
    Column("state_ms", BigInteger, nullable=False),
    Column("epoch_ms", BigInteger),
    Column("floor_ms", BigInteger),
    Column("cursor_ms", BigInteger),
    Column("watermark_ms", BigInteger),
    Column("memo", Text, nullable=False, server_default="{}"),
    Column("last_read_ms", BigInteger),
    Column("last_attempt_ms", BigInteger),
    Column("last_success_ms", BigInteger),
    Column("next_poll_ms", BigInteger, nullable=False),
    Column("last_reason", Text),
    Column("last_error", Text),
    Column("fail_streak", Integer, nullable=False, server_default="0"),
    Column("backoff_ms", BigInteger, nullable=False, server_default="0"),
    Column("circuit", Text, nullable=False, server_default="closed"),
    Column("quarantine", Integer, nullable=False, server_default="0"),
    Column("holder", Text),
    Column("token", BigInteger, nullable=False, server_default="0"),
    Column("claim_expires_ms", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("target", "name"),
    CheckConstraint("start_mode IN ('zero', 'history')", name="start_mode"),
    Index("query_due", "state", "next_poll_ms"),
)

series = Table(
    "series",
    metadata,
    Column("id", Id, primary_key=True),
    Column("query_id", BigInteger, ForeignKey("query.id"), nullable=False),
    Column("family", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("retired", Double, nullable=False, server_default="0"),
    Column("c", Double, nullable=False, server_default="0"),
    Column("overhang", Double, nullable=False, server_default="0"),
    Column("overhang_since_ms", BigInteger),
    Column("written_off", Double, nullable=False, server_default="0"),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("held", Double),
    Column("held_since_ms", BigInteger),
    Column("state", Text, nullable=False, server_default="live"),
    UniqueConstraint("family", "labels"),
    CheckConstraint("overhang >= 0", name="overhang"),
    CheckConstraint("written_off >= 0", name="written_off"),
    CheckConstraint("state IN ('live', 'dormant', 'hidden')", name="state"),
    Index("series_query", "query_id"),
)

bucket = Table(
    "bucket",
    metadata,
    Column("series_id", BigInteger, ForeignKey("series.id"), primary_key=True),
    Column("start_ms", BigInteger, primary_key=True),
    Column("obs", Double, nullable=False),
    Column("base", Double, nullable=False),
    Column("revised", Integer, nullable=False, server_default="0"),
    CheckConstraint("obs >= 0", name="obs"),
    sqlite_with_rowid=False,
)

gauge = Table(
    "gauge",
    metadata,
    Column("query_id", BigInteger, ForeignKey("query.id"), primary_key=True),
    Column("family", Text, primary_key=True),
    Column("labels", Text, primary_key=True),
    Column("slot", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    UniqueConstraint("family", "labels"),
)

seen_event = Table(
    "seen_event",
    metadata,
    Column("query_id", BigInteger, ForeignKey("query.id"), primary_key=True),
    Column("id", LargeBinary, primary_key=True),
    Column("ts_ms", BigInteger, nullable=False),
    Column("content", BigInteger, nullable=False),
    Index("seen_event_ts", "query_id", "ts_ms"),
    sqlite_with_rowid=False,
)

sketch = Table(
    "sketch",
    metadata,
    Column("query_id", BigInteger, ForeignKey("query.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("labels", Text, primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

budget = Table(
    "budget",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spent_ms", BigInteger, nullable=False),
    Column("blocked_until_ms", BigInteger, nullable=False, server_default="0"),
)

gap = Table(
    "gap",
    metadata,
    Column("id", Id, primary_key=True),
    Column("query_id", BigInteger, ForeignKey("query.id"), nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Index("gap_query", "query_id"),
)

self_counter = Table(
    "self_counter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("labels", Text, primary_key=True),
    Column("v", Double, nullable=False),
    sqlite_with_rowid=False,
)
