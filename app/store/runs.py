"""SQL of runs: rows in and out, no rules."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, Connection, and_, bindparam, case, cast, func, insert, select, update

from app.models.runs import RunStatus, RunSummary, Usage
from app.models.sessions import SessionStatus
from app.store.notifier import mark_changed
from app.store.statements import Statement
from app.store.tables import INT64, RUNS, SESSIONS, TEXT


class RunRow(msgspec.Struct, frozen=True):
    """A stored run; `session` is its session's row id, times in ms.

    `input` is an AG-UI RunAgentInput with the messages that are new with this run.
    """

    row_id: int
    session: int
    run_id: str
    thread_id: str
    status: RunStatus
    input: msgspec.Raw
    started_at: int | None


_COLUMNS = (
    RUNS.c.row_id,
    RUNS.c.session,
    RUNS.c.run_id,
    RUNS.c.thread_id,
    RUNS.c.status,
    RUNS.c.input,
    RUNS.c.started_at,
)
_SUMMARY = (
    RUNS.c.run_id,
    RUNS.c.status,
    RUNS.c.event_count,
    RUNS.c.thread_id,
    RUNS.c.started_at,
    RUNS.c.finished_at,
    RUNS.c.user_message,
    RUNS.c.error,
    RUNS.c.usage,
    RUNS.c.continued_by,
)
_decode_usage = msgspec.json.Decoder(Usage).decode

SESSION_HAS_UNFINISHED_RUN = (
    select(RUNS.c.row_id)
    .where(RUNS.c.session == SESSIONS.c.row_id, RUNS.c.status.in_((RunStatus.QUEUED, RunStatus.RUNNING)))
    .exists()
)

# The names of these parameters end with an underscore, since SQLAlchemy reserves those of columns for new values.
_OF_SESSION = RUNS.c.session == bindparam("session_")
_BY_ID = RUNS.c.run_id == bindparam("id_")
_BY_ROW_ID = RUNS.c.row_id == bindparam("row_id_")
_QUEUE_ORDER = RUNS.c.priority.desc(), RUNS.c.row_id
# By position, not by time: the clocks of workers differ. A run that has begun may have no event yet.
_START_ORDER = RUNS.c.first_position.is_(None), RUNS.c.first_position, RUNS.c.started_at.is_(None), *_QUEUE_ORDER

_INSERTED = (
    "session",
    "run_id",
    "thread_id",
    "status",
    "input",
    "user_message",
    "event_count",
    "log_bytes",
    "priority",
)
_INSERT = Statement(insert(RUNS).values({name: bindparam(name) for name in _INSERTED}))
_EXISTS = Statement(select(RUNS.c.row_id).where(_OF_SESSION, _BY_ID))
_FIND = Statement(select(*_COLUMNS).where(_OF_SESSION, _BY_ID))
_SUMMARIES = select(*_SUMMARY).where(_OF_SESSION)
_SUMMARY_BY_ID = Statement(select(*_SUMMARY, RUNS.c.answer).where(_OF_SESSION, _BY_ID))
_ALL_SUMMARIES = Statement(_SUMMARIES.order_by(*_START_ORDER))
_SUMMARIES_BY_STATUS = Statement(_SUMMARIES.where(RUNS.c.status == bindparam("status_")).order_by(*_START_ORDER))
_NEXT_QUEUED = Statement(
    select(*_COLUMNS)
    .join(SESSIONS)
    .where(_OF_SESSION, RUNS.c.status == RunStatus.QUEUED, SESSIONS.c.status == SessionStatus.RUNNING)
    .order_by(*_QUEUE_ORDER)
    .limit(1)
)
_BEGIN = Statement(update(RUNS).where(_BY_ROW_ID).values(status=RunStatus.RUNNING, started_at=bindparam("started_at")))
_FINAL = ("status", "finished_at", "error", "usage", "answer")
_FINISH = Statement(update(RUNS).where(_BY_ROW_ID).values({name: bindparam(name) for name in _FINAL}))
_GET_STATUS = Statement(select(RUNS.c.status).where(_BY_ROW_ID))
_ADD_STORED_BYTES = Statement(
    update(SESSIONS)
    .where(SESSIONS.c.row_id == bindparam("session_"))
    .values(stored_bytes=SESSIONS.c.stored_bytes + bindparam("added"))
)
_END = bindparam("finished_at_", type_=INT64)
# By the clock of the worker that ends a run, it may have ended before the session was started by another one's.
_ENDS_BEFORE_START = and_(
    SESSIONS.c.stop_on_run_finished,
    SESSIONS.c.status == SessionStatus.RUNNING,
    SESSIONS.c.status_changed_at > _END,
)
_NOTE_END = Statement(
    update(SESSIONS)
    .where(SESSIONS.c.row_id == bindparam("session_"))
    .values(
        stored_bytes=SESSIONS.c.stored_bytes
        + select(RUNS.c.log_bytes).where(RUNS.c.row_id == bindparam("row_id_")).scalar_subquery(),
        lost_workers=case((bindparam("has_completed", type_=Boolean), 0), else_=SESSIONS.c.lost_workers),
        last_run=bindparam("row_id_"),
        result=func.coalesce(bindparam("result_", type_=TEXT), SESSIONS.c.result),
        status_changed_at=case((_ENDS_BEFORE_START, _END), else_=SESSIONS.c.status_changed_at),
    )
)
_STATE_COUNTS = Statement(
    select(RUNS.c.status, func.count(), func.max(RUNS.c.row_id), cast(func.sum(RUNS.c.event_count), INT64))
    .where(_OF_SESSION)
    .group_by(RUNS.c.status)
    .order_by(RUNS.c.status)
)


def add(
    connection: Connection,
    *,
    session: int,
    run_id: str,
    thread_id: str,
    input: dict[str, Any],  # noqa: A002  AG-UI's name for it
    user_message: str | None,
    priority: int = 0,
) -> None:
    """Insert a run into its session's queue, after all of the same or a higher priority."""
    encoded = msgspec.json.encode(input)
    _INSERT(
        connection,
        session=session,
        run_id=run_id,
        thread_id=thread_id,
        status=RunStatus.QUEUED.value,
        input=encoded,
        user_message=user_message,
        event_count=0,
        log_bytes=0,
        priority=priority,
    )
    _ADD_STORED_BYTES(connection, session_=session, added=len(encoded))
    mark_changed(connection, session)


