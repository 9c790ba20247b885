"""The session store: sessions, runs, logs, approvals and keys."""

import sqlalchemy as sa
from alembic import op

from app.store.statements import driver

revision = "0001_session_store"
down_revision = None

INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
FILL = {"fillfactor": 70}


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "sessions",
        sa.Column("row_id", INT64, primary_key=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("secrets", sa.LargeBinary),
        sa.Column("search", TEXT, nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("status_changed_at", INT64, nullable=False),
        sa.Column("completed_at", INT64),
        sa.Column("error", TEXT),
        sa.Column("idle_timeout", INT64),
        sa.Column("stop_on_run_finished", sa.Boolean, nullable=False),
        sa.Column("last_position", INT64, nullable=False),
        sa.Column("stored_bytes", INT64, nullable=False),
        sa.Column("workspace_bytes", INT64),
        sa.Column("disk_bytes", INT64, nullable=False, server_default="0"),
        sa.Column("usage", sa.LargeBinary),
        sa.Column("result", TEXT),
        sa.Column("model", TEXT),
        sa.Column("mode", TEXT),
        sa.Column("epoch", INT64, nullable=False, server_default="0"),
        sa.Column("owner", TEXT),
        sa.Column("disk", TEXT),
        sqlite_autoincrement=True,
        postgresql_with=FILL,
    )
    op.create_index("sessions_by_age", "sessions", ["project", "created_at", "id"])
    op.create_index("sessions_by_status", "sessions", ["status", "project"])
    op.create_table(
        "labels",
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("value", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("labels_by_value", "labels", ["key", "value", "session"])
    op.create_table(
        "runs",
        sa.Column("row_id", INT64, primary_key=True),
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("thread_id", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("user_message", TEXT),
        sa.Column("started_at", INT64),
        sa.Column("finished_at", INT64),
        sa.Column("error", TEXT),
        sa.Column("event_count", INT64, nullable=False),
        sa.Column("log_bytes", INT64, nullable=False),
        sa.Column("first_position", INT64),
        sa.Column("last_position", INT64),
        sa.Column("usage", sa.LargeBinary),
        sa.Column("answer", TEXT),
        sa.Column("cancel_requested", INT64),
        sa.Column("continued_by", TEXT),
        sa.UniqueConstraint("session", "run_id", name="runs_by_id"),
        sqlite_autoincrement=True,
        postgresql_with=FILL,
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
        "session_log",
        sa.Column("session", INT64, primary_key=True, autoincrement=False),
        sa.Column("position", INT64, primary_key=True, autoincrement=False),
        sa.Column("line", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "approvals",
        sa.Column("row_id", INT64, primary_key=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("session", INT64, sa.ForeignKey("sessions.row_id", ondelete="CASCADE"), nullable=False),
        sa.Column("run", INT64, sa.ForeignKey("runs.row_id", ondelete="CASCADE"), nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("interrupt_id", TEXT),
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
        sa.Column("thread_id", TEXT, primary_key=True),
        sa.Column("state", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agent_offers",
        sa.Column("agent", TEXT, primary_key=True),
        sa.Column("offer", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "deletions",
        sa.Column("row_id", INT64, primary_key=True, autoincrement=False),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("disk", TEXT),
    )
    op.create_table(
        "workers",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("disk", TEXT, nullable=False),
        sa.Column("url", TEXT),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("offer", sa.LargeBinary, nullable=False),
        sa.Column("started_at", INT64, nullable=False),
        sa.Column("seen_at", INT64, nullable=False),
        sqlite_with_rowid=False,
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
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("project", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", INT64, nullable=False),
        sa.Column("expires_at", INT64),
        sa.Column("revoked_at", INT64),
        sa.Column("last_used_at", INT64),
    )
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        from procrastinate.schema import SchemaManager  # noqa: PLC0415 - it needs 12 MB, which SQLite has no use for

        driver(bind).execute(SchemaManager.get_schema())  # the tables of the job queue
