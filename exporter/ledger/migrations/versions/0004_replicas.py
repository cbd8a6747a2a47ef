"""For replicas on one PostgreSQL: versions, generations of settings, a shared key."""

import json

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables and columns; no versions, because no other replica has shown anything yet."""
    op.create_table(
        "replica",
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("holder"),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for name, kind, default in (
        ("changed_by", sa.Text(), ""),
        ("changed", sa.BigInteger(), "0"),
        ("generation", sa.BigInteger(), "0"),
    ):
        op.add_column("query", sa.Column(name, kind, server_default=default, nullable=False))
    op.create_index("query_changed", "query", ["changed_by", "changed"], unique=False)
    target = sa.Column("target", sa.Text(), server_default="", nullable=False)
    op.add_column("self_counter", target)
    op.create_index("self_counter_target", "self_counter", ["target"], unique=False)
    counters = sa.table("self_counter", sa.column("labels"), sa.column("target"))
    connection = op.get_bind()
    for (labels,) in connection.execute(sa.select(counters.c.labels).distinct()).all():
        same = sa.update(counters).where(counters.c.labels == labels)
        connection.execute(same.values(target=json.loads(labels)["target"]))
