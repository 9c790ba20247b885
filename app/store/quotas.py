"""Quotas of projects and sessions: what is stored and started, against the bounds of the server.

A request, a run's input and its log count as stored bytes of their session, the log once the run has ended. The sum of
a project's sessions is read at most every SUM_SECONDS, so a project can exceed its bound by what it stores meanwhile.
The disk that workspaces and homes take is measured now and then, and counts as last measured.
"""

from contextlib import suppress
from time import monotonic
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, func, or_, select

from app.errors import (
    ProjectQuotaExceeded,
    SessionQuotaExceeded,
    StorageUnavailable,
    TooManySessions,
    WorkspaceQuotaExceeded,
)
from app.models.limits import Limits, ProjectUsage
from app.models.sessions import SessionStatus
from app.store.database import Database
from app.store.sessions import SessionRow
from app.store.statements import Statement
from app.store.tables import SESSIONS

SUM_SECONDS = 10.0
_MAX_PROJECTS = 10_000  # whose sums are remembered

_NOT_ENDED = (SessionStatus.PENDING, SessionStatus.RUNNING, SessionStatus.STOPPING)
_COUNT_NOT_ENDED = Statement(
    select(func.count())
    .select_from(SESSIONS)
    .where(
        SESSIONS.c.project == bindparam("project_"),
        or_(*(SESSIONS.c.status == status for status in _NOT_ENDED)),
    )
)


class Sums(NamedTuple):
    """Bytes that sessions take together: stored, and of their workspaces and homes on disk."""

    stored: int = 0
    disk: int = 0


class Room(msgspec.Struct, frozen=True):
    """The bounds of a server, and what a project has stored against them."""

    limits: Limits = msgspec.field(default_factory=Limits)
    used: Sums = Sums()

    def require_session(self, connection: Connection, project: str) -> None:
        """Return if the project may have one more session that has not ended; `TooManySessions`."""
        bound = self.limits.max_sessions
        if bound is not None and count_sessions(connection, project) >= bound:
            raise TooManySessions

    def require_bytes(self, session: SessionRow | None = None) -> None:
        """Return if the project, and one of its sessions, may store more, and take more of the disk.

        `ProjectQuotaExceeded`, `SessionQuotaExceeded`, `WorkspaceQuotaExceeded`.
        """
        if self._left(self.limits.max_project_bytes, self.used.stored) == 0:
            raise ProjectQuotaExceeded
        if session and self._left(self.limits.max_session_bytes, session.stored_bytes) == 0:
            raise SessionQuotaExceeded
        if self.disk_bytes(session.disk_bytes if session else 0) == 0:
            raise WorkspaceQuotaExceeded

    def run_bytes(self, session: SessionRow) -> int | None:
        """Return how large the log of the session's next run may become; None if there is no bound."""
        left = (
            self.limits.max_run_bytes,
            self._left(self.limits.max_session_bytes, session.stored_bytes),
            self._left(self.limits.max_project_bytes, self.used.stored),
        )
        return _least(*left)

    def disk_bytes(self, taken: int) -> int | None:
        """Return how much more of the disk a session may take that takes this much; None if there is no bound."""
        project = self._left(self.limits.max_project_workspace_bytes, self.used.disk)
        return _least(self.workspace_bytes(taken), project)

    def workspace_bytes(self, taken: int) -> int | None:
        """Return the same, whatever the other sessions of the project take."""
        return self._left(self.limits.max_workspace_bytes, taken)

    @staticmethod
    def _left(bound: int | None, stored: int) -> int | None:
        return None if bound is None else max(0, bound - stored)


def _least(*numbers: int | None) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


UNBOUNDED = Room()


class Quotas:
    """The quotas of all projects in one store."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self.limits = limits
        self._database = database
        self._sums: dict[str, tuple[float, Sums]] = {}

    async def room(self, project: str) -> Room:
        """Return what a project may still store."""
        if self.limits.max_project_bytes is None and self.limits.max_project_workspace_bytes is None:
            return Room(self.limits)
        read_at, used = self._sums.get(project, (float("-inf"), Sums()))
        if monotonic() - read_at >= SUM_SECONDS:
            with suppress(StorageUnavailable):  # the write that follows reports it
                used = await self._database.read_in_thread(sums, project)
            if len(self._sums) >= _MAX_PROJECTS:
                self._sums.clear()
            self._sums[project] = monotonic(), used
        return Room(self.limits, used)

    async def usage(self, project: str) -> ProjectUsage:
        """Return what a project has at this moment."""
        return await self._database.read_in_thread(_usage, project)


def count_sessions(connection: Connection, project: str) -> int:
    """Return how many sessions of a project have not ended."""
    found: tuple[int] = _COUNT_NOT_ENDED(connection, project_=project).fetchone()
    return found[0]


def sums(connection: Connection, project: str | None = None) -> Sums:
    """Return what the sessions of a project take together, or all sessions."""
    totals = (func.coalesce(func.sum(column), 0) for column in (SESSIONS.c.stored_bytes, SESSIONS.c.disk_bytes))
    query = select(*totals)
    stored, disk = connection.execute(query.where(SESSIONS.c.project == project) if project else query).one()
    return Sums(int(stored), int(disk))


def _usage(connection: Connection, project: str) -> ProjectUsage:
    used = sums(connection, project)
    return ProjectUsage(
        sessions=count_sessions(connection, project), stored_bytes=used.stored, workspace_bytes=used.disk
    )
