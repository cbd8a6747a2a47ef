"""The server that each replica has confirmed, and which of its commits that server kept."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns; no server is confirmed yet."""
    for name in ("server", "kept"):
        op.add_column(
            "replica", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        )
