"""What every part of the embedded backend works with."""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from app.backend import Backend
from app.backends.embedded import (
    answers,
    approvals,
    operations,
    sessions,
)
from app.backends.embedded.database import Database
from app.backends.embedded.engine import Engine
from app.backends.embedded.life import Life
from app.backends.embedded.lifecycle import Action
from app.backends.embedded.output import Output
from app.backends.embedded.sessions import SessionRow
from app.types import (
    Caller,
    Session,
    WaitingFor,
)

T = TypeVar("T")


class EmbeddedParts(Backend):
    """The open store, the engine, the lives of sessions, and how one request is brought to its end."""

    _database: Database
    _engine: Engine
    _life: Life
    _output: Output
    _under_way: set[asyncio.Task[Any]]

    def _shown(self, rows: Sequence[SessionRow]) -> list[Session]:
        """What a client sees of sessions, with what each waits for."""
        waiting = self._database.look_up(partial(approvals.waiting, sessions=[row.number for row in rows]))
        return [
            msgspec.structs.replace(row.public(), waiting_for=WaitingFor(approvals=waiting[row.number]))
            if row.number in waiting
            else row.public()
            for row in rows
        ]

    def _find(self, caller: Caller, session_id: str) -> SessionRow:
        return self._database.look_up(partial(sessions.find, project=caller.project, session_id=session_id))

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
