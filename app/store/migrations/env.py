"""Alembic's entry: migrate over the connection, and within the transaction, of the caller."""

from alembic import context

from app.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
