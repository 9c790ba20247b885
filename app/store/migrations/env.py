"""Alembic's entry point: migrate over the caller's connection, within its transaction."""

from alembic import context

from app.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
