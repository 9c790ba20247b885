"""What agents want to know again of a thread."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add a table; agents of earlier runs are told the conversation as before."""
    op.create_table(
        "memories",
        sa.Column("session", sa.Integer, sa.ForeignKey("sessions.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("thread_id", sa.Text, primary_key=True),
        sa.Column("memory", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
