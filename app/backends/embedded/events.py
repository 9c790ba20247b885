"""The SQL of the logs: one numbered sequence of events per session, as bytes."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, update

from app.backends.embedded.tables import EVENTS, RUNS, SESSIONS

# Made once, since they are executed for every batch of events.
_ADVANCE = (
    update(SESSIONS)
    .where(SESSIONS.c.number == bindparam("session_number"))
    .values(last_position=SESSIONS.c.last_position + bindparam("added"))
    .returning(SESSIONS.c.last_position)
)
_EXTEND = (
    update(RUNS)
    .where(RUNS.c.number == bindparam("run_number"))
    .values(
        event_count=RUNS.c.event_count + bindparam("added"),
        first_position=func.coalesce(RUNS.c.first_position, bindparam("start")),
        last_position=bindparam("end"),
    )
)


def append(connection: Connection, session: int, run: int, events: Sequence[bytes]) -> None:
    """Add events of a run at the end of its session's log; the first position is 1."""
    added = len(events)
    end = connection.execute(_ADVANCE, {"session_number": session, "added": added}).scalar_one()
    start = end - added + 1
    rows = [
        {"session": session, "position": position, "run": run, "event": event}
        for position, event in enumerate(events, start)
    ]
    connection.execute(insert(EVENTS), rows)
    connection.execute(_EXTEND, {"run_number": run, "added": added, "start": start, "end": end})


def of_session(connection: Connection, session: int) -> list[msgspec.Raw]:
    """The whole log of a session."""
    query = select(EVENTS.c.event).where(EVENTS.c.session == session).order_by(EVENTS.c.position)
    return [msgspec.Raw(event) for event in connection.execute(query).scalars()]


def of_run(connection: Connection, session: int, run_id: str) -> list[msgspec.Raw] | None:
    """The log of one run of the session; None if there is no such run."""
    query = select(RUNS.c.number, RUNS.c.first_position, RUNS.c.last_position)
    run = connection.execute(query.where(RUNS.c.session == session, RUNS.c.run_id == run_id)).one_or_none()
    if run is None:
        return None
    stretch = EVENTS.c.position.between(run.first_position, run.last_position)
    log = select(EVENTS.c.event).where(EVENTS.c.session == session, stretch, EVENTS.c.run == run.number)
    return [msgspec.Raw(event) for event in connection.execute(log.order_by(EVENTS.c.position)).scalars()]


def of_thread_without(connection: Connection, session: int, thread_id: str, run: int) -> list[msgspec.Raw]:
    """What the log says of a thread's other runs: all earlier ones, if `run` is the one under way."""
    others = select(RUNS.c.number).where(RUNS.c.session == session, RUNS.c.thread_id == thread_id, RUNS.c.number != run)
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.run.in_(others))
    return [msgspec.Raw(event) for event in connection.execute(query.order_by(EVENTS.c.position)).scalars()]


def mentioning(connection: Connection, session: int, run: int, text: str) -> list[msgspec.Raw]:
    """Those events of a run in whose bytes a text occurs."""
    query = select(EVENTS.c.event).where(EVENTS.c.session == session, EVENTS.c.run == run)
    found = query.where(func.instr(EVENTS.c.event, text.encode()) > 0).order_by(EVENTS.c.position)
    return [msgspec.Raw(event) for event in connection.execute(found).scalars()]
