"""The run of a session that has ended last, and what a client attached to its task."""

import sqlalchemy as sa
from alembic import op

revision = "0003_since_0001"
down_revision = "0002_since_0001"

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the column and create the table."""
    op.add_column("sessions", sa.Column("last_run", INT64))
    op.create_table(
        "initial_files",
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("path", TEXT, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
