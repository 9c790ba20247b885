"""Runs on the platform: start and interrupt them, and read them from the session's log."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import msgspec

from app.agui.run_input import RunInput, build_run_input, last_user_message
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.live_log import LiveLogs
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.run_input import platform_input
from app.errors import ApiError, NotSupported, RunExists, RunNotFound, SessionBusy
from app.lifecycle import Action, next_status
from app.models.caller import Caller
from app.models.runs import AcceptedRun, InterruptResult, OnBusy, RunCreate, RunList, RunStatus, RunSummary
from app.models.sessions import Activity, Session, SessionStatus
from app.results import Idempotent


class AmbientRuns:
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
        interrupt_timeout: float,
        poll_interval: float,
    ) -> None:
        self._platform = platform
        self._idempotency = idempotency
        self._pending = pending
        self._logs = logs
        self._live = live
        self._interrupt_timeout = interrupt_timeout
        self._poll_interval = poll_interval

    async def create_run(self, caller: Caller, session_id: str, run: RunCreate) -> Idempotent[AcceptedRun]:
        """Start a run; `RunExists` if its id is that of a run in the log or of a pending one.

        Whether the session is busy is read from the log, so a run that another server starts at the same time is
        missed. An interrupt is sent before the run, which the platform starts after those that it has accepted before.
        """
        return await self._idempotency.once(caller, AcceptedRun, lambda: self._create(caller, session_id, run))

    async def submit(self, caller: Caller, session_id: str, run_input: RunInput) -> AcceptedRun:
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

    async def list_runs(self, caller: Caller, session_id: str, status: RunStatus | None) -> RunList:
        """Return the session's runs, or those with a status."""
        runs = await self._runs(caller, session_id, session_running=await self._is_alive(caller, session_id))
        listed = [msgspec.structs.replace(run, answer=None) for run in runs if status in (None, run.status)]
        return RunList(session_id=session_id, runs=listed)

    async def get_run(self, caller: Caller, session_id: str, run_id: str, wait: int) -> RunSummary:
        """Return a run once it has ended or after `wait` seconds."""
        run = await self._run(caller, session_id, run_id)
        if run.status.has_ended or not wait:
            return run
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._until_ended(caller, session_id, run_id)
        return await self._run(caller, session_id, run_id)

    async def _until_ended(self, caller: Caller, session_id: str, run_id: str) -> None:
        log = await self._live.read(caller, session_id)
        with self._live.follow(caller, session_id, log) as live:
            seen = live.version
            while not any(run.run_id == run_id and run.status.has_ended for run in live.summaries()):
                await live.changed(seen)
                seen = live.version

    async def activity(self, caller: Caller, session: Session) -> Activity | None:
        """Return the activity of a running session from its log and what was just accepted.

        If the log cannot be read it is what the platform reports, which may be some seconds old. A session whose task
        has not begun yet is working.
        """
        try:
            runs = await self._runs(caller, session.id, session_running=True)
        except ApiError:
            return session.activity
        if session.activity is Activity.WAITING or any(run.status is RunStatus.WAITING for run in runs):
            return Activity.WAITING
        is_working = any(not run.status.has_ended for run in runs) or (not runs and session.task is not None)
        return Activity.WORKING if is_working else Activity.IDLE

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:  # noqa: ARG002 - not used
        """Raise `NotSupported` once the session is found: the platform's queue cannot be changed."""
        await self._platform.get_session(caller, session_id)
        raise NotSupported

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Interrupt the current run and watch the log for its end until the time limit."""
        current: set[str] | None = set()
        if await self._is_alive(caller, session_id):
            current = await self._interruptible(caller, session_id)
        delivered = await self._platform.interrupt(caller, session_id)
        ended = await self._wait_for_end(caller, session_id, current) if delivered else False
        return InterruptResult(message="Interrupt signal sent", interrupted=ended)

    async def _create(self, caller: Caller, session_id: str, run: RunCreate) -> AcceptedRun:
        next_status(Action.RUN, mapping.phase(await self._platform.get_session(caller, session_id)))
        if run.resume is not None:
            raise NotSupported
        if run.run_id is not None:
            in_log = await self._logs.has_run(caller, session_id, run.run_id)
            if in_log or self._pending.get(caller.project, session_id, run.run_id):
                raise RunExists
        match run.on_busy:
            case OnBusy.REJECT:
                runs = await self._runs(caller, session_id, session_running=True)
                if any(not each.status.has_ended for each in runs):
                    raise SessionBusy
            case OnBusy.INTERRUPT:
                if await self._interruptible(caller, session_id) != set():
                    await self._platform.interrupt(caller, session_id)
        run_id, thread_id = run.run_id or str(uuid4()), run.thread_id or session_id
        return await self.submit(caller, session_id, build_run_input(run, run_id=run_id, thread_id=thread_id))

    async def _is_alive(self, caller: Caller, session_id: str) -> bool:
        resource = await self._platform.get_session(caller, session_id)
        return mapping.phase(resource) in {SessionStatus.RUNNING, SessionStatus.STOPPING}

    async def _runs(self, caller: Caller, session_id: str, *, session_running: bool) -> list[RunSummary]:
        runs = await self._logs.runs(caller, session_id, session_running=session_running)
        return runs + [run.summary() for run in self._pending.waiting(caller.project, session_id, runs)]

    async def _run(self, caller: Caller, session_id: str, run_id: str) -> RunSummary:
        runs = await self._runs(caller, session_id, session_running=await self._is_alive(caller, session_id))
        for run in runs:
            if run.run_id == run_id:
                return run
        raise RunNotFound

    async def _interruptible(self, caller: Caller, session_id: str) -> set[str] | None:
        """Return the ids of the runs that an interrupt would end; None if the log cannot be read.

        These are the active ones on the session's own thread, or the first pending one if none is active.
        """
        try:
            runs = await self._runs(caller, session_id, session_running=True)
        except ApiError:
            return None
        own = [run for run in runs if not run.status.has_ended and run.thread_id in (None, session_id)]
        active = {run.run_id for run in own if run.status is RunStatus.RUNNING}
        return active or {run.run_id for run in own[:1]}

    async def _wait_for_end(self, caller: Caller, session_id: str, run_ids: set[str] | None) -> bool | None:
        """Return True once all the runs have ended, False if there are none, None if that is not known in time."""
        if not run_ids:
            return None if run_ids is None else False
        try:
            async with asyncio.timeout(self._interrupt_timeout):
                while not await self._have_ended(caller, session_id, run_ids):  # noqa: ASYNC110 - no signal to wait for
                    await asyncio.sleep(self._poll_interval)
        except TimeoutError:
            return None
        return True

    async def _have_ended(self, caller: Caller, session_id: str, run_ids: set[str]) -> bool:
        try:
            runs = await self._runs(caller, session_id, session_running=True)
        except ApiError:
            return False
        return run_ids <= {run.run_id for run in runs if run.status.has_ended}
