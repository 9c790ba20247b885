"""Labels of sessions; what runs and sessions have used of models."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add a table and two columns; what ended before has no usage."""
    op.create_table(
        "labels",
        sa.Column("session", sa.Integer, sa.ForeignKey("sessions.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("labels_by_value", "labels", ["key", "value", "session"])
    op.add_column("sessions", sa.Column("usage", sa.LargeBinary))
    op.add_column("runs", sa.Column("usage", sa.LargeBinary))
