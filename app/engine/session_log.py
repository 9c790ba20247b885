"""The sessions' text logs: what happened to each, as lines that its owner can read on any server.

Lines are written in the background, some at a time. A store that fails loses lines and nothing else.
"""

import asyncio
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cached_property

import structlog

from app.clock import now_ms, rfc3339
from app.engine.hidden_values import HiddenValues
from app.engine.session_secrets import SecretsError, SessionSecrets
from app.errors import ApiError
from app.observability.logs import redact
from app.store import session_log
from app.store.database import Database
from app.store.sessions import SessionRow
from app.waiting import is_set_within

MAX_LINE = 4096  # characters
GATHER_SECONDS = 0.1
MAX_WAITING = 1000  # lines of one session that have yet to be stored

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
log = structlog.get_logger()


class SessionLog:
    """The log of one session, without its `secrets`; `add` takes the lines."""

    def __init__(self, add: Callable[[list[str]], None], secrets: Callable[[], Collection[str]] = tuple) -> None:
        self._add = add
        self._secrets = secrets

    @cached_property
    def _hidden(self) -> HiddenValues:
        return HiddenValues(self._secrets())

    def write(self, source: str, text: str) -> None:
        """Append the lines of `text`, each with the time and its source."""
        prefix = f"{rfc3339(now_ms())} {source}: "
        shown = self._hidden.replace(redact(text))
        self._add([prefix + _CONTROL.sub("", line)[:MAX_LINE] for line in shown.splitlines() if line.strip()])


class SessionLogs:
    """The logs of all sessions of a store. Belongs to one event loop."""

    def __init__(self, database: Database, secrets: SessionSecrets) -> None:
        self._database = database
        self._secrets = secrets
        self._waiting: dict[int, list[str]] = {}  # lines to be stored, by the row ids of their sessions
        self._hurry = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    def of(self, session: SessionRow) -> SessionLog:
        """Return the log of a session; the values of its environment are never written to it."""

        def values() -> Collection[str]:
            with suppress(SecretsError):
                return (self._secrets.whole(session).environment_variables or {}).values()
            return ()

        return SessionLog(lambda lines: self._add(session.row_id, lines), values)

    async def tail(self, session: int, count: int) -> str:
        """Return the last lines of a session, oldest first; an empty string if there are none."""
        await self.flush()
        lines = await self._database.read_in_thread(session_log.tail, session, count)
        return "".join(f"{line}\n" for line in lines)

    async def flush(self) -> None:
        """Wait until the lines so far are stored, or lost."""
        for _ in range(2):  # what is being stored, and what has come since that began
            if self._writing:
                self._hurry.set()
                await asyncio.wait({self._writing})

    def _add(self, session: int, lines: list[str]) -> None:
        waiting = self._waiting.setdefault(session, [])
        if len(waiting) < MAX_WAITING:
            waiting += lines
        self._begin_writing()

    def _begin_writing(self) -> None:
        if self._writing is None and self._waiting:
            self._hurry.clear()
            self._writing = asyncio.create_task(self._write(), name="session logs")

    async def _write(self) -> None:
        await is_set_within(self._hurry, GATHER_SECONDS)
        gathered, self._waiting = self._waiting, {}
        await asyncio.gather(*(self._store(session, lines) for session, lines in gathered.items()))
        self._writing = None
        self._begin_writing()

    async def _store(self, session: int, lines: list[str]) -> None:
        try:
            await self._database.write(session_log.append, session, lines)
        except ApiError as error:
            log.warning("session_log_lost", session=session, lines=len(lines), reason=error.code)
