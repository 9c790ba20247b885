"""Runs on the platform: start them, interrupt them, and read what its log says of them."""

import asyncio
from functools import partial
from uuid import uuid4

from app.agui.run_input import RunInput, build_run_input, last_user_message
from app.backend import Backend
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.log_reader import LogReader
from app.backends.ambient.pending_runs import PendingRuns
from app.errors import ApiError, NotRunning, NotSupported, RunExists, RunNotFound, SessionBusy
from app.models.caller import Caller
from app.models.output import EventLog, LogPage, OutputFormat
from app.models.runs import AcceptedRun, InterruptResult, NewRun, OnBusy, RunList, RunStatus, RunSummary
from app.models.sessions import SessionStatus
from app.results import Idempotent, StreamedJson

UNFINISHED = (RunStatus.QUEUED, RunStatus.RUNNING)


class AmbientRuns(Backend):
    """The part of the port that is about runs.

    Each method reads the session first: the platform keeps logs by session name alone, of all projects together, and
    takes runs for sessions that do not run or do not exist.
    """

    _platform: PlatformApi
    _exports: LogReader
    _accepted: PendingRuns
    _answers: IdempotencyStore
    _interrupt_deadline: float
    _poll_interval: float

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Interrupt the current run and look for its end in the log until the deadline."""
        running = await self._running(caller, session_id)
        current = await self._current(caller, session_id) if running else set()
        heard = await self._platform.interrupt(caller, session_id)
        seen = await self._wait_for_end(caller, session_id, current) if heard else False
        return InterruptResult(message="Interrupt signal sent", interrupted=seen)

    async def create_run(self, caller: Caller, session_id: str, run: NewRun) -> Idempotent[AcceptedRun]:
        """Start a run; RunExists if its id is that of one in the log or of one accepted before.

        Whether the session is busy is read from the log: a run that another server starts at the same time is missed.
        An interrupt is sent before the run, which then waits, on the platform, for the runs accepted before it.
        """
        return await self._answers.once(caller, AcceptedRun, partial(self._create_run, caller, session_id, run))

    async def _create_run(self, caller: Caller, session_id: str, run: NewRun) -> AcceptedRun:
        await self._need_running(caller, session_id)
        if run.resume is not None:
            raise NotSupported
        if run.run_id is not None:
            in_log = await self._exports.has_run(caller, session_id, run.run_id)
            if in_log or self._accepted.get(caller.project, session_id, run.run_id):
                raise RunExists
        match run.on_busy:
            case OnBusy.REJECT:
                if any(each.status in UNFINISHED for each in await self._runs(caller, session_id, running=True)):
                    raise SessionBusy
            case OnBusy.INTERRUPT:
                if await self._current(caller, session_id) != set():
                    await self._platform.interrupt(caller, session_id)
        return await self._accept(caller, session_id, run)

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """List the runs of the log, then those accepted and not in it yet."""
        runs = await self._runs(caller, session_id, running=await self._running(caller, session_id))
        return RunList(session_id=session_id, runs=[run for run in runs if status in (None, run.status)])

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """Read one run of those that list_runs lists, every `poll_interval` seconds until it has ended."""
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        while True:
            run = await self._run(caller, session_id, run_id)
            if run.status.is_final or now() >= deadline:
                return run
            await asyncio.sleep(min(self._poll_interval, deadline - now()))

    async def _run(self, caller: Caller, session_id: str, run_id: str) -> RunSummary:
        for run in await self._runs(caller, session_id, running=await self._running(caller, session_id)):
            if run.run_id == run_id:
                return run
        raise RunNotFound

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:  # noqa: ARG002 - it has no use
        """Refuse: a run that the platform has taken stays in its queue."""
        await self._platform.get_session(caller, session_id)
        raise NotSupported

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: LogPage | None = None
    ) -> EventLog | StreamedJson:
        """Read the log; a run that was accepted and is not in it yet has an empty one."""
        await self._platform.get_session(caller, session_id)
        accepted = run_id is not None and self._accepted.get(caller.project, session_id, run_id) is not None
        if format is OutputFormat.TRANSCRIPT:
            return self._exports.transcript(caller, session_id, run_id, accepted=accepted)
        if page:
            return await self._exports.page(caller, session_id, format, run_id, page, accepted=accepted)
        return self._exports.events(caller, session_id, format, run_id, accepted=accepted)

    async def _running(self, caller: Caller, session_id: str) -> bool:
        resource = await self._platform.get_session(caller, session_id)
        return mapping.phase(resource) is SessionStatus.RUNNING

    async def _need_running(self, caller: Caller, session_id: str) -> None:
        if not await self._running(caller, session_id):
            raise NotRunning

    async def _runs(self, caller: Caller, session_id: str, *, running: bool) -> list[RunSummary]:
        runs = await self._exports.runs(caller, session_id, session_running=running)
        return runs + [run.summary() for run in self._accepted.waiting(caller.project, session_id, runs)]

    async def _accept(self, caller: Caller, session_id: str, run: NewRun) -> AcceptedRun:
        run_id, thread_id = run.run_id or str(uuid4()), run.thread_id or session_id
        return await self._submit(caller, session_id, build_run_input(run, run_id=run_id, thread_id=thread_id))

    async def _submit(self, caller: Caller, session_id: str, run_input: RunInput) -> AcceptedRun:
        """Hand a RunAgentInput to the platform; it is remembered from before, so that its id is not taken twice."""
        project, run_id, thread_id = caller.project, run_input["runId"], run_input["threadId"]
        user_message = last_user_message(run_input)
        self._accepted.add(project, session_id, run_id, thread_id, user_message)
        try:
            said_run_id, said_thread_id = mapping.accepted_ids(await self._platform.run(caller, session_id, run_input))
        except BaseException:
            self._accepted.discard(project, session_id, run_id)
            raise
        accepted = AcceptedRun(run_id=said_run_id or run_id, thread_id=said_thread_id or thread_id)
        if accepted.run_id != run_id:
            self._accepted.discard(project, session_id, run_id)
            self._accepted.add(project, session_id, accepted.run_id, accepted.thread_id, user_message)
        return accepted

    async def _current(self, caller: Caller, session_id: str) -> set[str] | None:
        """The runs that an interrupt would end: on the session's own thread, the active one, or else one on its way.

        None if the log cannot be read: the signal is sent all the same.
        """
        try:
            runs = await self._runs(caller, session_id, running=True)
        except ApiError:
            return None
        mine = [run for run in runs if run.status in UNFINISHED and run.thread_id in (None, session_id)]
        active = {run.run_id for run in mine if run.status is RunStatus.RUNNING}
        return active or {run.run_id for run in mine[:1] if run.status is RunStatus.QUEUED}

    async def _wait_for_end(self, caller: Caller, session_id: str, current: set[str] | None) -> bool | None:
        """Whether all these runs end before the deadline: False without any, None if it passes first."""
        if not current:
            return None if current is None else False
        try:
            async with asyncio.timeout(self._interrupt_deadline):
                while not await self._ended(caller, session_id, current):  # noqa: ASYNC110 - the platform has no signal
                    await asyncio.sleep(self._poll_interval)
        except TimeoutError:
            return None
        return True

    async def _ended(self, caller: Caller, session_id: str, current: set[str]) -> bool:
        try:
            runs = await self._runs(caller, session_id, running=True)
        except ApiError:
            return False
        return current <= {run.run_id for run in runs if run.status not in UNFINISHED}
