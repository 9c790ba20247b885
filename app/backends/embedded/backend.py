"""The embedded backend: the port's operations as transactions on the store, and what each sets going."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app import labels
from app.agents.port import Agent
from app.backends.embedded.runs import EmbeddedRuns
from app.engine import repositories
from app.engine.engine import Engine
from app.engine.execution import DEFAULT_GRACE, GracePeriod
from app.engine.scheduling import SessionSlots
from app.engine.supervisor import Supervisor
from app.lifecycle import Action
from app.models.caller import Caller, Credentials, Role
from app.models.runs import InterruptResult
from app.models.sessions import CreatedSession, NewSession, Session, SessionPage, SessionPatch, SessionStatus
from app.observability.metrics import Observe
from app.results import Idempotent
from app.store import idempotency, keys, sessions
from app.store.commands import sessions as session_commands
from app.store.log import StoredLog
from app.store.sessions import SessionRow
from app.store.sqlite.database import SqliteDatabase
from app.store.sqlite.lock import StoreLock


class EmbeddedBackend(EmbeddedRuns):
    """Sessions in one SQLite file, their workspaces in a directory, their agents on this machine.

    A question within a turn is denied after `approval_timeout` seconds. A session without anything to do for
    `idle_timeout` seconds is stopped; beyond `max_running` sessions, others wait as pending. None: neither.
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
        patience: GracePeriod = DEFAULT_GRACE,
        approval_timeout: float = 600.0,
        idle_timeout: float | None = None,
        max_running: int | None = None,
    ) -> None:
        self._path = database
        self._workspaces = workspaces
        self._make_agent = make_agent
        self._run_timeout = run_timeout
        self._approval_timeout = approval_timeout
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
        self._database = SqliteDatabase(self._path, self._observe)
        self._output = StoredLog(self._database)
        self._engine = Engine(
            self._database,
            self._workspaces,
            self._make_agent,
            run_timeout=self._run_timeout,
            approval_timeout=self._approval_timeout,
            patience=self._patience,
            observe=self._observe,
        )
        self._life = Supervisor(
            self._database,
            self._engine,
            self._git_protocols,
            self._observe,
            idle_timeout=self._idle_timeout,
            places=SessionSlots(self._max_running),
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
        await self._database.read(sessions.count, SessionStatus.PENDING)

    async def running_sessions(self) -> int:
        """How many sessions of all projects are running."""
        return await self._database.read(sessions.count, SessionStatus.RUNNING)

    async def authorize(self, credentials: Credentials, role: Role) -> Caller:
        """See `keys.verify`."""
        return await self._database.read_one(keys.verify, credentials, role)

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
        """One query for the page, one for the count; what has to match is looked for in a thread."""
        if search or status or label:
            rows, total = await self._database.read_in_thread(
                sessions.matching,
                caller.project,
                limit=limit,
                offset=offset,
                search=search,
                status=status,
                label=label,
            )
        else:
            rows, total = await self._database.read(sessions.page, caller.project, limit=limit, offset=offset)
        return SessionPage.at_offset(await self._shown(rows), total=total, limit=limit, offset=offset)

    async def create_session(self, caller: Caller, new: NewSession) -> Idempotent[CreatedSession]:
        """Commit the session and its task as its first run, then make the workspace in the background."""
        repositories.check(new, self._git_protocols)
        labels.check(new.labels)

        create_once = idempotency.once(caller.idempotency_key, session_commands.create_session, _created)

        async def create() -> CreatedSession:
            session = await self._database.write(create_once, caller.project, new)
            self._life.provision(session)
            return _created(session)

        return await self._complete_once(CreatedSession, create())

    async def get_session(self, caller: Caller, session_id: str) -> Session:
        """A point read."""
        [shown] = await self._shown([await self._find(caller, session_id)])
        return shown

    async def update_session(self, caller: Caller, session_id: str, patch: SessionPatch) -> Session:
        """One transaction; a new time limit holds for the runs that begin after it."""
        labels.check(patch.labels)
        session = await self._database.write(session_commands.update_session, caller.project, session_id, patch)
        [shown] = await self._shown([session])
        return shown

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete the rows first: from then on the session is gone, whatever its agent still does."""

        async def delete() -> None:
            removal = await self._database.write_from_reserve(
                session_commands.delete_session, caller.project, session_id
            )
            await self._life.purge(removal)

        await self._complete(delete())

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Pending, until the workspace has been looked after."""

        async def start() -> SessionRow:
            session = await self._act(caller, session_id, Action.START)
            self._life.provision(session)
            return session

        return (await self._complete(start())).public()

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Stopping, until the agent has let go."""

        async def stop() -> SessionRow:
            session = await self._act(caller, session_id, Action.STOP)
            self._life.stop(session)
            return session

        return (await self._complete(stop())).public()

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Answers once the end of the run is stored."""
        session = await self._find(caller, session_id)
        running = session.status is SessionStatus.RUNNING
        interrupted = running and await self._engine.interrupt(session.row_id)
        return InterruptResult(message="Interrupt signal sent", interrupted=interrupted)


def _created(session: SessionRow) -> CreatedSession:
    return CreatedSession(**msgspec.structs.asdict(session.public()), message="Session created")
