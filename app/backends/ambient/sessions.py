"""Sessions on the platform, with the rules of start and stop that the platform does not have."""

import asyncio
from collections.abc import Sequence

import msgspec

from app import labels
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.errors import translate_errors
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.patch import split_patch
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.runs import AmbientRuns
from app.errors import ApiError, BadRequest, Detail, NotSupported, SessionNotFound
from app.lifecycle import Action, next_status
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
from app.results import Idempotent

MAX_VARIABLE_BYTES = 120 << 10
"""Largest task or variable: each becomes a variable of the runner's container, where Linux takes 128 KiB."""

MAX_PAGE = 100
"""The most sessions that the platform returns in one page."""


class AmbientSessions:
    """Operations on sessions and their states."""

    def __init__(
        self,
        platform: PlatformApi,
        idempotency: IdempotencyStore,
        pending: PendingRuns,
        runs: AmbientRuns,
        *,
        poll_interval: float,
    ) -> None:
        self._runs = runs
        self._poll_interval = poll_interval
        self._platform = platform
        self._idempotency = idempotency
        self._pending = pending

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
        """Return a page of sessions; to filter by status or label, all of the project's are read."""
        if not status and not activity and not label:
            return await self._page(caller, limit, offset, search)
        matching = [
            session
            for session in await self._all(caller, search)
            if (not status or session.status in status)
            and (not activity or session.activity in activity)
            and labels.matches(session.labels, label)
        ]
        return SessionPage.at_offset(matching[offset : offset + limit], total=len(matching), limit=limit, offset=offset)

    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        """Create a session and read it back."""
        labels.check(new.labels)
        if new.approval_policy is not None:
            raise NotSupported
        texts = [new.task, *(new.environment_variables or {}).values()]
        if any(len(text.encode()) > MAX_VARIABLE_BYTES for text in texts):
            raise NotSupported("The platform takes a task and environment variables of at most 120 KiB each.")
        return await self._idempotency.once(caller, CreatedSession, lambda: self._create(caller, new))

    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        """Return a session once it is neither pending nor working, or after `wait` seconds.

        It is read again at each poll interval.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        while True:
            session = await self._read(caller, session_id)
            if session.status is SessionStatus.RUNNING:
                session.activity = await self._runs.activity(caller, session)
            if session.is_settled or now() >= deadline:
                return session
            await asyncio.sleep(min(self._poll_interval, deadline - now()))

    async def _read(self, caller: Caller, session_id: str) -> Session:
        return mapping.session(await self._platform.get_session(caller, session_id), session_id)

    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """Change a session in up to three calls and read it back; the one that its state may forbid is the first."""
        labels.check_update(patch)
        parts = split_patch(patch)
        if parts.spec is not None:
            await self._platform.update_spec(caller, session_id, parts.spec)
        if parts.display_name is not None:
            await self._platform.rename(caller, session_id, parts.display_name)
        if parts.annotations is not None:
            await self._platform.annotate(caller, session_id, parts.annotations)
        return await self.get_session(caller, session_id)

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete a session; the platform does not delete its log."""
        await self._platform.delete_session(caller, session_id)
        self._pending.discard_session(caller.project, session_id)

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Start a session that has ended."""
        return await self._transition(caller, session_id, Action.START)

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Stop a session that has not ended."""
        return await self._transition(caller, session_id, Action.STOP)

    async def _create(self, caller: Caller, new: SessionCreate) -> CreatedSession:
        if new.parent_session_id is not None:
            await self._require_parent(caller, new.parent_session_id)
        name = await self._platform.create_session(caller, mapping.new_session(new))
        try:
            session = mapping.session(await self._platform.get_session(caller, name), name)
        except ApiError:
            # The session exists, so the client must learn its id.
            session = mapping.as_requested(new, name)
        return CreatedSession(message="Session created", **msgspec.structs.asdict(session))

    async def _require_parent(self, caller: Caller, session_id: str) -> None:
        try:
            await self._platform.get_session(caller, session_id)
        except SessionNotFound as error:
            detail = Detail("body.parent_session_id", "must be a session of this project")
            raise BadRequest(details=[detail]) from error

    async def _transition(self, caller: Caller, session_id: str, action: Action) -> Session:
        # The platform accepts a start or stop in every phase, and loses some of them.
        status = next_status(action, mapping.phase(await self._platform.get_session(caller, session_id)))
        before = await self._platform.transition(caller, session_id, action)
        return mapping.in_transition(before, session_id, status)

    async def _page(self, caller: Caller, limit: int, offset: int, search: str | None) -> SessionPage:
        page = await self._platform.list_sessions(caller, limit, offset, search)
        with translate_errors:
            return mapping.page(page, limit=limit, offset=offset)

    async def _all(self, caller: Caller, search: str | None) -> list[Session]:
        """Return all sessions of the project, read page by page until a page has none that is new."""
        found: dict[str, Session] = {}
        offset: int | None = 0
        while offset is not None:
            page = await self._page(caller, MAX_PAGE, offset, search)
            before = len(found)
            # A session that is created meanwhile shifts the pages, so that one may come twice.
            found |= {session.id: session for session in page.items if session.id not in found}
            offset = page.next_offset if len(found) > before else None
        return list(found.values())
