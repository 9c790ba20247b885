"""Runs on the platform: start and interrupt them, and read them from the session's log."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, suppress
from uuid import uuid4

import msgspec
from cachetools import LRUCache, TTLCache

from app.agui.client_stream import client_stream
from app.agui.message_ids import known_ids
from app.agui.questions import Question
from app.agui.run_filter import of_run
from app.agui.run_input import RunInput, build_run_input, last_user_message, normalize_run_input
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.approvals import answer_text, approval
from app.backends.ambient.cursors import Tracker
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.live_log import LiveLog
from app.backends.ambient.live_logs import LiveLogs
from app.backends.ambient.log_reader import LogReader, LogSnapshot
from app.backends.ambient.output import AmbientOutput
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.run_input import platform_input, refuse_attachments, refuse_files
from app.backends.ambient.session_state import Runners, SessionState
from app.errors import (
    ApiError,
    ApprovalClosed,
    ApprovalNotFound,
    NotRunning,
    NotSupported,
    RunExists,
    RunNotFound,
    SessionBusy,
)
from app.lifecycle import Action, next_status
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList, ApprovalStatus, Decision
from app.models.caller import Caller
from app.models.output import OutputFormat
from app.models.runs import AcceptedRun, InterruptResult, OnBusy, RunCreate, RunList, RunStatus, RunSummary
from app.models.sessions import Activity, Session, SessionStatus, WaitingFor
from app.port.runs import Runs
from app.results import EventStream, Idempotent

ACTIVITY_SECONDS = 5.0
"""Seconds for which an activity that was read in a log serves as what a platform without agents' states reports."""


