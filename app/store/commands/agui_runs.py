"""Commands on the runs of AG-UI clients, which send the whole conversation each time.

Only messages that the thread's log does not know are new with a run. Finding them means reading the log, which takes as
long as it is long: `known_messages` does it before the transaction, and `create_agui_run` reads only what came since.
"""

import msgspec
from sqlalchemy import Connection

from app import lifecycle
from app.agui.events import decode
from app.agui.message_ids import known_ids
from app.agui.run_filter import normalize_run_id
from app.agui.run_input import RunInput, last_user_message, normalize_run_input
from app.errors import RunExists
from app.lifecycle import Action
from app.models.runs import AcceptedRun
from app.store import events, runs, sessions
from app.store.quotas import UNBOUNDED, Room
from app.store.sessions import SessionRow


class KnownMessages(msgspec.Struct, frozen=True):
    """The ids of all messages in a thread's log up to the position `end` of the session's log."""

    ids: set[str]
    end: int


def known_messages(connection: Connection, session: int, thread_id: str) -> KnownMessages:
    """Read the ids of all messages that the thread's log has now."""
    end = events.last_position(connection, session) or 0
    return KnownMessages(known_ids(decode(events.of_thread(connection, session, thread_id, 0))), end)


def create_agui_run(
    connection: Connection,
    project: str,
    session_id: str,
    given: RunInput,
    known: KnownMessages,
    *,
    room: Room = UNBOUNDED,
) -> AcceptedRun:
    """Queue a run of the session's own thread with the messages of `given` that are new.

    `SessionNotFound`, `NotRunning`, `RunExists`, and the errors of a quota.
    """
    session = sessions.find(connection, project, session_id, lock=True)
    lifecycle.next_status(Action.RUN, session.status)
    room.require_bytes(session)
    run_id = normalize_run_id(given["runId"])
    if runs.exists(connection, session.row_id, run_id):
        raise RunExists
    logged_since = known_ids(decode(events.of_thread(connection, session.row_id, session.id, known.end)))
    known_now = known.ids | logged_since | _unfinished_message_ids(connection, session)
    run_input = normalize_run_input(given, thread_id=session.id, known=known_now) | {"runId": run_id}
    runs.add(
        connection,
        session=session.row_id,
        run_id=run_id,
        thread_id=session.id,
        input=run_input,
        user_message=last_user_message(run_input),
    )
    return AcceptedRun(run_id=run_id, thread_id=session.id)


def _unfinished_message_ids(connection: Connection, session: SessionRow) -> set[str]:
    """Return the ids of messages whose runs are queued or active, so that the log need not have them yet."""
    inputs = runs.unfinished_inputs(connection, session.row_id, session.id)
    return {message["id"] for run_input in inputs for message in msgspec.json.decode(run_input)["messages"]}
