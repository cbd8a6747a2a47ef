"""For backfill: the same values on a later run, and how far back a query has been read."""

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns; the baseline of buckets retired earlier is no longer known."""
    op.add_column(
        "series", sa.Column("retired_base", sa.Double(), server_default="0", nullable=False)
    )
    op.add_column("query", sa.Column("oldest_ms", sa.BigInteger(), nullable=True))
    op.execute("UPDATE query SET oldest_ms = floor_ms")
