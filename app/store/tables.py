"""The tables of the session store.

Times are integer milliseconds since 1970. A session, a run and an approval have an integer `row_id` beside the id that
clients see: it is what other tables refer to, so that an event costs no repeated text. Row ids of sessions and runs are
never used again, so late work cannot reach a later row.

The log (`events`) is clustered by session and position: to read a session's log, or one run's, is one walk along the
primary key. A run knows its first and last position, so its events need no index of their own.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

METADATA = MetaData()
# 64 bits in every dialect. SQLite has one integer type, and numbers rows only where the key is declared as INTEGER.
INT64 = BigInteger().with_variant(Integer, "sqlite")
# Compared by code points in every dialect, whatever the language of the database is.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
# Rows that change often leave room beside them, so that a change need not touch the indexes.
_CHANGES_OFTEN: dict[str, Any] = {"postgresql_with": {"fillfactor": 70}}

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("row_id", INT64, primary_key=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("project", TEXT, nullable=False),
    Column("status", TEXT, nullable=False),
    Column("request", LargeBinary, nullable=False),  # the body of create_session as JSON, updated, without its labels
    Column("secrets", LargeBinary),  # of the request, encrypted; the request has none
    Column("search", TEXT, nullable=False),  # id, display name and task, case-folded
    Column("created_at", INT64, nullable=False),
    Column("status_changed_at", INT64, nullable=False),
    Column("completed_at", INT64),
    Column("error", TEXT),
    Column("idle_timeout", INT64),  # in seconds, as the request has it
    Column("stop_on_run_finished", Boolean, nullable=False),
    Column("last_position", INT64, nullable=False),
    Column("stored_bytes", INT64, nullable=False),  # of its request and initial files, its runs' inputs and ended logs
    Column("usage", LargeBinary),  # the sum over its ended runs, as JSON
    Column("result", TEXT),  # the answer of the run that has completed last
    Column("last_run", INT64),  # the row_id of the run that has ended last
    Column("model", TEXT),  # the one in use, once the agent has said it
    Column("workspace_bytes", INT64),  # on disk, as last measured
    Column("disk_bytes", INT64, nullable=False, server_default="0"),  # those, and of its home
    Column("mode", TEXT),  # the one in use, once the agent has said it
    Column("epoch", INT64, nullable=False, server_default="0"),  # grows each time that a worker gets the lease
    Column("owner", TEXT),  # the worker that holds the lease
    Column("disk", TEXT),  # the one that has the workspace, where there are many
    # Workers that were lost in a row at work on it, since the last run that ended by itself.
    Column("lost_workers", INT64, nullable=False, server_default="0"),
    Index("sessions_by_age", "project", "created_at", "id"),
    Index("sessions_by_status", "status", "project"),
    sqlite_autoincrement=True,
    **_CHANGES_OFTEN,
)

LABELS = Table(
    "labels",
    METADATA,
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), primary_key=True),
    Column("key", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
    Index("labels_by_value", "key", "value", "session"),
    sqlite_with_rowid=False,
)

INITIAL_FILES = Table(
    "initial_files",
    METADATA,
    # What a client attached to the task of a session, to be saved in its workspace whenever that is made.
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), primary_key=True),
    Column("path", TEXT, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

RUNS = Table(
    "runs",
    METADATA,
    Column("row_id", INT64, primary_key=True),  # in the order of acceptance
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), nullable=False),
    Column("run_id", TEXT, nullable=False),
    Column("thread_id", TEXT, nullable=False),
    Column("status", TEXT, nullable=False),
    Column("priority", Integer, nullable=False),  # of queued runs: the highest goes first, then the oldest
    Column("input", LargeBinary, nullable=False),  # an AG-UI RunAgentInput with this run's messages only
    Column("user_message", TEXT),
    Column("started_at", INT64),
    Column("finished_at", INT64),
    Column("error", TEXT),
    Column("event_count", INT64, nullable=False),
    Column("log_bytes", INT64, nullable=False),
    Column("first_position", INT64),
    Column("last_position", INT64),
    Column("usage", LargeBinary),  # as JSON
    Column("answer", TEXT),
    Column("cancel_requested", INT64),  # when; the worker that executes the run reads it
    Column("continued_by", TEXT),  # the run_id of the run that answers the interrupts with which this one ended
    UniqueConstraint("session", "run_id", name="runs_by_id"),
    Index("runs_by_status", "status", "session"),
    sqlite_autoincrement=True,
    **_CHANGES_OFTEN,
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
    Column("id", TEXT, nullable=False, unique=True),
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), nullable=False),
    Column("run", ForeignKey(RUNS.c.row_id, ondelete="CASCADE"), nullable=False),
    Column("status", TEXT, nullable=False),
    Column("interrupt_id", TEXT),  # the agent's name for an interrupt that ended its run; none within a turn
    Column("request", LargeBinary, nullable=False),  # an ApprovalRequest as JSON
    Column("decision", LargeBinary),  # as JSON, in the form that the agent receives
    Column("created_at", INT64, nullable=False),
    Column("expires_at", INT64),
    Index("approvals_by_session", "session", "status"),
    Index("approvals_by_run", "run"),
)

SESSION_LOG = Table(
    "session_log",
    METADATA,
    # No foreign key, as for events.
    Column("session", INT64, primary_key=True, autoincrement=False),
    Column("position", INT64, primary_key=True, autoincrement=False),  # of the end of the line, in bytes
    Column("line", TEXT, nullable=False),
    sqlite_with_rowid=False,
)

AGENT_STATES = Table(
    "agent_states",
    METADATA,
    Column("session", ForeignKey(SESSIONS.c.row_id, ondelete="CASCADE"), primary_key=True),
    Column("thread_id", TEXT, primary_key=True),
    Column("state", TEXT, nullable=False),  # in a form that only the agent knows
    sqlite_with_rowid=False,
)

AGENT_OFFERS = Table(
    "agent_offers",
    METADATA,
    Column("agent", TEXT, primary_key=True),  # a digest of its name and command
    Column("offer", LargeBinary, nullable=False),  # an AgentOffer as JSON
    sqlite_with_rowid=False,
)

DELETIONS = Table(
    "deletions",
    METADATA,
    Column("row_id", INT64, primary_key=True, autoincrement=False),  # the one that the deleted session had
    Column("project", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("disk", TEXT),  # as that of the session was
)

WORKERS = Table(
    "workers",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("disk", TEXT, nullable=False),
    Column("url", TEXT),  # where it serves the workspaces of its disk; none once it has stopped
    Column("token", TEXT, nullable=False),  # what a request for these needs
    Column("offer", LargeBinary, nullable=False),  # a WorkerOffer as JSON
    Column("started_at", INT64, nullable=False),  # by the clock of the database, as the next one
    Column("seen_at", INT64, nullable=False),
    Column("draining", Boolean, nullable=False, server_default=false()),  # whether it is to take no more sessions
    sqlite_with_rowid=False,
)

RATES = Table(
    "rates",
    METADATA,
    Column("client", LargeBinary, primary_key=True),  # a digest of an address or a key
    Column("full_at", INT64, nullable=False),  # in microseconds, by the clock of the database
    sqlite_with_rowid=False,
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
    Column("id", TEXT, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("project", TEXT, nullable=False),
    Column("role", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("created_at", INT64, nullable=False),
    Column("expires_at", INT64),
    Column("revoked_at", INT64),
    Column("last_used_at", INT64),  # to within KEY_USE_SECONDS
)
