"""Transactions on runs."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from app import lifecycle
from app.agui.run_filter import normalize_run_id
from app.agui.run_input import build_run_input, last_user_message
from app.agui.run_recorder import SERVER_RESTARTED, Failure, RunOutcome, RunRecorder
from app.clock import now_ms
from app.errors import RunActive, RunEnded, RunExists, RunNotFound, SessionBusy
from app.lifecycle import Action
from app.models.runs import AcceptedRun, NewRun, OnBusy, RunStatus
from app.store import events, runs, sessions
from app.store.commands import agui_approvals, approvals
from app.store.commands.approvals import PendingApproval
from app.store.runs import RunRow
from app.store.sessions import SessionRow


def append_events(
    connection: Connection,
    run: RunRow,
    news: list[bytes],
    ending: RunOutcome | None,
    asked: Sequence[PendingApproval] = (),
) -> bool:
    """Add events to the log of a run that is under way, and end it; False, and nothing done, if it is not.

    `asked` are the questions among the events. What still waits for an answer when the run ends is closed with it.
    """
    if not runs.is_active(connection, run.row_id):
        return False
    approvals.add_pending(connection, run, asked)
    if ending:
        news = [*news[:-1], *approvals.expire_pending(connection, run), news[-1]]
    events.append(connection, run.session, run.row_id, news)
    if ending:
        runs.finish(connection, run.row_id, ending.status, finished_at=now_ms(), error=ending.error, usage=ending.usage)
        if ending.usage:
            sessions.add_usage(connection, run.session, ending.usage)
        if ending.interrupts:
            agui_approvals.add_interrupts(connection, run, ending.interrupts)
    return True


def abort_run(connection: Connection, run: RunRow, failure: Failure) -> None:
    """End a run whose execution is no more, as the log has it."""
    recorder = RunRecorder(
        run.run_id, run.thread_id, run.input, events.of_run(connection, run.session, run.run_id) or ()
    )
    append_events(connection, run, recorder.fail(failure, now_ms()), recorder.outcome)


def cancel_queued_run(connection: Connection, run: RunRow) -> None:
    """End a run that waits in the queue as interrupted."""
    runs.begin(connection, run.row_id, now_ms())
    recorder = RunRecorder(run.run_id, run.thread_id, run.input)
    append_events(connection, run, recorder.cancel_queued(now_ms()), recorder.outcome)


def abort_active_runs(connection: Connection) -> None:
    """End every run that a server which is no more has left under way."""
    for run in runs.active(connection):
        abort_run(connection, run, SERVER_RESTARTED)


class Enqueued(NamedTuple):
    """A run that was accepted, its session, and the number of the run under way if that is to be cut for it."""

    accepted: AcceptedRun
    session: SessionRow
    interrupts: int | None


def create_run(connection: Connection, project: str, session_id: str, run: NewRun) -> Enqueued:
    """A run in the queue of a running session: last, or first where it interrupts the one under way."""
    session = sessions.find(connection, project, session_id)
    lifecycle.next_status(Action.RUN, session.status)
    before = None if run.on_busy is OnBusy.ENQUEUE else runs.current_or_next(connection, session.row_id)
    accepted = enqueue(connection, session, run)
    if before and run.on_busy is OnBusy.REJECT:
        raise SessionBusy
    return Enqueued(accepted, session, before.row_id if before and before.status is RunStatus.RUNNING else None)


def cancel_run(connection: Connection, project: str, session_id: str, run_id: str) -> None:
    """Take a run out of the queue and end it as interrupted."""
    session = sessions.find(connection, project, session_id)
    run = runs.find(connection, session.row_id, normalize_run_id(run_id))
    if run is None:
        raise RunNotFound
    if run.status is RunStatus.RUNNING:
        raise RunActive
    if run.status is not RunStatus.QUEUED:
        raise RunEnded
    cancel_queued_run(connection, run)


def enqueue(connection: Connection, session: SessionRow, run: NewRun) -> AcceptedRun:
    """Add a run to the end of its session's queue, or to its head where it interrupts; `RunExists`."""
    run_id = normalize_run_id(run.run_id) if run.run_id else str(uuid.uuid4())
    thread_id = run.thread_id or session.id
    if runs.exists(connection, session.row_id, run_id):
        raise RunExists
    run_input = build_run_input(run, run_id=run_id, thread_id=thread_id)
    runs.add(
        connection,
        session=session.row_id,
        run_id=run_id,
        thread_id=thread_id,
        input=run_input,
        urgent=run.on_busy is OnBusy.INTERRUPT,
        user_message=last_user_message(run_input),
    )
    return AcceptedRun(run_id=run_id, thread_id=thread_id)


def claim(connection: Connection, session: int) -> RunRow | None:
    """Take the first run out of the queue, if the session is running and has one."""
    run = runs.next_queued(connection, session)
    if run:
        runs.begin(connection, run.row_id, now_ms())
        run = agui_approvals.resolve_interrupts(connection, run)
    return run
