"""What every part of the embedded backend works with."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from app.backend import Backend
from app.engine.engine import Engine
from app.engine.supervisor import Supervisor
from app.lifecycle import Action
from app.models.caller import Caller
from app.models.sessions import Session, WaitingFor
from app.results import Idempotent
from app.store import approvals, idempotency, sessions
from app.store.commands import sessions as session_commands
from app.store.database import Database
from app.store.log import StoredLog
from app.store.sessions import SessionRow

T = TypeVar("T")


class EmbeddedParts(Backend):
    """The open store, the engine, the lives of sessions, and how one request is brought to its end."""

    _database: Database
    _engine: Engine
    _life: Supervisor
    _output: StoredLog
    _under_way: set[asyncio.Task[Any]]

    async def _shown(self, rows: Sequence[SessionRow]) -> list[Session]:
        """What a client sees of sessions, with what each waits for."""
        waiting = await self._database.read_one(approvals.open_ids, [row.row_id for row in rows])
        return [
            msgspec.structs.replace(row.public(), waiting_for=WaitingFor(approvals=waiting[row.row_id]))
            if row.row_id in waiting
            else row.public()
            for row in rows
        ]

    async def _find(self, caller: Caller, session_id: str) -> SessionRow:
        return await self._database.read_one(sessions.find, caller.project, session_id)

    async def _act(self, caller: Caller, session_id: str, action: Action) -> SessionRow:
        return await self._database.write(session_commands.transition, caller.project, session_id, action)

    async def _complete_once(self, kind: type[T], work: Coroutine[Any, Any, T]) -> Idempotent[T]:
        """Return the result of `work`, or the stored one if the request was seen before."""
        try:
            return Idempotent(await self._complete(work))
        except idempotency.Replayed as earlier:
            return Idempotent(msgspec.json.decode(earlier.answer, type=kind), replayed=True)

    async def _complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if the client goes away meanwhile: what is committed must be set going."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)
