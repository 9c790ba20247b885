"""How many workers in a row were lost at work on a session."""

import sqlalchemy as sa
from alembic import op

revision = "0002_since_0001"
down_revision = "0001_session_store"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column."""
    op.add_column("sessions", sa.Column("lost_workers", INT64, nullable=False, server_default="0"))
