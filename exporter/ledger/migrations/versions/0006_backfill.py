"""For backfill: where a counter with history began, and the progress by destination."""

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and a table; earlier counts of ``start: history`` are no longer known."""
    op.add_column("series", sa.Column("history", sa.Double(), nullable=True))
    op.create_table(
        "backfill",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
