"""What could not be read: since when families, and before when the ids of a stream's events."""

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns; ids of before may have been dropped."""
    op.add_column("query", sa.Column("unread", sa.Text(), server_default="{}", nullable=False))
    op.add_column("query", sa.Column("ids_from_ms", sa.BigInteger(), nullable=True))
    # By default ids are kept for 31 hours.
    op.execute("UPDATE query SET ids_from_ms = watermark_ms - 111600000")
    op.execute(
        "UPDATE query SET ids_from_ms = oldest.ts_ms"
        " FROM (SELECT query_id, MIN(ts_ms) AS ts_ms FROM seen_event GROUP BY query_id) AS oldest"
        " WHERE oldest.query_id = query.id AND oldest.ts_ms < query.ids_from_ms"
    )
