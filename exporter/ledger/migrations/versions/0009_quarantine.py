"""Which part of a poll, or of a slice of the past, is quarantined."""

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of a quarantine of before, the part is not known."""
    for table in ("query", "slice"):
        op.add_column(table, sa.Column("quarantine_ms", sa.BigInteger(), nullable=True))
