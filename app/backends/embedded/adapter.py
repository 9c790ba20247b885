"""The embedded backend: the port's operations as transactions on the store, and what each sets going."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from app import labels
from app.agents.port import Agent
from app.agui.relay import relayed
from app.backend import Backend
from app.backends.embedded import (
    answers,
    approvals,
    interrupts,
    keys,
    native,
    operations,
    pages,
    runs,
    sessions,
    tail,
    workspace,
)
from app.backends.embedded.bell import rung_before
from app.backends.embedded.database import Database
from app.backends.embedded.engine import Engine
from app.backends.embedded.execution import PATIENT, Patience
from app.backends.embedded.life import Life
from app.backends.embedded.lifecycle import Action
from app.backends.embedded.lock import StoreLock
from app.backends.embedded.places import Places
from app.backends.embedded.sessions import SessionRow
from app.backends.embedded.writer import Observe
from app.errors import RunNotFound
from app.types import (
    AcceptedRun,
    Approval,
    ApprovalAnswer,
    ApprovalList,
    Caller,
    CreatedSession,
    Credentials,
    EventLog,
    EventStream,
    Interruption,
    NewMessage,
    NewRun,
    NewSession,
    OutputFormat,
    Page,
    Role,
    RunList,
    RunMessage,
    RunStatus,
    RunSummary,
    Session,
    SessionPage,
    SessionPatch,
    SessionStatus,
    Transcript,
    WaitingFor,
)

T = TypeVar("T")


class EmbeddedBackend(Backend):
    """Sessions in one SQLite file, their workspaces in a directory, their agents on this machine.

    A session without anything to do for `idle_timeout` seconds is stopped; beyond `max_running` sessions, others wait
    as pending. None: neither.
    """

    def __init__(
        self,
        database: Path,
        workspaces: Path,
        make_agent: Callable[[], Agent],
        *,
        run_timeout: float,
        observe: Observe | None = None,
        git_protocols: Sequence[str] = ("https", "ssh"),
        clear: Callable[[], None] = lambda: None,
        patience: Patience = PATIENT,
        idle_timeout: float | None = None,
        max_running: int | None = None,
    ) -> None:
        self._path = database
        self._workspaces = workspaces
        self._make_agent = make_agent
        self._run_timeout = run_timeout
        self._observe: Observe = observe or (lambda _operation, _seconds, _outcome: None)
        self._git_protocols = git_protocols
        self._clear = clear
        self._patience = patience
        self._idle_timeout = idle_timeout
        self._max_running = max_running
        self._under_way: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Open and migrate the store, then take up what another server has left.

        `StorageUnavailable` if a server is at work on it.
        """
        self._lock = StoreLock(self._path)
        try:
            await self._take_up()
        except BaseException:
            self._lock.release()
            raise

    async def _take_up(self) -> None:
        await asyncio.to_thread(self._clear)
        self._database = Database(self._path, self._observe)
        self._engine = Engine(
            self._database,
            self._workspaces,
            self._make_agent,
            run_timeout=self._run_timeout,
            patience=self._patience,
            observe=self._observe,
        )
        self._life = Life(
            self._database,
            self._engine,
            self._git_protocols,
            self._observe,
            idle_timeout=self._idle_timeout,
            places=Places(self._max_running),
        )
        await self._life.recover()

    async def close(self) -> None:
        """End active runs with RUN_ERROR `server_restarted`, leave queued ones queued, let go of the file."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=1.0)
        await asyncio.gather(self._life.close(), self._engine.close())
        await self._database.close()
        self._lock.release()

    async def ready(self) -> None:
        """Return if the store can be read."""
        self._database.read(partial(sessions.count, status=SessionStatus.PENDING))

    def running_sessions(self) -> int:
        """How many sessions of all projects are running."""
        return self._database.read(partial(sessions.count, status=SessionStatus.RUNNING))

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        """See `keys.verify`."""
        return self._database.read(partial(keys.verify, credentials=credentials, role=role))

    async def list_sessions(
        self,
        caller: Caller,
        *,
        limit: int,
        offset: int,
        search: str | None,
        status: Sequence[SessionStatus],
        label: Sequence[str],
    ) -> SessionPage:
        """One query for the page, one for the count."""
        query = partial(
            sessions.page,
            project=caller.project,
            limit=limit,
            offset=offset,
            search=search,
            status=status,
            label=label,
        )
        rows, total = await self._database.read_heavy(query)
        after = offset + len(rows)
        return SessionPage(
            items=self._shown(rows),
            total=total,
            limit=limit,
            offset=offset,
            has_more=bool(rows) and after < total,
            next_offset=after if rows and after < total else None,
        )

    async def create_session(self, caller: Caller, new: NewSession) -> CreatedSession:
        """Commit the session and its task as its first run, then make the workspace in the background."""
        workspace.check(new, self._git_protocols)
        labels.check(new.labels)

        make = partial(operations.create_session, project=caller.project, new=new)

        async def create() -> CreatedSession:
            session = await self._database.write(answers.once(caller.once, make, _created))
            self._life.prepare(session)
            return _created(session)

        return await self._complete_once(caller, CreatedSession, create())

    async def get_session(self, caller: Caller, session_id: str) -> Session:
        """A point read."""
        return self._shown([self._find(caller, session_id)])[0]

    async def update_session(self, caller: Caller, session_id: str, patch: SessionPatch) -> Session:
        """One transaction; a new time limit holds for the runs that begin after it."""
        labels.check(patch.labels)
        update = partial(operations.update_session, project=caller.project, session_id=session_id, patch=patch)
        return self._shown([await self._database.write(update)])[0]

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete the rows first: from then on the session is gone, whatever its agent still does."""

        async def delete() -> None:
            removal = await self._database.write(
                partial(operations.delete_session, project=caller.project, session_id=session_id)
            )
            await self._life.bury(removal)

        await self._complete(delete())

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Pending, until the workspace has been looked after."""

        async def start() -> SessionRow:
            session = await self._act(caller, session_id, Action.START)
            self._life.prepare(session)
            return session

        return (await self._complete(start())).public()

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Stopping, until the agent has let go."""

        async def stop() -> SessionRow:
            session = await self._act(caller, session_id, Action.STOP)
            self._life.halt(session)
            return session

        return (await self._complete(stop())).public()

    async def interrupt_session(self, caller: Caller, session_id: str) -> Interruption:
        """Answers once the end of the run is stored."""
        session = self._find(caller, session_id)
        running = session.status is SessionStatus.RUNNING
        interrupted = running and await self._engine.interrupt(session.number)
        return Interruption(message="Interrupt signal sent", interrupted=interrupted)

    async def send_message(self, caller: Caller, session_id: str, message: NewMessage) -> AcceptedRun:
        """A run with one user message."""
        said = RunMessage(role="user", content=message.content)
        return await self.create_run(caller, session_id, NewRun(messages=[said], on_busy=message.on_busy))

    async def create_run(self, caller: Caller, session_id: str, run: NewRun) -> AcceptedRun:
        """Commit the run to its session's queue, then see to it that it is run; ids are answered in canonical form."""

        enqueue = partial(operations.create_run, project=caller.project, session_id=session_id, run=run)

        async def accept() -> AcceptedRun:
            accepted, session, cut = await self._database.write(answers.once(caller.once, enqueue, itemgetter(0)))
            self._engine.wake(session)
            if cut is not None:
                self._engine.cut(session.number, cut)
            return accepted

        return await self._complete_once(caller, AcceptedRun, accept())

    async def run_agent(self, caller: Caller, session_id: str, run_input: dict[str, Any]) -> EventStream:
        """A run in the queue like any other; what its messages repeat is looked for before the transaction."""
        session = self._find(caller, session_id)
        known = await self._database.read_heavy(partial(native.known, session=session.number, thread_id=session.id))

        async def accept() -> AcceptedRun:
            accept = partial(native.accept, project=caller.project, session_id=session.id, given=run_input, known=known)
            accepted, row = await self._database.write(accept)
            self._engine.wake(row)
            return accepted

        events = partial(self.stream_session_events, caller, session.id, after=known.end)
        return relayed(await self._complete(accept()), run_input["threadId"], events)

    async def list_runs(self, caller: Caller, session_id: str, *, status: RunStatus | None) -> RunList:
        """From the runs' own rows, never from the log."""
        session = self._find(caller, session_id)
        summaries = await self._database.read_heavy(partial(runs.summaries, session=session.number, status=status))
        return RunList(session_id=session.id, runs=summaries)

    async def get_run(self, caller: Caller, session_id: str, run_id: str, *, wait: int = 0) -> RunSummary:
        """A point read, again after each commit that touched the session; a uuid in any spelling finds its run."""
        deadline = asyncio.get_running_loop().time() + wait
        with self._database.bell.watch(self._find(caller, session_id).number) as rung:
            while True:
                rung.clear()
                summary = self._summary(caller, session_id, run_id)
                if summary.status.is_final or not wait or not await rung_before(rung, deadline):
                    return summary

    def _summary(self, caller: Caller, session_id: str, run_id: str) -> RunSummary:
        query = partial(
            runs.summary, session=self._find(caller, session_id).number, run_id=operations.canonical(run_id)
        )
        if summary := self._database.read(query):
            return summary
        raise RunNotFound

    async def cancel_run(self, caller: Caller, session_id: str, run_id: str) -> None:
        """One transaction: either the run leaves the queue here, or it has begun."""
        await self._complete(
            self._database.write(
                partial(operations.cancel_run, project=caller.project, session_id=session_id, run_id=run_id)
            )
        )

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """From the session's own small files."""
        return self._engine.logbook(self._find(caller, session_id)).tail(tail)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        """A point read."""
        session = self._find(caller, session_id)
        rows = self._database.read(partial(approvals.pending, session=session.number))
        return ApprovalList(items=[row.public() for row in rows])

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        """Commit the answer, then let go on whoever waits for it."""

        async def respond() -> Approval:
            session = self._find(caller, session_id)
            answered = await self._database.write(
                partial(interrupts.respond, session=session, approval_id=approval_id, said=answer)
            )
            self._engine.wake(session)
            return answered

        return await self._complete(respond())

    async def get_session_output(
        self, caller: Caller, session_id: str, *, format: OutputFormat, run_id: str | None, page: Page | None = None
    ) -> Transcript | EventLog:
        """Read in a thread, as long logs take their time."""
        session, run_id = self._find(caller, session_id), run_id and operations.canonical(run_id)
        if page and format is not OutputFormat.TRANSCRIPT:
            return await self._database.read_heavy(
                partial(pages.page, session=session, format=format, run_id=run_id, page=page)
            )
        return await self._database.read_heavy(
            partial(operations.output, session=session, format=format, run_id=run_id)
        )

    async def stream_session_events(
        self, caller: Caller, session_id: str, *, after: int, run_id: str | None, format: OutputFormat
    ) -> EventStream:
        """The store is read from one position on, the bell only says when."""
        session, run_id = self._find(caller, session_id).number, run_id and operations.canonical(run_id)
        self._database.read(partial(pages.position, session=session, after=after, run_id=run_id))
        compacted = format is OutputFormat.COMPACT
        return EventStream(tail.follow(self._database, session, after, run_id, compacted=compacted))

    def _shown(self, rows: Sequence[SessionRow]) -> list[Session]:
        """What a client sees of sessions, with what each waits for."""
        waiting = self._database.read(partial(approvals.waiting, sessions=[row.number for row in rows]))
        return [
            msgspec.structs.replace(row.public(), waiting_for=WaitingFor(approvals=waiting[row.number]))
            if row.number in waiting
            else row.public()
            for row in rows
        ]

    def _find(self, caller: Caller, session_id: str) -> SessionRow:
        return self._database.read(partial(sessions.find, project=caller.project, session_id=session_id))

    async def _act(self, caller: Caller, session_id: str, action: Action) -> SessionRow:
        return await self._database.write(
            partial(operations.act, project=caller.project, session_id=session_id, action=action)
        )

    async def _complete_once(self, caller: Caller, kind: type[T], work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, or give the answer that it had when it was done before."""
        try:
            return await self._complete(work)
        except answers.Answered as before:
            if caller.once:
                caller.once.replayed = True
            return msgspec.json.decode(before.answer, type=kind)

    async def _complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if the client goes away meanwhile: what is committed must be set going."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)


def _created(session: SessionRow) -> CreatedSession:
    return CreatedSession(**msgspec.structs.asdict(session.public()), message="Session created")
