"""Runs that go to the head of the queue."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Mark them; those that wait already are not."""
    op.add_column("runs", sa.Column("urgent", sa.Boolean, nullable=False, server_default=sa.false()))