def exists(connection: Connection, session: int, run_id: str) -> bool:
    """Return whether the session has a run of that id."""
    return _EXISTS(connection, session_=session, id_=run_id).fetchone() is not None


def find(connection: Connection, session: int, run_id: str) -> RunRow | None:
    """Return the session's run of that id, or None."""
    row = _FIND(connection, session_=session, id_=run_id).fetchone()
    return row and _run(row)


def queued(connection: Connection, session: int) -> list[RunRow]:
    """Return the queue of a session, in order."""
    query = select(*_COLUMNS).where(RUNS.c.session == session, RUNS.c.status == RunStatus.QUEUED)
    return [_run(row) for row in connection.execute(query.order_by(*_QUEUE_ORDER))]


def next_queued(connection: Connection, session: int) -> RunRow | None:
    """Return the first run in the queue of a session that is running."""
    row = _NEXT_QUEUED(connection, session_=session).fetchone()
    return row and _run(row)


def current_or_next(connection: Connection, session: int) -> RunRow | None:
    """Return the active run of a session, else the first one in its queue; None if it has neither."""
    unfinished = RUNS.c.status.in_((RunStatus.RUNNING, RunStatus.QUEUED))
    query = select(*_COLUMNS).where(RUNS.c.session == session, unfinished)
    row = connection.execute(query.order_by(RUNS.c.status == RunStatus.QUEUED, *_QUEUE_ORDER).limit(1)).one_or_none()
    return row and _run(row)


def active(connection: Connection, session: int | None = None) -> list[RunRow]:
    """Return the active runs of all sessions, or of one."""
    query = select(*_COLUMNS).where(RUNS.c.status == RunStatus.RUNNING)
    query = query if session is None else query.where(RUNS.c.session == session)
    return [_run(row) for row in connection.execute(query)]


def request_cancel(connection: Connection, session: int, run: int | None, now: int) -> int | None:
    """Note that a session's active run, or only this `run`, is to be cancelled; return the run, or None."""
    active_run = update(RUNS).where(RUNS.c.session == session, RUNS.c.status == RunStatus.RUNNING)
    active_run = active_run if run is None else active_run.where(RUNS.c.row_id == run)
    return connection.execute(active_run.values(cancel_requested=now).returning(RUNS.c.row_id)).scalar_one_or_none()


def is_active(connection: Connection, row_id: int) -> bool:
    """Return whether a run is active, neither ended nor deleted."""
    found: tuple[str] | None = _GET_STATUS(connection, row_id_=row_id).fetchone()
    return found == (RunStatus.RUNNING,)


def initial_run(connection: Connection, session: int) -> int | None:
    """Return the row id of the first run that the session has accepted: its task."""
    query = select(RUNS.c.row_id).where(RUNS.c.session == session).order_by(RUNS.c.row_id).limit(1)
    return connection.execute(query).scalar_one_or_none()


