"""Questions within a turn: they have no name of the agent's, and their answer is none of AG-UI's."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Let an approval be without an interrupt, and call what the agent is told its answer."""
    with op.batch_alter_table("approvals") as approvals:
        approvals.alter_column("interrupt_id", existing_type=sa.Text(), nullable=True)
        approvals.alter_column("resume", existing_type=sa.LargeBinary(), new_column_name="answer")
