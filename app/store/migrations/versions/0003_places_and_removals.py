"""When a session came into its state, and the workspaces that are still to be removed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Of sessions that there are already, the order of their numbers counts."""
    op.add_column("sessions", sa.Column("moved_at", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "removals",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
    )
