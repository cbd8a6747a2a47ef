"""What backfill needs: where a counter with history began, and how far each destination has it."""

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column and a table; what ``start: history`` counted before is not known any more."""
    op.add_column("series", sa.Column("history", sa.Double(), nullable=True))
    op.create_table(
        "backfill",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
