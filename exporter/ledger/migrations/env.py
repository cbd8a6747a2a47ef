"""Runs Alembic on the connection that the ledger opened, in its transaction."""

from alembic import context

from exporter.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
