"""The SQL of runs: rows in and out, no rules."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update

from app.models.runs import RunStatus, RunSummary, Usage
from app.models.sessions import SessionStatus
from app.store.statements import Statement
from app.store.tables import RUNS, SESSIONS


class RunRow(msgspec.Struct, frozen=True):
    """A run as the store knows it; `session` and `number` are the store's own, times in ms.

    `input` is an AG-UI RunAgentInput whose messages are the new ones of this run.
    """

    row_id: int
    session: int
    run_id: str
    thread_id: str
    status: RunStatus
    input: msgspec.Raw
    started_at: int | None


_COLUMNS = (
    RUNS.c.number,
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
)
_decode_usage = msgspec.json.Decoder(Usage).decode

_EXISTS = Statement(
    select(RUNS.c.number).where(RUNS.c.session == bindparam("session"), RUNS.c.run_id == bindparam("id"))
)

_ADDED = ("session", "run_id", "thread_id", "status", "input", "user_message", "event_count", "urgent")
_ADD = Statement(insert(RUNS).values({name: bindparam(name) for name in _ADDED}))

_TURN = RUNS.c.urgent.desc(), RUNS.c.number

# What clients ask for again and again, and what each run takes.
_MINE = select(*_SUMMARY).where(RUNS.c.session == bindparam("session_number"))
_ORDER = RUNS.c.started_at.is_(None), RUNS.c.started_at, *_TURN
_ONE = Statement(_MINE.where(RUNS.c.run_id == bindparam("id")))
_ALL = Statement(_MINE.order_by(*_ORDER))
_IN_STATE = Statement(_MINE.where(RUNS.c.status == bindparam("state")).order_by(*_ORDER))
_FIND = Statement(
    select(*_COLUMNS).where(RUNS.c.session == bindparam("session_number"), RUNS.c.run_id == bindparam("id"))
)
_MY_TURN = Statement(
    select(*_COLUMNS)
    .join(SESSIONS)
    .where(RUNS.c.session == bindparam("session_number"), RUNS.c.status == RunStatus.QUEUED)
    .where(SESSIONS.c.status == SessionStatus.RUNNING)
    .order_by(*_TURN)
    .limit(1)
)
_BEGIN = Statement(
    update(RUNS)
    .where(RUNS.c.number == bindparam("run_number"))
    .values(status=RunStatus.RUNNING, started_at=bindparam("begun"))
)
_ENDED = ("status", "finished_at", "error", "usage")
_FINISH = Statement(
    update(RUNS).where(RUNS.c.number == bindparam("run_number")).values({name: bindparam(name) for name in _ENDED})
)
_STATUS = Statement(select(RUNS.c.status).where(RUNS.c.number == bindparam("run_number")))
_CENSUS = Statement(
    select(RUNS.c.status, func.count(), func.max(RUNS.c.number), func.sum(RUNS.c.event_count))
    .where(RUNS.c.session == bindparam("session_number"))
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
    urgent: bool = False,
) -> None:
    """A new run at the end of its session's queue, or at the end of those in it that are urgent."""
    _ADD(
        connection,
        session=session,
        run_id=run_id,
        thread_id=thread_id,
        status=RunStatus.QUEUED.value,
        input=msgspec.json.encode(input),
        user_message=user_message,
        event_count=0,
        urgent=urgent,
    )


def exists(connection: Connection, session: int, run_id: str) -> bool:
    """Whether the session has had a run of that id."""
    return _EXISTS(connection, session=session, id=run_id).fetchone() is not None


def next_queued(connection: Connection, session: int) -> RunRow | None:
    """The first run in the queue of a session that is running."""
    row = _MY_TURN(connection, session_number=session).fetchone()
    return row and _run(row)


def queued(connection: Connection, session: int) -> list[RunRow]:
    """The queue of a session, in the order in which it will be worked off."""
    query = select(*_COLUMNS).where(RUNS.c.session == session, RUNS.c.status == RunStatus.QUEUED)
    return [_run(row) for row in connection.execute(query.order_by(*_TURN))]


