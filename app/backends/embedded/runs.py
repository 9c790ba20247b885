"""Runs and approvals of the embedded backend: each operation is a transaction, then a signal to the engine."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from app.agui.client_stream import client_stream
from app.agui.page import to_cursor
from app.agui.run_filter import normalize_run_id
from app.backends.embedded.attachments import Attachments
from app.backends.embedded.output import EmbeddedOutput
from app.backends.embedded.unfinished import Unfinished
from app.engine.signals import Signals
from app.errors import RunNotFound
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller
from app.models.output import OutputFormat
from app.models.runs import AcceptedRun, InterruptResult, RunCreate, RunList, RunStatus, RunSummary
from app.models.sessions import SessionStatus
from app.port.runs import Runs
from app.results import EventStream, Idempotent
from app.store import approvals, idempotency, runs, sessions
from app.store.commands import agui_runs
from app.store.commands import approvals as approval_commands
from app.store.commands import runs as run_commands
from app.store.database import Database
from app.store.notifier import notified_before
from app.store.quotas import Quotas


class EmbeddedRuns(Runs):
    """Operations on a session's runs and on the approvals that they wait for."""

    def __init__(
        self,
        database: Database,
        signals: Signals,
        unfinished: Unfinished,
        *,
        output: EmbeddedOutput,
        quotas: Quotas,
        attachments: Attachments,
    ) -> None:
        self._quotas = quotas
        self._attachments = attachments
        self._unfinished = unfinished
        self._database = database
        self._signals = signals
        self._output = output

    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """Queue a run and wake its session; the ids in the response are in canonical form."""
        run = await self._with_attachments(caller, session_id, run)
        room = await self._quotas.room(caller.project)
        write = self._database.write(
            run_commands.create_run, caller.project, session_id, run, caller.idempotency_key, room=room
        )
        return (await self._unfinished.finish(write, self._wake)).accepted

    async def _with_attachments(self, caller: Caller, session_id: str, run: RunCreate) -> RunCreate:
        """Return a run whose attachments are in the workspace. One that repeats a request is left as it is."""
        if not any(message.attachments for message in run.messages):
            return run
        key = caller.idempotency_key
        is_repeated = key is not None and await self._database.read(idempotency.is_known, key)
        if is_repeated:
            return run
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        return await self._attachments.accept_run(session, run)

    def _wake(self, enqueued: run_commands.Enqueued) -> None:
        if enqueued.session is not None:
            self._signals.wake(enqueued.session)
            if enqueued.interrupts is not None:
                self._signals.cancel_run(enqueued.session, enqueued.interrupts)

    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """Queue a run with the messages that are new to its thread, and stream its events."""
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        # Reading the thread takes as long as its log is long, so it is done before the transaction.
        known = await self._database.read_in_thread(agui_runs.known_messages, session.row_id, session.id)
        run_input = await self._attachments.accept_input(session, run_input, known.ids)
        room = await self._quotas.room(caller.project)
        write = self._database.write(agui_runs.create_agui_run, caller.project, session.id, run_input, known, room=room)
        accepted = await self._unfinished.finish(write, lambda _: self._signals.wake(session.row_id))

        def follow(run_id: str, format: OutputFormat) -> Awaitable[EventStream]:
            return self._output.stream_session_events(
                caller, session.id, after=to_cursor(known.end), run_id=run_id, format=format
            )

        return client_stream(accepted, run_input["threadId"], follow)

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """Return the session's runs, read from their rows and not from the log."""
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        summaries = await self._database.read_in_thread(runs.summaries, session.row_id, status)
        return RunList(session_id=session.id, runs=summaries)

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """Return a run once it has ended or after `wait` seconds; it is read again after each change of the session.

        A UUID finds its run in any spelling.
        """
        deadline = asyncio.get_running_loop().time() + wait
        session = (await self._database.read_one(sessions.find, caller.project, session_id)).row_id
        notifier = self._database.notifier

        def read() -> Coroutine[Any, Any, RunSummary]:
            return self._summary(caller, session_id, run_id)

        with notifier.subscribe(session) as changed:
            while True:
                changed.clear()
                summary = await notifier.read_shared(session, run_id, read)
                if summary.status.has_ended or not wait or not await notified_before(changed, deadline):
                    return summary

    async def _summary(self, caller: Caller, session_id: str, run_id: str) -> RunSummary:
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        if summary := await self._database.read_one(runs.summary, session.row_id, normalize_run_id(run_id)):
            return summary
        await self._database.read_one(sessions.find, caller.project, session_id)  # unless it is gone meanwhile
        raise RunNotFound

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """Take a run out of the queue; one that is active already is refused in the same transaction."""
        await self._database.write(run_commands.cancel_run, caller.project, session_id, run_id)

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Cancel the active run and wait until its end is stored."""
        row = await self._database.read_one(sessions.find, caller.project, session_id)
        interrupted = row.status is SessionStatus.RUNNING and await self._signals.interrupt(row.row_id)
        return InterruptResult(message="Interrupt signal sent", interrupted=interrupted)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        """Return the approvals that wait for a decision."""
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        rows = await self._database.read_one(approvals.open_approvals, session.row_id)
        return ApprovalList(items=[row.public() for row in rows])

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        """Store the decision; a run that waits for it goes on, or the session is woken for the run that carries it."""
        session = await self._database.read_one(sessions.find, caller.project, session_id)
        write = self._database.write(approval_commands.answer_approval, caller.project, session_id, approval_id, answer)
        return await self._unfinished.finish(write, lambda _: self._signals.wake(session.row_id))
