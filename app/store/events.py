"""The SQL of the logs: one numbered sequence of events per session, as bytes."""

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
    """Where a run stands in its session's log: `number` is the store's own, positions are 0 while it has no event."""

    number: int
    status: RunStatus
    first: int
    last: int


# What is executed for every batch of events, and for each reader of one.
_ADVANCE = Statement(
    update(SESSIONS)
    .where(SESSIONS.c.row_id == bindparam("session_number"))
    .values(last_position=SESSIONS.c.last_position + bindparam("added"))
    .returning(SESSIONS.c.last_position)
)
_APPENDED = ("session", "position", "run", "event")
_APPEND = Statement(insert(EVENTS).values({name: bindparam(name) for name in _APPENDED}))
_EXTEND = Statement(
    update(RUNS)
    .where(RUNS.c.row_id == bindparam("run_number"))
    .values(
        event_count=RUNS.c.event_count + bindparam("added"),
        first_position=func.coalesce(RUNS.c.first_position, bindparam("start")),
        last_position=bindparam("end"),
    )
)
_LAST = Statement(select(SESSIONS.c.last_position).where(SESSIONS.c.row_id == bindparam("session_number")))
_STRETCH = Statement(
    select(RUNS.c.row_id, RUNS.c.status, RUNS.c.first_position, RUNS.c.last_position).where(
        RUNS.c.session == bindparam("session_number"), RUNS.c.run_id == bindparam("id")
    )
)
_FOLLOWING = (
    select(EVENTS.c.position, EVENTS.c.event)
    .where(EVENTS.c.session == bindparam("session_number"), EVENTS.c.position > bindparam("after"))
    .order_by(EVENTS.c.position)
)
_BEHIND = Statement(_FOLLOWING)
_BEHIND_IN_RUN = Statement(
    _FOLLOWING.where(
        EVENTS.c.position.between(bindparam("first"), bindparam("last")), EVENTS.c.run == bindparam("run_number")
    )
)


def append(connection: Connection, session: int, run: int, events: Sequence[bytes]) -> None:
    """Add events of a run at the end of its session's log; the first position is 1."""
    added = len(events)
    [(end,)] = _ADVANCE(connection, session_number=session, added=added)
    start = end - added + 1
    rows = [
        {"session": session, "position": position, "run": run, "event": event}
        for position, event in enumerate(events, start)
    ]
    _APPEND.execute_many(connection, rows)
    _EXTEND(connection, run_number=run, added=added, start=start, end=end)
    mark_changed(connection, session)


def of_run(connection: Connection, session: int, run_id: str) -> list[msgspec.Raw] | None:
    """The log of one run of the session; None if there is no such run."""
    run = run_range(connection, session, run_id)
    return None if run is None else [msgspec.Raw(event) for _, event in events_after(connection, session, 0, run)]


def last_position(connection: Connection, session: int) -> int | None:
    """How many events the session's log has; None once the session is deleted."""
    found: tuple[int] | None = _LAST(connection, session_number=session).fetchone()
    return found and found[0]


def run_range(connection: Connection, session: int, run_id: str) -> RunRange | None:
    """Where a run of the session stands; None if there is no such run."""
    if (row := _STRETCH(connection, session_number=session, id=run_id).fetchone()) is None:
        return None
    number, status, first, last = row
    return RunRange(number, RunStatus(status), first or 0, last or 0)


def events_after(
    connection: Connection, session: int, after: int, run: RunRange | None = None
) -> Iterator[tuple[int, bytes]]:
    """Position and event of all that follows `after` in the session's log, or in one run's; read as it is consumed."""
    start = {"session_number": session, "after": after}
    if run:
        found = _BEHIND_IN_RUN(connection, **start, first=run.first, last=run.last, run_number=run.number)
    else:
        found = _BEHIND(connection, **start)
    with closing(found):
        yield from found


def of_thread(connection: Connection, session: int, thread_id: str, after: int) -> Iterator[msgspec.Raw]:
    """What the log has of a thread behind the position `after`."""
    runs = select(RUNS.c.row_id).where(RUNS.c.session == session, RUNS.c.thread_id == thread_id)
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.position > after, EVENTS.c.run.in_(runs))
    return map(msgspec.Raw, connection.execute(query).scalars())


def of_other_runs(connection: Connection, session: int, thread_id: str, run: int) -> list[msgspec.Raw]:
    """What the log says of a thread's other runs: all earlier ones, if `run` is the one under way."""
    others = select(RUNS.c.row_id).where(RUNS.c.session == session, RUNS.c.thread_id == thread_id, RUNS.c.row_id != run)
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.run.in_(others))
    return [msgspec.Raw(event) for event in connection.execute(query.order_by(EVENTS.c.position)).scalars()]


def containing(connection: Connection, session: int, run: int, text: str) -> list[msgspec.Raw]:
    """Those events of a run in whose bytes a text occurs."""
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.run == run)
    found = query.where(contains(EVENTS.c.event, text.encode())).order_by(EVENTS.c.position)
    return [msgspec.Raw(event) for event in connection.execute(found).scalars()]
