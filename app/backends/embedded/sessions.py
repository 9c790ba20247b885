"""Sessions of the embedded backend: each operation is a transaction on the store, then a signal to the engine."""

import asyncio
from collections.abc import Sequence

import msgspec

from app import labels
from app.backends.embedded.agents import EmbeddedAgents
from app.backends.embedded.attachments import Attachments
from app.backends.embedded.unfinished import Unfinished
from app.engine import repositories, session_variables
from app.engine.config import EngineConfig
from app.engine.signals import Signals
from app.lifecycle import Action
from app.models.caller import Caller
from app.models.sessions import (
    Activity,
    CreatedSession,
    Session,
    SessionCreate,
    SessionPage,
    SessionStatus,
    SessionUpdate,
)
from app.port.sessions import Sessions
from app.results import Idempotent
from app.store import approvals, sessions
from app.store.commands import sessions as commands
from app.store.database import Database
from app.store.notifier import notified_before
from app.store.quotas import Quotas
from app.store.sessions import SessionRow
from app.workspaces import local


class EmbeddedSessions(Sessions):
    """Operations on sessions and their states."""

    def __init__(
        self,
        database: Database,
        signals: Signals,
        unfinished: Unfinished,
        config: EngineConfig,
        *,
        agents: EmbeddedAgents,
        quotas: Quotas,
        attachments: Attachments,
        own_disk: str | None = None,
    ) -> None:
        """Sessions that work on local directories stay on this server's `own_disk`, if it has one."""
        self._own_disk = own_disk
        self._agents = agents
        self._attachments = attachments
        self._quotas = quotas
        self._unfinished = unfinished
        self._database = database
        self._signals = signals
        self._config = config

    async def list_sessions(
        self,
        caller: Caller,
        *,
        limit: int,
        offset: int,
        search: str | None,
        status: Sequence[SessionStatus],
        activity: Sequence[Activity] = (),
        label: Sequence[str],
    ) -> SessionPage:
        """Return a page of sessions; a search reads all of the project's, so it runs in a thread."""
        if search or status or activity or label:
            rows, total = await self._database.read_in_thread(
                sessions.matching,
                caller.project,
                limit=limit,
                offset=offset,
                search=search,
                status=status,
                activity=activity,
                label=label,
            )
        else:
            rows, total = await self._database.read(sessions.page, caller.project, limit=limit, offset=offset)
        return SessionPage.at_offset(await self._public(rows), total=total, limit=limit, offset=offset)

    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        """Create the session with its task as its first run; its workspace is made in the background."""
        new = msgspec.structs.replace(new, agent=await self._agents.require(new.agent))
        await self._agents.require_choice(new.agent or "", model=new.model, mode=new.mode)
        repositories.check(new, self._config.git.protocols)
        if new.workspace:
            roots = self._config.local_roots.get(caller.project, ())
            new = await asyncio.to_thread(local.check, new, roots, [self._config.directory])
        session_variables.check(new)
        labels.check(new.labels)
        new, files = await self._attachments.accept_new(new)
        room = await self._quotas.room(caller.project)
        new, secrets = self._config.secrets.separate(new)
        write = self._database.write(
            commands.create_session,
            caller.project,
            new,
            caller.idempotency_key,
            room=room,
            secrets=secrets,
            disk=self._own_disk if new.workspace else None,
            files=files,
        )
        stored = await self._unfinished.finish(write, self._provision)
        return stored.created

    def _provision(self, stored: commands.Stored) -> None:
        if stored.session:
            self._signals.provision(stored.session)

    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        """Return a session once it is neither pending nor working, or after `wait` seconds.

        It is read again after each change of it.
        """
        deadline = asyncio.get_running_loop().time() + wait
        row = await self._database.read_one(sessions.find, caller.project, session_id)
        if not wait:
            return (await self._public([row]))[0]
        with self._database.notifier.subscribe(row.row_id) as changed:
            while True:
                changed.clear()
                row = await self._database.read_one(sessions.find, caller.project, session_id)
                [session] = await self._public([row])
                if session.is_settled or not await notified_before(changed, deadline):
                    return session

    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """Change a session; a new model, mode or time limit applies to runs that begin afterwards."""
        labels.check_update(patch)
        if patch.model or patch.mode:
            session = await self._database.read_one(sessions.find, caller.project, session_id)
            await self._agents.require_choice(session.request.agent or "", model=patch.model, mode=patch.mode)
        row = await self._database.write(commands.update_session, caller.project, session_id, patch)
        return (await self._public([row]))[0]

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete the rows, from when on the session is gone, then stop its agent and remove its workspace."""
        await self._unfinished.finish(self._delete(caller, session_id))

    async def _delete(self, caller: Caller, session_id: str) -> None:
        deletion = await self._database.write_from_reserve(commands.delete_session, caller.project, session_id)
        await self._signals.purge(deletion)

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Make the session pending; it runs once its workspace is complete."""
        room = await self._quotas.room(caller.project)
        write = self._database.write(
            commands.transition,
            caller.project,
            session_id,
            Action.START,
            room=room,
            lost_after=self._config.worker_lost,
        )
        return (await self._unfinished.finish(write, self._signals.provision)).public()

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Make the session stopping; it is stopped once its agent is."""
        write = self._database.write(commands.transition, caller.project, session_id, Action.STOP)
        return (await self._unfinished.finish(write, self._signals.stop)).public()

    async def _public(self, rows: Sequence[SessionRow]) -> list[Session]:
        """Return sessions as clients see them, each with the approvals that it waits for."""
        waiting = await self._database.read_one(approvals.open_ids, [row.row_id for row in rows])
        return [row.public(waiting.get(row.row_id)) for row in rows]
