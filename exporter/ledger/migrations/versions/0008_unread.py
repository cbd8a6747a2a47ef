"""Since when families of a query could not be read, so that their gauges are withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("query", sa.Column("unread", sa.Text(), server_default="{}", nullable=False))
