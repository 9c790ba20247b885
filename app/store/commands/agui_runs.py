"""Runs of AG-UI clients, which send the whole conversation each time: only what the thread does not know is new."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from app import lifecycle
from app.agui.client_stream import known_ids
from app.agui.events import decode
from app.agui.run_filter import normalize_run_id
from app.agui.run_input import last_user_message, normalize_run_input
from app.errors import RunExists
from app.lifecycle import Action
from app.models.runs import AcceptedRun
from app.store import events, runs, sessions
from app.store.sessions import SessionRow


class KnownMessages(msgspec.Struct, frozen=True):
    """The ids of all messages that a thread's log knows up to the position `end`."""

    ids: set[str]
    end: int


def known_messages(connection: Connection, session: int, thread_id: str) -> KnownMessages:
    """All that the log knows now; takes as long as the log is long."""
    end = events.last_position(connection, session) or 0
    return KnownMessages(known_ids(decode(events.of_thread(connection, session, thread_id, 0))), end)


def create_agui_run(
    connection: Connection, project: str, session_id: str, given: dict[str, Any], known: KnownMessages
) -> tuple[AcceptedRun, SessionRow]:
    """A run of the session's own thread at the end of the queue, with what is new in `given`, a RunAgentInput."""
    session = sessions.find(connection, project, session_id)
    lifecycle.next_status(Action.RUN, session.status)
    run_id = normalize_run_id(given["runId"])
    if runs.exists(connection, session.row_id, run_id):
        raise RunExists
    since = known_ids(decode(events.of_thread(connection, session.row_id, session.id, known.end)))
    run_input = normalize_run_input(
        given, thread_id=session.id, known=known.ids | since | _unfinished_message_ids(connection, session)
    )
    run_input["runId"] = run_id
    runs.add(
        connection,
        session=session.row_id,
        run_id=run_id,
        thread_id=session.id,
        input=run_input,
        user_message=last_user_message(run_input),
    )
    return AcceptedRun(run_id=run_id, thread_id=session.id), session


def _unfinished_message_ids(connection: Connection, session: SessionRow) -> set[str]:
    inputs = runs.inputs_under_way(connection, session.row_id, session.id)
    return {message["id"] for each in inputs for message in msgspec.json.decode(each)["messages"]}
