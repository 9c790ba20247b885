"""SQL of the logs: for each session one sequence of events, as bytes, at the positions 1, 2, 3 and so on."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update

from app.models.runs import RunStatus
from app.store.dialect import contains
from app.store.notifier import mark_changed
from app.store.statements import Statement
from app.store.tables import EVENTS, RUNS, SESSIONS


class RunRange(msgspec.Struct, frozen=True):
    """A run's status and the positions of its first and last event, which are 0 while it has none."""

    row_id: int
    status: RunStatus
    first: int
    last: int


# Executed for each batch of events and by each reader of one.
_ADVANCE = Statement(
    update(SESSIONS)
    .where(SESSIONS.c.row_id == bindparam("session_"))
    .values(last_position=SESSIONS.c.last_position + bindparam("added"))
    .returning(SESSIONS.c.last_position)
)
_INSERTED = ("session", "position", "run", "event")
_INSERT = Statement(insert(EVENTS).values({name: bindparam(name) for name in _INSERTED}))
_EXTEND_RUN = Statement(
    update(RUNS)
    .where(RUNS.c.row_id == bindparam("run_"))
    .values(
        event_count=RUNS.c.event_count + bindparam("added"),
        log_bytes=RUNS.c.log_bytes + bindparam("size"),
        first_position=func.coalesce(RUNS.c.first_position, bindparam("first")),
        last_position=bindparam("last"),
    )
)
_LAST_POSITION = Statement(select(SESSIONS.c.last_position).where(SESSIONS.c.row_id == bindparam("session_")))
_RUN_RANGE = Statement(
    select(RUNS.c.row_id, RUNS.c.status, RUNS.c.first_position, RUNS.c.last_position).where(
        RUNS.c.session == bindparam("session_"), RUNS.c.run_id == bindparam("run_id_")
    )
)
_AFTER = (
    select(EVENTS.c.position, EVENTS.c.event)
    .where(EVENTS.c.session == bindparam("session_"), EVENTS.c.position > bindparam("after"))
    .order_by(EVENTS.c.position)
)
_EVENTS_AFTER = Statement(_AFTER)
_EVENTS_OF_RUN_AFTER = Statement(
    _AFTER.where(EVENTS.c.position.between(bindparam("first"), bindparam("last")), EVENTS.c.run == bindparam("run_"))
)


def append(connection: Connection, session: int, run: int, events: Sequence[bytes]) -> None:
    """Append events of a run to its session's log, and mark the session as changed."""
    added = len(events)
    [(last,)] = _ADVANCE(connection, session_=session, added=added)
    first = last - added + 1
    rows = [
        {"session": session, "position": position, "run": run, "event": event}
        for position, event in enumerate(events, first)
    ]
    _INSERT.execute_many(connection, rows)
    _EXTEND_RUN(connection, run_=run, added=added, size=sum(map(len, events)), first=first, last=last)
    mark_changed(connection, session)


def last_position(connection: Connection, session: int) -> int | None:
    """Return the position of the last event in the session's log; None once the session is deleted."""
    found: tuple[int] | None = _LAST_POSITION(connection, session_=session).fetchone()
    return found and found[0]


def run_range(connection: Connection, session: int, run_id: str) -> RunRange | None:
    """Return where the session's log has a run; None if there is no such run."""
    if (row := _RUN_RANGE(connection, session_=session, run_id_=run_id).fetchone()) is None:
        return None
    row_id, status, first, last = row
    return RunRange(row_id, RunStatus(status), first or 0, last or 0)


def events_after(
    connection: Connection, session: int, after: int, run: RunRange | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield position and bytes of the events after a position of the session's log, or of one run in it.

    They are read from the store while they are iterated over.
    """
    if run:
        rows = _EVENTS_OF_RUN_AFTER(
            connection, session_=session, after=after, first=run.first, last=run.last, run_=run.row_id
        )
    else:
        rows = _EVENTS_AFTER(connection, session_=session, after=after)
    with closing(rows):
        yield from rows


def of_run(connection: Connection, session: int, run_id: str) -> list[msgspec.Raw]:
    """Return the log of one run of the session, which is empty if there is no such run."""
    run = run_range(connection, session, run_id)
    return [msgspec.Raw(event) for _, event in events_after(connection, session, 0, run)] if run else []


def of_thread(connection: Connection, session: int, thread_id: str, after: int) -> Iterator[msgspec.Raw]:
    """Yield the events of a thread's runs after a position, in no order."""
    runs = select(RUNS.c.row_id).where(RUNS.c.session == session, RUNS.c.thread_id == thread_id)
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.position > after, EVENTS.c.run.in_(runs))
    return map(msgspec.Raw, connection.execute(query).scalars())


def of_other_runs(connection: Connection, session: int, thread_id: str, run: int) -> list[msgspec.Raw]:
    """Return the events of a thread's runs but one: the earlier runs, if that one is active."""
    others = select(RUNS.c.row_id).where(RUNS.c.session == session, RUNS.c.thread_id == thread_id, RUNS.c.row_id != run)
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.run.in_(others))
    return [msgspec.Raw(event) for event in connection.execute(query.order_by(EVENTS.c.position)).scalars()]


def containing(connection: Connection, session: int, run: int, text: str) -> list[msgspec.Raw]:
    """Return the events of a run whose bytes contain a text."""
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.run == run)
    query = query.where(contains(EVENTS.c.event, text.encode())).order_by(EVENTS.c.position)
    return [msgspec.Raw(event) for event in connection.execute(query).scalars()]
