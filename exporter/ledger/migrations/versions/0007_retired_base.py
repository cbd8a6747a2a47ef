"""What backfill needs to write the same values on another day."""

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; what was retired before of a past that counts nowhere is not known any more."""
    op.add_column(
        "series", sa.Column("retired_base", sa.Double(), server_default="0", nullable=False)
    )