class AmbientRuns(Runs):
    """Operations on the runs of a session.

    Each reads the session first: the platform finds a log by the session's name alone, whatever the project, and
    accepts runs for sessions that are not running or do not exist. It has no list of runs. Those of the log are listed,
    then the pending ones, which this process has sent and whose first event is not in the log yet.
    """

    def __init__(
        self,
        platform: PlatformApi,
        idempotency: IdempotencyStore,
        pending: PendingRuns,
        logs: LogReader,
        live: LiveLogs,
        *,
        runners: Runners,
        output: AmbientOutput,
        interrupt_timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._platform = platform
        self._idempotency = idempotency
        self._pending = pending
        self._logs = logs
        self._live = live
        self._runners = runners
        self._output = output
        self._interrupt_timeout = interrupt_timeout
        self._waiting_for: LRUCache[tuple[Caller, str, int], WaitingFor] = LRUCache(1000)
        self._activities: TTLCache[tuple[Caller, str, SessionState], Activity] = TTLCache(
            10_000, ACTIVITY_SECONDS, clock
        )

    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """Start a run; `RunExists` if its id is that of a run in the log or of a pending one.

        Whether the session is busy is read from the log, so a run that another server starts at the same time is
        missed. An interrupt is sent before the run, which the platform starts after those that it has accepted before.
        """
        return await self._idempotency.once(caller, AcceptedRun, lambda: self._create(caller, session_id, run))

    async def run_agent(self, caller: Caller, session_id: str, run_input: RunInput) -> EventStream:
        """Start a run with the messages that its log does not have, and stream its events."""
        log = await self._live.read(caller, session_id)
        if log.state.status is not SessionStatus.RUNNING:
            raise NotRunning
        in_log, known, end = await asyncio.to_thread(_find_known, log, session_id, run_input["runId"])
        if in_log or self._pending.get(caller.project, session_id, run_input["runId"]):
            raise RunExists
        refuse_files(run_input["messages"], known)
        normalized = normalize_run_input(run_input, thread_id=session_id, known=known)
        accepted = await self._submit(caller, session_id, normalized)

        def follow_run(run_id: str, format: OutputFormat) -> Awaitable[EventStream]:
            return self._output.stream_session_events(caller, session_id, after=end, run_id=run_id, format=format)

        return client_stream(accepted, run_input["threadId"], follow_run, run_input["messages"])

    async def _submit(self, caller: Caller, session_id: str, run_input: RunInput) -> AcceptedRun:
        """Send a RunAgentInput to the platform. Its id counts as taken from before the request on."""
        run_input = platform_input(run_input)
        project, run_id, thread_id = caller.project, run_input["runId"], run_input["threadId"]
        user_message = last_user_message(run_input)
        self._pending.add(project, session_id, run_id, thread_id, user_message)
        try:
            accepted_ids = mapping.accepted_ids(await self._platform.run(caller, session_id, run_input))
        except BaseException:
            self._pending.discard(project, session_id, run_id)
            raise
        accepted = AcceptedRun(run_id=accepted_ids[0] or run_id, thread_id=accepted_ids[1] or thread_id)
        if accepted.run_id != run_id:
            self._pending.discard(project, session_id, run_id)
            self._pending.add(project, session_id, accepted.run_id, accepted.thread_id, user_message)
        return accepted

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """Return the session's runs, or those with a status."""
        runs = await self._runs(caller, session_id, await self._state(caller, session_id))
        listed = [msgspec.structs.replace(run, answer=None) for run in runs if status in (None, run.status)]
        return RunList(session_id=session_id, runs=listed)

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """Return a run once it has ended or after `wait` seconds."""
        state = await self._state(caller, session_id)
        run = await self._run(caller, session_id, run_id, state)
        if run.status.has_ended or not wait:
            return run
        with suppress(TimeoutError):
            async with asyncio.timeout(wait), self._live.opened(caller, session_id, state) as live:
                await _until_ended(live, {run_id})
        return await self._run(caller, session_id, run_id, await self._state(caller, session_id))

    async def activity(self, caller: Caller, session: Session, state: SessionState) -> Activity | None:
        """Return the activity of a running session whose runner is taken to be there.

        It is that of its log if that is followed anyway. Otherwise it is what the platform reports, or what the log
        told if the platform reports nothing: both may be five seconds old. There may be a run that is not in it, since
        this process has sent one or the session has just shown a sign of life: then the log is read. A session whose
        task has not begun yet is working.
        """
        known = self._live.summaries(caller, session.id)
        if known is not None:
            return _activity(session, self._with_pending(caller, session.id, known))
        key = caller, session.id, state
        reported = session.activity or self._activities.get(key)
        working = reported is Activity.WORKING
        outdated = self._pending.may_know_better(caller.project, session.id, working=working)
        if reported and not outdated and (working or not state.may_be_at_work()):
            return reported
        try:
            runs = await self._logs.runs(caller, session.id, state)
        except ApiError:
            return reported
        found = self._activities[key] = _activity(session, self._with_pending(caller, session.id, runs))
        return found

    async def settled_activity(self, caller: Caller, session: Session) -> Activity:
        """Follow a running session's log and return its activity once it does not work, or does not run, any more."""
        state = await self._state(caller, session.id)
        async with self._live.opened(caller, session.id, state) as live:
            seen = live.version
            while True:
                runs = self._with_pending(caller, session.id, live.summaries())
                activity = _activity(session, runs)
                if activity is not Activity.WORKING or live.state.status is not SessionStatus.RUNNING:
                    return activity
                await live.changed(seen)
                seen = live.version

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:  # noqa: ARG002 - not used
        """Raise `NotSupported` once the session is found: the platform's queue cannot be changed."""
        await self._platform.get_session(caller, session_id)
        raise NotSupported

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Interrupt the current run and watch the log for its end until the time limit."""
        state = await self._state(caller, session_id)
        ended: bool | None = False
        async with AsyncExitStack() as stack:
            try:
                live = await stack.enter_async_context(self._live.opened(caller, session_id, state))
            except ApiError:
                delivered = await self._interrupt(caller, session_id, ())
                ended = None if delivered and state.alive else False
            else:
                runs = self._with_pending(caller, session_id, live.summaries())
                current = _interruptible(runs, session_id) if state.alive else set()
                if await self._interrupt(caller, session_id, current) and current:
                    self._runners.note_interrupt(caller, session_id, state)
                    ended = await self._wait_for_end(live, current)
        return InterruptResult(message="Interrupt signal sent", interrupted=ended)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        """Return the questions that the agent has asked and that wait for an answer."""
        questions = await self._open_questions(caller, session_id, await self._state(caller, session_id))
        return ApprovalList(items=[approval(question) for question in questions])

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        """Answer a question by a run that begins with the answer as a tool's message."""
        state = await self._state(caller, session_id)
        known = await self._logs.questions(caller, session_id)
        if not any(question.id == approval_id for question in known):
            raise ApprovalNotFound
        still_open = await self._open_questions(caller, session_id, state)
        question = next((question for question in still_open if question.id == approval_id), None)
        if question is None:
            raise ApprovalClosed
        next_status(Action.RUN, state.status)
        text = answer_text(question, answer)
        run_input = build_run_input(
            RunCreate(messages=[]), run_id=str(uuid4()), thread_id=question.thread_id or session_id
        )
        message = {"id": str(uuid4()), "role": "tool", "toolCallId": question.id, "content": text}
        await self._submit(caller, session_id, run_input | {"messages": [message]})
        status = ApprovalStatus.ALLOWED if answer.decision is Decision.ALLOW else ApprovalStatus.DENIED
        return approval(question, status)

    async def waiting_for(self, caller: Caller, session_id: str, state: SessionState) -> WaitingFor | None:
        """Return the ids of the questions of a session that waits, None if its log cannot be read.

        They are remembered until its next run.
        """
        key = caller, session_id, state.active_at
        if (found := self._waiting_for.get(key)) is None:
            try:
                questions = await self._open_questions(caller, session_id, state)
            except ApiError:
                return None
            found = self._waiting_for[key] = WaitingFor(approvals=[question.id for question in questions])
        return found

    async def _open_questions(self, caller: Caller, session_id: str, state: SessionState) -> list[Question]:
        """Return the questions without an answer; whatever the agent gets next is one."""
        if any(not run.status.has_ended for run in await self._runs(caller, session_id, state)):
            return []
        questions = await self._logs.questions(caller, session_id) if state.alive else []
        return [question for question in questions if question.is_open]

    async def _create(self, caller: Caller, session_id: str, run: RunCreate) -> AcceptedRun:
        state = await self._state(caller, session_id)
        next_status(Action.RUN, state.status)
        if run.resume is not None:
            raise NotSupported
        for index, message in enumerate(run.messages):
            if message.attachments:
                refuse_attachments(message.attachments, f"body.messages[{index}].attachments")
        if run.run_id is not None:
            in_log = await self._logs.has_run(caller, session_id, run.run_id)
            if in_log or self._pending.get(caller.project, session_id, run.run_id):
                raise RunExists
        match run.on_busy:
            case OnBusy.REJECT:
                runs = await self._runs(caller, session_id, state)
                if any(not each.status.has_ended for each in runs):
                    raise SessionBusy
            case OnBusy.INTERRUPT:
                try:
                    current = _interruptible(await self._runs(caller, session_id, state), session_id)
                except ApiError:
                    await self._interrupt(caller, session_id, ())
                else:
                    if current:
                        await self._interrupt(caller, session_id, current)
        run_id, thread_id = run.run_id or str(uuid4()), run.thread_id or session_id
        return await self._submit(caller, session_id, build_run_input(run, run_id=run_id, thread_id=thread_id))

    async def _state(self, caller: Caller, session_id: str) -> SessionState:
        return SessionState.of(await self._platform.get_session(caller, session_id))

    async def _runs(self, caller: Caller, session_id: str, state: SessionState) -> list[RunSummary]:
        """Return the runs of the log and those that are pending; active ones only while their runner is there."""
        runs = await self._logs.runs(caller, session_id, state)
        if any(not run.status.has_ended for run in runs):
            found = await self._runners.look(caller, session_id, state)
            if found.fault:
                runs = await self._logs.runs(caller, session_id, found)
        return self._with_pending(caller, session_id, runs)

    async def _interrupt(self, caller: Caller, session_id: str, run_ids: Collection[str]) -> bool:
        """Interrupt the runner, and note which runs this ends: the platform's log does not tell."""
        delivered = await self._platform.interrupt(caller, session_id)
        if delivered:
            self._pending.note_interrupt(caller.project, session_id, run_ids)
        return delivered

    def _with_pending(self, caller: Caller, session_id: str, logged: list[RunSummary]) -> list[RunSummary]:
        for run in logged:
            if run.status.has_ended and self._pending.is_interrupted(caller.project, session_id, run.run_id):
                run.status, run.error = RunStatus.INTERRUPTED, None
        waiting = self._pending.waiting(caller.project, session_id, logged)
        runs = logged + [run.summary() for run in waiting]
        self._pending.note(caller.project, session_id, runs)
        return runs

    async def _run(self, caller: Caller, session_id: str, run_id: str, state: SessionState) -> RunSummary:
        runs = await self._runs(caller, session_id, state)
        for run in runs:
            if run.run_id == run_id:
                return run
        raise RunNotFound

    async def _wait_for_end(self, live: LiveLog, run_ids: set[str]) -> bool | None:
        """Return True once all the runs have ended, None if that is not known in time."""
        with suppress(TimeoutError, ApiError):
            async with asyncio.timeout(self._interrupt_timeout):
                await _until_ended(live, run_ids)
                return True
        return None


async def _until_ended(live: LiveLog, run_ids: set[str]) -> None:
    seen = live.version
    while not run_ids <= {run.run_id for run in live.summaries() if run.status.has_ended}:
        await live.changed(seen)
        seen = live.version


def _interruptible(runs: list[RunSummary], session_id: str) -> set[str]:
    """Return the ids of the runs that an interrupt would end.

    These are the active ones on the session's own thread, or the first pending one if none is active.
    """
    own = [run for run in runs if not run.status.has_ended and run.thread_id in (None, session_id)]
    active = {run.run_id for run in own if run.status is RunStatus.RUNNING}
    return active or {run.run_id for run in own[:1]}


def _find_known(log: LogSnapshot, session_id: str, run_id: str) -> tuple[bool, set[str], str]:
    """Return whether the log has the run, the ids of the messages on the session's own thread, and the log's end."""
    in_log = next(of_run(log.events, run_id), None) is not None
    tracker = Tracker()
    tracker.add(log.events)
    known = known_ids(event for event in log.events if event.thread_id in (None, session_id))
    return in_log, known, str(tracker.cursor)


def _activity(session: Session, runs: list[RunSummary]) -> Activity:
    """Return what the runs tell; what is sent to an agent that waits is its answer, so then it works again."""
    if any(not run.status.has_ended for run in runs) or (not runs and session.task is not None):
        return Activity.WORKING
    return Activity.WAITING if any(run.status is RunStatus.WAITING for run in runs) else Activity.IDLE
