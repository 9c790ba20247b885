"""The tables of the session store.

Times are integer milliseconds since 1970. A session, a run and an approval have an integer `row_id` beside the id that
clients see: it is what other tables refer to, so that an event costs no repeated text. Row ids of sessions and runs are
never used again, so late work cannot reach a later row.

The log (`events`) is clustered by session and position: to read a session's log, or one run's, is one walk along the
primary key. A run knows its first and last position, so its events need no index of their own.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()
# 64 bits in every dialect. SQLite has one integer type, and numbers rows only where the key is declared as INTEGER.
INT64 = BigInteger().with_variant(Integer, "sqlite")

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("row_id", INT64, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),  # the body of create_session as JSON, updated, without its labels
    Column("search", Text, nullable=False),  # id, display name and task, case-folded
    Column("created_at", INT64, nullable=False),
    Column("status_changed_at", INT64, nullable=False),
    Column("completed_at", INT64),
    Column("error", Text),
    Column("last_position", INT64, nullable=False),
    Column("usage", LargeBinary),  # the sum over its ended runs, as JSON
    Column("result", Text),  # the answer of the run that has completed last
    Index("sessions_by_age", "project", "created_at", "id"),
    Index("sessions_by_status", "status"),
    sqlite_autoincrement=True,
)

LABELS = Table(
    "labels",
    METADATA,
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("labels_by_value", "key", "value", "session"),
    sqlite_with_rowid=False,
)

RUNS = Table(
    "runs",
    METADATA,
    Column("row_id", INT64, primary_key=True),  # in the order of acceptance
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("thread_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", Integer, nullable=False),  # of queued runs: the highest goes first, then the oldest
    Column("input", LargeBinary, nullable=False),  # an AG-UI RunAgentInput with this run's messages only
    Column("user_message", Text),
    Column("started_at", INT64),
    Column("finished_at", INT64),
    Column("error", Text),
    Column("event_count", INT64, nullable=False),
    Column("first_position", INT64),
    Column("last_position", INT64),
    Column("usage", LargeBinary),  # as JSON
    Column("answer", Text),
    Column("continued_by", Text),  # the run_id of the run that answers the interrupts with which this one ended
    UniqueConstraint("session", "run_id", name="runs_by_id"),
    Index("runs_by_status", "status", "session"),
    sqlite_autoincrement=True,
)

EVENTS = Table(
    "events",
    METADATA,
    # No foreign key: the log of a deleted session is removed in slices, since one statement would hold up the writer.
    Column("session", INT64, primary_key=True, autoincrement=False),
    Column("position", INT64, primary_key=True, autoincrement=False),
    Column("run", INT64, nullable=False),
    Column("event", LargeBinary, nullable=False),  # an AG-UI event as JSON
    sqlite_with_rowid=False,
)

APPROVALS = Table(
    "approvals",
    METADATA,
    Column("row_id", INT64, primary_key=True),  # in the order of the requests
    Column("id", Text, nullable=False, unique=True),
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), nullable=False),
    Column("run", ForeignKey(RUNS.c.row_id, ondelete="CASCADE"), nullable=False),
    Column("status", Text, nullable=False),
    Column("interrupt_id", Text),  # the agent's name for an interrupt that ended its run; none within a turn
    Column("request", LargeBinary, nullable=False),  # an ApprovalRequest as JSON
    Column("decision", LargeBinary),  # as JSON, in the form that the agent receives
    Column("created_at", INT64, nullable=False),
    Column("expires_at", INT64),
    Index("approvals_by_session", "session", "status"),
    Index("approvals_by_run", "run"),
)

AGENT_STATES = Table(
    "agent_states",
    METADATA,
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), primary_key=True),
    Column("thread_id", Text, primary_key=True),
    Column("state", Text, nullable=False),  # in a form that only the agent knows
    sqlite_with_rowid=False,
)

DELETIONS = Table(
    "deletions",
    METADATA,
    Column("row_id", INT64, primary_key=True, autoincrement=False),  # the one that the deleted session had
    Column("project", Text, nullable=False),
    Column("id", Text, nullable=False),
)

IDEMPOTENCY_KEYS = Table(
    "idempotency_keys",
    METADATA,
    Column("key", LargeBinary, primary_key=True),  # a digest of project, token and Idempotency-Key
    Column("fingerprint", LargeBinary, nullable=False),  # a digest of the request
    Column("response", LargeBinary),  # as JSON; none while the request is carried out
    Column("created_at", INT64, nullable=False),
    Index("idempotency_keys_by_age", "created_at"),
    sqlite_with_rowid=False,
)

ACCESS_KEYS = Table(
    "access_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", INT64, nullable=False),
    Column("expires_at", INT64),
    Column("revoked_at", INT64),
)
