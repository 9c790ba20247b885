"""The part of the embedded backend that is about what goes on in a session: runs, approvals, output."""

import asyncio
from collections.abc import Coroutine
from functools import partial
from operator import itemgetter
from typing import Any

from app.agui.client_stream import client_stream
from app.agui.run_filter import normalize_run_id
from app.backends.embedded.parts import EmbeddedParts
from app.errors import RunNotFound
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat
from app.models.runs import AcceptedRun, NewRun, RunList, RunStatus, RunSummary
from app.results import EventStream, Idempotent, StreamedJson
from app.store import approvals, idempotency, log, runs
from app.store.commands import agui_runs
from app.store.commands import approvals as approval_commands
from app.store.commands import runs as run_commands
from app.store.notifier import notified_before


class EmbeddedRuns(EmbeddedParts):
    """Runs, approvals and output of one session."""

    async def create_run(self, caller: Caller, session_id: str, run: NewRun) -> Idempotent[AcceptedRun]:
        """Commit the run to its session's queue, then see to it that it is run; ids are answered in canonical form."""
        create_once = idempotency.once(caller.idempotency_key, run_commands.create_run, itemgetter(0))

        async def accept() -> AcceptedRun:
            accepted, session, cut = await self._database.write(create_once, caller.project, session_id, run)
            self._engine.wake(session)
            if cut is not None:
                self._engine.cancel_run(session.row_id, cut)
            return accepted

        return await self._complete_once(AcceptedRun, accept())

    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """A run in the queue like any other; what its messages repeat is looked for before the transaction."""
        session = await self._find(caller, session_id)
        known = await self._database.read_in_thread(agui_runs.known_messages, session.row_id, session.id)

        async def accept() -> AcceptedRun:
            accepted, row = await self._database.write(
                agui_runs.create_agui_run, caller.project, session.id, run_input, known
            )
            self._engine.wake(row)
            return accepted

        events = partial(self.stream_session_events, caller, session.id, after=known.end)
        return client_stream(await self._complete(accept()), run_input["threadId"], events)

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """From the runs' own rows, never from the log."""
        session = await self._find(caller, session_id)
        summaries = await self._database.read_in_thread(runs.summaries, session.row_id, status)
        return RunList(session_id=session.id, runs=summaries)

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """A point read, again after each commit that touched the session; a uuid in any spelling finds its run."""
        deadline = asyncio.get_running_loop().time() + wait
        session, bell = (await self._find(caller, session_id)).row_id, self._database.notifier

        def read() -> Coroutine[Any, Any, RunSummary]:
            return self._summary(caller, session_id, run_id)

        with bell.subscribe(session) as rung:
            while True:
                rung.clear()
                summary = await bell.read_shared(session, run_id, read)
                if summary.status.is_final or not wait or not await notified_before(rung, deadline):
                    return summary

    async def _summary(self, caller: Caller, session_id: str, run_id: str) -> RunSummary:
        session = await self._find(caller, session_id)
        if summary := await self._database.read_one(runs.summary, session.row_id, normalize_run_id(run_id)):
            return summary
        raise RunNotFound

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """One transaction: either the run leaves the queue here, or it has begun."""
        await self._complete(self._database.write(run_commands.cancel_run, caller.project, session_id, run_id))

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """From the session's own small files."""
        return self._engine.session_log(await self._find(caller, session_id)).tail(tail)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        """A point read."""
        session = await self._find(caller, session_id)
        rows = await self._database.read_one(approvals.open_approvals, session.row_id)
        return ApprovalList(items=[row.public() for row in rows])

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        """Commit the answer, then let go on whoever waits for it."""

        async def respond() -> Approval:
            session = await self._find(caller, session_id)
            answered = await self._database.write(
                approval_commands.answer_approval, caller.project, session_id, approval_id, answer
            )
            self._engine.wake(session)
            return answered

        return await self._complete(respond())

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> EventLog | StreamedJson:
        """A page in one read, all of it slice by slice."""
        session, run_id = await self._find(caller, session_id), run_id and normalize_run_id(run_id)
        if format is OutputFormat.TRANSCRIPT:
            return self._output.transcript(session, run_id)
        if page:
            return await self._database.read_in_thread(log.read_page, session, format, run_id, page)
        return self._output.written(session, format, run_id)

    async def version(self, caller: Caller, session_id: str) -> str:
        """From the rows of the session and its runs; the log is not read."""
        session = await self._find(caller, session_id)
        return f"{session.status} {await self._database.read_one(runs.state_counts, session.row_id)}"

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: int, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """The store is read from one position on, the bell only says when."""
        session, run_id = (await self._find(caller, session_id)).row_id, run_id and normalize_run_id(run_id)
        await self._database.read(log.check_position, session, after, run_id)
        compacted = format is OutputFormat.COMPACT
        return EventStream(log.follow(self._database, session, after, run_id, compacted=compacted))
