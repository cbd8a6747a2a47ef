"""The first ledger: counts, gauges, events, claims."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "budget",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spent_ms", sa.BigInteger(), nullable=False),
        sa.Column("blocked_until_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "query",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("naming", sa.Text(), nullable=False),
        sa.Column("start_mode", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("state_ms", sa.BigInteger(), nullable=False),
        sa.Column("epoch_ms", sa.BigInteger(), nullable=True),
        sa.Column("floor_ms", sa.BigInteger(), nullable=True),
        sa.Column("cursor_ms", sa.BigInteger(), nullable=True),
        sa.Column("watermark_ms", sa.BigInteger(), nullable=True),
        sa.Column("memo", sa.Text(), server_default="{}", nullable=False),
        sa.Column("last_read_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_attempt_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_success_ms", sa.BigInteger(), nullable=True),
        sa.Column("next_poll_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_reason", sa.Text(), nullable=True),
        sa.Column("last_fault", sa.Text(), nullable=True),
        sa.Column("fail_streak", sa.Integer(), server_default="0", nullable=False),
        sa.Column("backoff_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("circuit", sa.Text(), server_default="closed", nullable=False),
        sa.Column("quarantine", sa.Integer(), server_default="0", nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("claim_expires_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("start_mode IN ('zero', 'history')", name="start_mode"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("target", "name"),
    )
    op.create_index("query_due", "query", ["state", "next_poll_ms"], unique=False)
    op.create_table(
        "self_counter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("v", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "gap",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gap_query", "gap", ["query_id"], unique=False)
    op.create_table(
        "gauge",
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"]),
        sa.PrimaryKeyConstraint("query_id", "family", "labels"),
        sa.UniqueConstraint("family", "labels"),
    )
    op.create_table(
        "poll_log",
        sa.Column("poll_id", sa.Text(), nullable=False),
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("committed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"]),
        sa.PrimaryKeyConstraint("poll_id"),
    )
    op.create_index("poll_log_query", "poll_log", ["query_id", "committed_ms"], unique=False)
    op.create_table(
        "seen_event",
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"]),
        sa.PrimaryKeyConstraint("query_id", "id"),
        sqlite_with_rowid=False,
    )
    op.create_index("seen_event_ts", "seen_event", ["query_id", "ts_ms"], unique=False)
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("retired", sa.Double(), server_default="0", nullable=False),
        sa.Column("c", sa.Double(), server_default="0", nullable=False),
        sa.Column("overhang", sa.Double(), server_default="0", nullable=False),
        sa.Column("overhang_since_ms", sa.BigInteger(), nullable=True),
        sa.Column("written_off", sa.Double(), server_default="0", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Double(), nullable=True),
        sa.Column("held_since_ms", sa.BigInteger(), nullable=True),
        sa.Column("visible_ms", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="live", nullable=False),
        sa.CheckConstraint("state IN ('live', 'dormant', 'hidden')", name="state"),
        sa.CheckConstraint("overhang >= 0", name="overhang"),
        sa.CheckConstraint("written_off >= 0", name="written_off"),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("family", "labels"),
    )
    op.create_index("series_query", "series", ["query_id"], unique=False)
    op.create_table(
        "sketch",
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), nullable=False),
        sa.Column("lg_k", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"]),
        sa.PrimaryKeyConstraint("query_id", "kind", "labels", "hour_ms"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bucket",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("obs", sa.Double(), nullable=False),
        sa.Column("base", sa.Double(), nullable=False),
        sa.Column("revised", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("obs >= 0", name="obs"),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"]),
        sa.PrimaryKeyConstraint("series_id", "start_ms"),
        sqlite_with_rowid=False,
    )
