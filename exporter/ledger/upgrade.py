"""Bringing a ledger's schema up to date: Alembic, which only a new or an older ledger needs."""

from importlib import resources

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def upgrade(connection: sa.Connection) -> None:
    """Run every migration that the ledger lacks, in the transaction of ``connection``."""
    config = _scripts()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revisions() -> list[str]:
    """Return the schemas that this program knows, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_scripts()).walk_revisions()]


def _scripts() -> Config:
    config = Config()
    folder = resources.files("exporter.ledger") / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    return config