def inputs_under_way(connection: Connection, session: int, thread_id: str) -> list[bytes]:
    """The inputs of a thread's runs that have not ended: the log need not have them yet."""
    query = select(RUNS.c.input).where(RUNS.c.session == session, RUNS.c.thread_id == thread_id)
    return list(connection.execute(query.where(RUNS.c.status.in_([RunStatus.QUEUED, RunStatus.RUNNING]))).scalars())


def active(connection: Connection) -> list[RunRow]:
    """All runs of all sessions that are under way."""
    return [_run(row) for row in connection.execute(select(*_COLUMNS).where(RUNS.c.status == RunStatus.RUNNING))]


def find(connection: Connection, session: int, run_id: str) -> RunRow | None:
    """The run of that id, if the session has one."""
    row = _FIND(connection, session_number=session, id=run_id).fetchone()
    return row and _run(row)


def current_or_next(connection: Connection, session: int) -> RunRow | None:
    """The run of the session that is under way, else the one whose turn comes next; None if the session is idle."""
    going = RUNS.c.status.in_((RunStatus.RUNNING, RunStatus.QUEUED))
    query = select(*_COLUMNS).where(RUNS.c.session == session, going)
    row = connection.execute(query.order_by(RUNS.c.status == RunStatus.QUEUED, *_TURN).limit(1)).one_or_none()
    return row and _run(row)


def initial_run(connection: Connection, session: int) -> int | None:
    """The number of the first run that the session has accepted: its task."""
    query = select(RUNS.c.number).where(RUNS.c.session == session).order_by(RUNS.c.number).limit(1)
    return connection.execute(query).scalar_one_or_none()


def is_active(connection: Connection, number: int) -> bool:
    """Whether the run is under way; False too if it is deleted."""
    found: tuple[str] | None = _STATUS(connection, run_number=number).fetchone()
    return found == (RunStatus.RUNNING,)


def begin(connection: Connection, number: int, started_at: int) -> None:
    """Take a run out of the queue."""
    _BEGIN(connection, run_number=number, begun=started_at)


def change_input(connection: Connection, run: RunRow, input: dict[str, Any]) -> RunRow:  # noqa: A002  as in `add`
    """The run with another RunAgentInput."""
    changed = msgspec.Raw(msgspec.json.encode(input))
    connection.execute(update(RUNS).where(RUNS.c.number == run.row_id).values(input=bytes(changed)))
    return msgspec.structs.replace(run, input=changed)


def finish(
    connection: Connection,
    number: int,
    status: RunStatus,
    *,
    finished_at: int,
    error: str | None,
    usage: Usage | None,
) -> None:
    """Put a run into a final state."""
    spent = usage and msgspec.json.encode(usage)
    _FINISH(connection, run_number=number, status=status.value, finished_at=finished_at, error=error, usage=spent)


def summaries(connection: Connection, session: int, status: RunStatus | None) -> list[RunSummary]:
    """The session's runs in the order of their start, then the queued ones in the order of their turn."""
    if status:
        rows = _IN_STATE(connection, session_number=session, state=status.value)
    else:
        rows = _ALL(connection, session_number=session)
    return [_summary(row) for row in rows]


def state_counts(connection: Connection, session: int) -> list[tuple[str, int, int, int]]:
    """How many of the session's runs are in each state, the latest of them, and their events.

    Any change of the runs or of the log, which is theirs, shows in it.
    """
    return list(_CENSUS(connection, session_number=session))


def summary(connection: Connection, session: int, run_id: str) -> RunSummary | None:
    """One run of the session."""
    row = _ONE(connection, session_number=session, id=run_id).fetchone()
    return row and _summary(row)


def _run(row: Sequence[Any]) -> RunRow:
    number, session, run_id, thread_id, status, input_, started_at = row
    return RunRow(number, session, run_id, thread_id, RunStatus(status), msgspec.Raw(input_), started_at)


def _summary(row: Sequence[Any]) -> RunSummary:
    run_id, status, event_count, thread_id, started_at, finished_at, user_message, error, usage = row
    return RunSummary(
        run_id=run_id,
        status=RunStatus(status),
        event_count=event_count,
        thread_id=thread_id,
        started_at=started_at,
        finished_at=finished_at,
        user_message=user_message,
        error=error,
        usage=usage and _decode_usage(usage),
    )
