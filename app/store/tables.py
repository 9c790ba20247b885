"""The tables of the store: sessions, labels, runs, logs, what agents ask and remember, removals, answers, keys.

Times are integer milliseconds since 1970. Sessions and runs have a small integer `number` beside the id that clients
see, so that an event costs no repeated text. The log is clustered by session: reading one session, or one run, is one
walk along the primary key (a run knows its first and last position, so it needs no index of its own).
"""

from sqlalchemy import (
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
    text,
)

METADATA = MetaData()

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),  # the create body as JSON, changed since, without its labels
    Column("search", Text, nullable=False),  # case-folded id, display name and task
    Column("created_at", Integer, nullable=False),
    Column("completed_at", Integer),
    Column("error", Text),
    Column("last_position", Integer, nullable=False),
    Column("moved_at", Integer, nullable=False, server_default=text("0")),  # when it came into its state
    Column("usage", LargeBinary),  # the sum over the ended runs, as JSON
    Index("sessions_by_age", "project", "created_at", "id"),
    Index("sessions_by_status", "status"),
    sqlite_autoincrement=True,  # a number is never given again, so late work cannot hit a later session
)

LABELS = Table(
    "labels",
    METADATA,
    Column("session", ForeignKey(SESSIONS.c.number, ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("labels_by_value", "key", "value", "session"),
    sqlite_with_rowid=False,
)

RUNS = Table(
    "runs",
    METADATA,
    Column("number", Integer, primary_key=True),  # the order of acceptance
    Column("session", ForeignKey(SESSIONS.c.number, ondelete="CASCADE"), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("thread_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("urgent", Boolean, nullable=False, server_default=false()),  # goes before all that are not
    Column("input", LargeBinary, nullable=False),  # an AG-UI RunAgentInput that holds only this run's messages
    Column("user_message", Text),
    Column("started_at", Integer),
    Column("finished_at", Integer),
    Column("error", Text),
    Column("event_count", Integer, nullable=False),
    Column("first_position", Integer),
    Column("last_position", Integer),
    Column("usage", LargeBinary),  # as JSON
    UniqueConstraint("session", "run_id", name="runs_by_id"),
    Index("runs_by_status", "status", "session"),
    sqlite_autoincrement=True,
)

EVENTS = Table(
    "events",
    METADATA,
    Column("session", ForeignKey(SESSIONS.c.number, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("run", Integer, nullable=False),
    Column("event", nullable=False),  # the JSON as it came
    sqlite_with_rowid=False,
)

REMOVALS = Table(
    "removals",
    METADATA,
    Column("number", Integer, primary_key=True),  # the session's, which is gone
    Column("project", Text, nullable=False),
    Column("id", Text, nullable=False),
)

ANSWERS = Table(
    "answers",
    METADATA,
    Column("key", LargeBinary, primary_key=True),  # a digest of project, token and idempotency key
    Column("fingerprint", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("kept_at", Integer, nullable=False),
    Index("answers_by_age", "kept_at"),
    sqlite_with_rowid=False,
)

APPROVALS = Table(
    "approvals",
    METADATA,
    Column("number", Integer, primary_key=True),  # the order of the questions
    Column("id", Text, nullable=False, unique=True),
    Column("session", ForeignKey(SESSIONS.c.number, ondelete="CASCADE"), nullable=False),
    Column("run", ForeignKey(RUNS.c.number, ondelete="CASCADE"), nullable=False),
    Column("status", Text, nullable=False),
    Column("interrupt_id", Text),  # the agent's name for a question that ended its run; none within a turn
    Column("question", LargeBinary, nullable=False),  # what a client sees of it, as JSON
    Column("answer", LargeBinary),  # what the agent is told, as JSON
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Index("approvals_by_session", "session", "status"),
    Index("approvals_by_run", "run"),
)

MEMORIES = Table(
    "memories",
    METADATA,
    Column("session", ForeignKey(SESSIONS.c.number, ondelete="CASCADE"), primary_key=True),
    Column("thread_id", Text, primary_key=True),
    Column("memory", Text, nullable=False),  # what the agent wants to know again, in its own words
    sqlite_with_rowid=False,
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("project", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Column("revoked_at", Integer),
)
