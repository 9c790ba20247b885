"""Commands on runs: queue, begin, log, end and cancel them."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from app import lifecycle
from app.agui.outcome import RunOutcome
from app.agui.run_filter import normalize_run_id
from app.agui.run_input import build_run_input, last_user_message
from app.agui.run_recorder import SERVER_RESTARTED, WORKER_LOST, Failure, RunRecorder
from app.clock import now_ms
from app.errors import RunActive, RunEnded, RunExists, RunNotFound, SessionBusy
from app.lifecycle import Action
from app.models.agents import AgentOffer
from app.models.caller import IdempotencyKey
from app.models.runs import AcceptedRun, OnBusy, RunCreate, RunStatus
from app.results import Idempotent
from app.store import agent_offers, agent_state, events, idempotency, leases, runs, sessions, slots
from app.store.approvals import PendingApproval
from app.store.commands import approvals
from app.store.notifier import mark_changed
from app.store.quotas import UNBOUNDED, Room
from app.store.runs import RunRow
from app.store.sessions import SessionRow


class Enqueued(NamedTuple):
    """An accepted run and the row ids that the engine needs: its session, and the active run to interrupt for it.

    A replay has neither.
    """

    accepted: Idempotent[AcceptedRun]
    session: int | None = None
    interrupts: int | None = None


def create_run(
    connection: Connection,
    project: str,
    session_id: str,
    run: RunCreate,
    key: IdempotencyKey | None,
    *,
    room: Room = UNBOUNDED,
) -> Enqueued:
    """Queue a run of a running session: last, or before all that do not interrupt.

    `SessionNotFound`, `NotRunning`, `RunExists`, `SessionBusy`, `IdempotencyKeyReused`, and the errors of a quota.
    """
    if key and (first := idempotency.begin(connection, key, AcceptedRun)):
        return Enqueued(Idempotent(first, replayed=True))
    session = sessions.find(connection, project, session_id, lock=True)
    lifecycle.next_status(Action.RUN, session.status)
    room.require_bytes(session)
    current = None if run.on_busy is OnBusy.ENQUEUE else runs.current_or_next(connection, session.row_id)
    accepted = enqueue(connection, session, run)
    if current and run.on_busy is OnBusy.REJECT:
        raise SessionBusy
    if key:
        idempotency.complete(connection, key, accepted)
    active = current.row_id if current and current.status is RunStatus.RUNNING else None
    return Enqueued(Idempotent(accepted), session.row_id, active)


def enqueue(connection: Connection, session: SessionRow, run: RunCreate) -> AcceptedRun:
    """Queue a run whatever the state of its session; `RunExists`."""
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
        priority=int(run.on_busy is OnBusy.INTERRUPT),
        user_message=last_user_message(run_input),
    )
    return AcceptedRun(run_id=run_id, thread_id=thread_id)


def claim_run(connection: Connection, row_id: int) -> tuple[RunRow, SessionRow] | None:
    """Make the first queued run of a running session the active one and return both; None if there is none."""
    sessions.lock_row(connection, row_id)
    run = runs.next_queued(connection, row_id)
    session = sessions.get(connection, row_id) if run else None
    if run is None or session is None:
        return None
    runs.begin(connection, run.row_id, now_ms())
    return approvals.resolve_interrupts(connection, run), session


def append_events(
    connection: Connection,
    run: RunRow,
    new_events: list[bytes],
    outcome: RunOutcome | None,
    pending: Sequence[PendingApproval] = (),
) -> bool:
    """Append events to the log of an active run; return False and do nothing if the run is not active any more.

    `pending` are the approvals that the events announce. An `outcome` ends the run; the last event is then the terminal
    one, and approvals that are still pending expire before it.
    """
    sessions.lock_row(connection, run.session)
    if not runs.is_active(connection, run.row_id):
        return False
    approvals.add_pending(connection, run, pending)
    if outcome:
        new_events = [*new_events[:-1], *approvals.expire_pending(connection, run), new_events[-1]]
    events.append(connection, run.session, run.row_id, new_events)
    if outcome:
        _finish(connection, run, outcome)
    return True


def abort_run(connection: Connection, run: RunRow, failure: Failure) -> None:
    """End an active run that nothing executes any more with RUN_ERROR."""
    log = events.of_run(connection, run.session, run.run_id)
    recorder = RunRecorder(run.run_id, run.thread_id, run.input, log)
    append_events(connection, run, recorder.fail(failure, now_ms()), recorder.outcome)


def request_cancel(connection: Connection, session: int, run: int | None = None) -> int | None:
    """Ask the worker that executes a session's active run, or only that `run`, to cancel it; return the run."""
    sessions.lock_row(connection, session)
    active = runs.request_cancel(connection, session, run, now_ms())
    if active is not None:
        mark_changed(connection, session)
    return active


