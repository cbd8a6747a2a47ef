"""What could not be read: since when families, and before when the ids of a stream's events."""

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns; ids older than the oldest one may have been dropped."""
    op.add_column("query", sa.Column("unread", sa.Text(), server_default="{}", nullable=False))
    op.add_column("query", sa.Column("ids_from_ms", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE query SET ids_from_ms ="
        " (SELECT MIN(ts_ms) FROM seen_event WHERE seen_event.query_id = query.id)"
    )
