"""Whether a worker is to take no more sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0004_since_0001"
down_revision = "0003_since_0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("workers", sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()))
