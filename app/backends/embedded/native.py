"""Runs of AG-UI clients, which send the whole conversation each time: only what the thread does not know is new."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from app.agui.decode import decode
from app.agui.known import known_ids
from app.agui.native import as_ours, asked
from app.agui.select import canonical
from app.backends.embedded import events, lifecycle, runs, sessions
from app.backends.embedded.lifecycle import Action
from app.backends.embedded.sessions import SessionRow
from app.errors import RunExists
from app.types import AcceptedRun


class Known(msgspec.Struct, frozen=True):
    """The ids of all messages that a thread's log knows up to the position `end`."""

    ids: set[str]
    end: int


def known(connection: Connection, session: int, thread_id: str) -> Known:
    """All that the log knows now; takes as long as the log is long."""
    end = events.last_position(connection, session) or 0
    return Known(known_ids(decode(events.of_thread(connection, session, thread_id, 0))), end)


def accept(
    connection: Connection, project: str, session_id: str, given: dict[str, Any], known: Known
) -> tuple[AcceptedRun, SessionRow]:
    """A run of the session's own thread at the end of the queue, with what is new in `given`, a RunAgentInput."""
    session = sessions.find(connection, project, session_id)
    lifecycle.after(Action.RUN, session.status)
    run_id = canonical(given["runId"])
    if runs.exists(connection, session.number, run_id):
        raise RunExists
    since = known_ids(decode(events.of_thread(connection, session.number, session.id, known.end)))
    run_input = as_ours(given, thread_id=session.id, known=known.ids | since | _under_way(connection, session))
    run_input["runId"] = run_id
    runs.add(
        connection,
        session=session.number,
        run_id=run_id,
        thread_id=session.id,
        input=run_input,
        user_message=asked(run_input),
    )
    return AcceptedRun(run_id=run_id, thread_id=session.id), session


def _under_way(connection: Connection, session: SessionRow) -> set[str]:
    inputs = runs.inputs_under_way(connection, session.number, session.id)
    return {message["id"] for each in inputs for message in msgspec.json.decode(each)["messages"]}
