"""Sessions of the embedded backend: each operation is a transaction on the store, then a signal to the engine."""

import asyncio
from collections.abc import Sequence

from app import labels
from app.engine import repositories, session_variables
from app.engine.signals import Signals
from app.lifecycle import Action
from app.models.caller import Caller
from app.models.runs import InterruptResult
from app.models.sessions import (
    Activity,
    CreatedSession,
    Session,
    SessionCreate,
    SessionPage,
    SessionStatus,
    SessionUpdate,
)
from app.results import Idempotent
from app.store import approvals, sessions
from app.store.commands import sessions as commands
from app.store.database import Database
from app.store.notifier import notified_before
from app.store.sessions import SessionRow


class EmbeddedSessions:
    """Operations on sessions and their states; `git_protocols` are those by which repositories may be cloned."""

    def __init__(self, database: Database, signals: Signals, git_protocols: Sequence[str]) -> None:
        self._database = database
        self._signals = signals
        self._git_protocols = git_protocols

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
        repositories.check(new, self._git_protocols)
        session_variables.check(new)
        labels.check(new.labels)
        stored = await self._database.write(commands.create_session, caller.project, new, caller.idempotency_key)
        if stored.session:
            self._signals.provision(stored.session)
        return stored.created

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
        """Change a session; a new time limit applies to runs that begin afterwards."""
        labels.check_update(patch)
        row = await self._database.write(commands.update_session, caller.project, session_id, patch)
        return (await self._public([row]))[0]

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete the rows, from when on the session is gone, then stop its agent and remove its workspace."""
        deletion = await self._database.write_from_reserve(commands.delete_session, caller.project, session_id)
        await self._signals.purge(deletion)

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Make the session pending; it runs once its workspace is complete."""
        row = await self._database.write(commands.transition, caller.project, session_id, Action.START)
        self._signals.provision(row)
        return row.public()

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Make the session stopping; it is stopped once its agent is."""
        row = await self._database.write(commands.transition, caller.project, session_id, Action.STOP)
        self._signals.stop(row)
        return row.public()

    async def interrupt_session(self, caller: Caller, session_id: str) -> InterruptResult:
        """Cancel the active run and wait until its end is stored."""
        row = await self._database.read_one(sessions.find, caller.project, session_id)
        interrupted = row.status is SessionStatus.RUNNING and await self._signals.interrupt(row.row_id)
        return InterruptResult(message="Interrupt signal sent", interrupted=interrupted)

    async def _public(self, rows: Sequence[SessionRow]) -> list[Session]:
        """Return sessions as clients see them, each with the approvals that it waits for."""
        waiting = await self._database.read_one(approvals.open_ids, [row.row_id for row in rows])
        return [row.public(waiting.get(row.row_id)) for row in rows]
