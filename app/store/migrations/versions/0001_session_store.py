"""The session store: sessions, runs, logs, approvals and keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001_session_store"
down_revision = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "sessions",
        sa.Column("row_id", INT64, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("status_changed_at", INT64, nullable=False),
        sa.Column("completed_at", INT64),
        sa.Column("error", sa.Text),
        sa.Column("last_position", INT64, nullable=False),
        sa.Column("usage", sa.LargeBinary),
        sa.Column("result", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("sessions_by_age", "sessions", ["project", "created_at", "id"])
    op.create_index("sessions_by_status", "sessions", ["status"])
    op.create_table(
        "labels",
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("labels_by_value", "labels", ["key", "value", "session"])
    op.create_table(
        "runs",
        sa.Column("row_id", INT64, primary_key=True),
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("thread_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("user_message", sa.Text),
        sa.Column("started_at", INT64),
        sa.Column("finished_at", INT64),
        sa.Column("error", sa.Text),
        sa.Column("event_count", INT64, nullable=False),
        sa.Column("first_position", INT64),
        sa.Column("last_position", INT64),
        sa.Column("usage", sa.LargeBinary),
        sa.Column("answer", sa.Text),
        sa.Column("continued_by", sa.Text),
        sa.UniqueConstraint("session", "run_id", name="runs_by_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_status", "runs", ["status", "session"])
    op.create_table(
        "events",
        sa.Column("session", INT64, primary_key=True, autoincrement=False),
        sa.Column("position", INT64, primary_key=True, autoincrement=False),
        sa.Column("run", INT64, nullable=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "approvals",
        sa.Column("row_id", INT64, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), nullable=False),
        sa.Column("run", INT64, sa.ForeignKey("runs.row_id", ondelete="CASCADE"), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("interrupt_id", sa.Text),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("decision", sa.LargeBinary),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("expires_at", INT64),
    )
    op.create_index("approvals_by_session", "approvals", ["session", "status"])
    op.create_index("approvals_by_run", "approvals", ["run"])
    op.create_table(
        "agent_states",
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("thread_id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deletions",
        sa.Column("row_id", INT64, primary_key=True, autoincrement=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary),
        sa.Column("created_at", INT64, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])
    op.create_table(
        "access_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("expires_at", INT64),
        sa.Column("revoked_at", INT64),
    )