def unfinished_inputs(connection: Connection, session: int, thread_id: str) -> list[bytes]:
    """Return the inputs of a thread's queued and active runs."""
    query = select(RUNS.c.input).where(RUNS.c.session == session, RUNS.c.thread_id == thread_id)
    return list(connection.execute(query.where(RUNS.c.status.in_([RunStatus.QUEUED, RunStatus.RUNNING]))).scalars())


def begin(connection: Connection, row_id: int, started_at: int) -> None:
    """Make a queued run the active one."""
    _BEGIN(connection, row_id_=row_id, started_at=started_at)


def set_input(connection: Connection, run: RunRow, input: dict[str, Any]) -> RunRow:  # noqa: A002  as in `add`
    """Replace the input of a run and return the run with it."""
    changed = msgspec.Raw(msgspec.json.encode(input))
    connection.execute(update(RUNS).where(RUNS.c.row_id == run.row_id).values(input=bytes(changed)))
    return msgspec.structs.replace(run, input=changed)


def finish(
    connection: Connection,
    row_id: int,
    session: int,
    status: RunStatus,
    *,
    finished_at: int,
    error: str | None,
    usage: Usage | None,
    answer: str | None,
) -> None:
    """End a run, whose log counts as stored from now on; the answer of a completed one is its session's result.

    A session that is to stop once a run has ended counts as started before that, whatever clocks say.
    """
    encoded = usage and msgspec.json.encode(usage)
    _FINISH(
        connection,
        row_id_=row_id,
        status=status.value,
        finished_at=finished_at,
        error=error,
        usage=encoded,
        answer=answer,
    )
    has_completed = status in {RunStatus.COMPLETED, RunStatus.WAITING}
    result = (answer or None) if has_completed else None
    _NOTE_END(
        connection,
        session_=session,
        row_id_=row_id,
        has_completed=has_completed,
        result_=result,
        finished_at_=finished_at,
    )


def continue_by(connection: Connection, row_id: int, run_id: str) -> None:
    """Note the run that continues another one, which is completed with it unless it was interrupted before."""
    was_interrupted = RUNS.c.status == RunStatus.INTERRUPTED
    status = case((was_interrupted, RunStatus.INTERRUPTED.value), else_=RunStatus.COMPLETED.value)
    connection.execute(update(RUNS).where(RUNS.c.row_id == row_id).values(status=status, continued_by=run_id))


def waiting(connection: Connection, session: int) -> list[RunRow]:
    """Return the runs of a session that wait for decisions."""
    query = select(*_COLUMNS).where(RUNS.c.session == session, RUNS.c.status == RunStatus.WAITING)
    return [_run(row) for row in connection.execute(query.order_by(RUNS.c.row_id))]


def interrupt_waiting(connection: Connection, session: int) -> None:
    """Put the runs of a session that wait for decisions into their final state."""
    is_waiting = (RUNS.c.session == session) & (RUNS.c.status == RunStatus.WAITING)
    connection.execute(update(RUNS).where(is_waiting).values(status=RunStatus.INTERRUPTED.value))


def summary(connection: Connection, session: int, run_id: str) -> RunSummary | None:
    """Return one run of the session as clients see it, or None."""
    row = _SUMMARY_BY_ID(connection, session_=session, id_=run_id).fetchone()
    return row and _summary(row)


def summaries(connection: Connection, session: int, status: RunStatus | None) -> list[RunSummary]:
    """Return the session's runs as clients see them: by their start, then the queued ones in the queue's order.

    Their answers are left out.
    """
    if status:
        rows = _SUMMARIES_BY_STATUS(connection, session_=session, status_=status.value)
    else:
        rows = _ALL_SUMMARIES(connection, session_=session)
    return [_summary(row) for row in rows]


def state_counts(connection: Connection, session: int) -> list[tuple[str, int, int, int]]:
    """Return, for each state of the session's runs, their number, the newest row id and the number of their events.

    Any change of a run or of the log changes the result.
    """
    return list(_STATE_COUNTS(connection, session_=session))


def _run(row: Sequence[Any]) -> RunRow:
    row_id, session, run_id, thread_id, status, input_, started_at = row
    return RunRow(row_id, session, run_id, thread_id, RunStatus(status), msgspec.Raw(input_), started_at)


def _summary(row: Sequence[Any]) -> RunSummary:
    run_id, status, event_count, thread_id, started_at, finished_at, user_message, error, usage = row[:9]
    continued_by, *answer = row[9:]
    return RunSummary(
        run_id=run_id,
        status=RunStatus(status),
        event_count=event_count,
        thread_id=thread_id,
        started_at=started_at,
        finished_at=finished_at,
        user_message=user_message,
        answer=answer[0] if answer else None,
        continued_by=continued_by,
        error=error,
        usage=usage and _decode_usage(usage),
    )
