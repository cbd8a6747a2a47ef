"""A table for the progress of reading a query's past in slices."""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; the next start adds rows for existing queries."""
    op.create_table(
        "slice",
        sa.Column("query_id", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=True),
        sa.Column("until_ms", sa.BigInteger(), nullable=True),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("hole_ms", sa.BigInteger(), nullable=True),
        sa.Column("span_ms", sa.BigInteger(), nullable=True),
        sa.Column("backoff_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("quarantine", sa.Integer(), server_default="0", nullable=False),
        sa.Column("found", sa.Text(), server_default="{}", nullable=False),
        sa.Column("audited", sa.Text(), nullable=True),
        sa.Column("audited_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("mode IN ('baseline', 'count', 'audit')", name="mode"),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"]),
        sa.PrimaryKeyConstraint("query_id"),
    )
    op.create_index("slice_due", "slice", ["next_ms"])
