"""Plainer column names; no unused columns and tables."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename two columns; drop the log of polls (docs/decisions/006) and unused columns."""
    op.alter_column("query", "naming", new_column_name="label_rules", existing_type=sa.Text())
    op.alter_column("query", "last_fault", new_column_name="last_error", existing_type=sa.Text())
    op.drop_column("series", "visible_ms")
    op.drop_column("sketch", "lg_k")
    op.drop_column("gap", "at_ms")
    op.drop_table("poll_log")