class WaitsForSlot(Exception):
    """The session is pending until others have stopped."""


def take_lease(
    connection: Connection, session: int, worker: str, disk: str, max_running: int | None = None
) -> int | None:
    """Give the lease of a session to a worker, and end the run that the one before was executing.

    Return the new epoch; None if the session is deleted or on another disk. Raises `WaitsForSlot`.
    """
    if max_running is not None and not slots.is_turn(connection, session, max_running):
        raise WaitsForSlot
    epoch = leases.acquire(connection, session, worker, disk)
    if epoch is not None:
        _abort_lost_runs(connection, session)
    return epoch


def revoke_lease(connection: Connection, session: int) -> int:
    """Take the lease of a session from a worker that is lost, and end the run that it was executing.

    Return how many workers were lost in a row at work on the session.
    """
    lost_workers = leases.revoke(connection, session)
    _abort_lost_runs(connection, session)
    return lost_workers


def leave_lease(connection: Connection, session: int, epoch: int) -> None:
    """Give up a lease because its worker stops, and end the run that it has not been able to end in time."""
    if leases.give_up(connection, session, epoch):
        for run in runs.active(connection, session):
            abort_run(connection, run, SERVER_RESTARTED)


def _abort_lost_runs(connection: Connection, session: int) -> None:
    for run in runs.active(connection, session):
        abort_run(connection, run, WORKER_LOST)


def abort_active_runs(connection: Connection) -> None:
    """Abort all runs that an earlier server has left active."""
    for run in runs.active(connection):
        abort_run(connection, run, SERVER_RESTARTED)


def cancel_run(connection: Connection, project: str, session_id: str, run_id: str) -> None:
    """End a queued run as interrupted; `SessionNotFound`, `RunNotFound`, `RunActive`, `RunEnded`."""
    session = sessions.find(connection, project, session_id, lock=True)
    run = runs.find(connection, session.row_id, normalize_run_id(run_id))
    if run is None:
        raise RunNotFound
    if run.status is RunStatus.RUNNING:
        raise RunActive
    if run.status is not RunStatus.QUEUED:
        raise RunEnded
    recorder = RunRecorder(run.run_id, run.thread_id, run.input)
    runs.begin(connection, run.row_id, now_ms())
    append_events(connection, run, recorder.cancel_queued(now_ms()), recorder.outcome)


def interrupt_queued_run(connection: Connection, run: RunRow) -> None:
    """End a queued run as interrupted because its session stops."""
    recorder = RunRecorder(run.run_id, run.thread_id, run.input)
    runs.begin(connection, run.row_id, now_ms())
    append_events(connection, run, recorder.interrupt(now_ms()), recorder.outcome)


def save_agent_state(connection: Connection, run: RunRow, state: str) -> None:
    """Store the agent's state for the run's thread; ignored if the run has ended and another agent may be at work."""
    sessions.lock_row(connection, run.session)
    if runs.is_active(connection, run.row_id):
        agent_state.save(connection, run.session, run.thread_id, state)


def note_offer(connection: Connection, run: RunRow, agent: str, offer: AgentOffer) -> None:
    """Store what a run's agent offers and what its session uses; ignored if the run has ended."""
    sessions.lock_row(connection, run.session)
    if runs.is_active(connection, run.row_id):
        sessions.set_choices(connection, run.session, offer.model, offer.mode)
        agent_offers.save(connection, agent, offer)


def _finish(connection: Connection, run: RunRow, outcome: RunOutcome) -> None:
    runs.finish(
        connection,
        run.row_id,
        run.session,
        outcome.status,
        finished_at=now_ms(),
        error=outcome.error,
        usage=outcome.usage,
        answer=outcome.answer,
    )
    if outcome.usage:
        sessions.add_usage(connection, run.session, outcome.usage)
    if outcome.interrupts:
        approvals.add_interrupts(connection, run, outcome.interrupts)
