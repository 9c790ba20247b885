"""Sessions on the platform: all that the port asks, and the rules of start and stop that it does not have."""

from collections.abc import Sequence
from functools import partial

import msgspec

from app import labels
from app.backend import Backend
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.errors import translate_errors
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.patch import changes
from app.backends.ambient.pending_runs import PendingRuns
from app.errors import (
    AlreadyEnded,
    AlreadyRunning,
    ApiError,
    BadRequest,
    Detail,
    NotSupported,
    SessionNotFound,
    SessionStopping,
    UnknownState,
)
from app.models.approvals import Approval, ApprovalAnswer, ApprovalList
from app.models.caller import Caller
from app.models.sessions import CreatedSession, NewSession, Session, SessionPage, SessionPatch, SessionStatus
from app.results import Idempotent

PAGE = 100
"""Sessions per page when all are walked: the most that the platform gives."""


class AmbientSessions(Backend):
    """The part of the port that is about sessions."""

    _platform: PlatformApi
    _accepted: PendingRuns
    _answers: IdempotencyStore

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
        """List one page of the platform's; by status or label, which it cannot filter by, a page of all that match."""
        if not status and not label:
            return await self._page(caller, limit, offset, search)
        matching = [
            session
            for session in await self._all(caller, search)
            if (not status or session.status in status) and labels.matches(session.labels, label)
        ]
        end = offset + limit
        more = end < len(matching)
        return SessionPage(
            items=matching[offset:end],
            total=len(matching),
            limit=limit,
            offset=offset,
            has_more=more,
            next_offset=end if more else None,
        )

    async def create_session(self, caller: Caller, new: NewSession) -> Idempotent[CreatedSession]:
        """Create a session and read it back; once the platform has made it, nothing is an error any more."""
        labels.check(new.labels)
        if new.approval_policy is not None:
            raise NotSupported
        return await self._answers.once(caller, CreatedSession, partial(self._create_session, caller, new))

    async def _create_session(self, caller: Caller, new: NewSession) -> CreatedSession:
        if new.parent_session_id is not None:
            await self._need_parent(caller, new.parent_session_id)
        name = await self._platform.create_session(caller, mapping.new_session(new))
        try:
            session = mapping.session(await self._platform.get_session(caller, name), name)
        except ApiError:
            session = mapping.as_requested(new, name)
        return CreatedSession(message="Session created", **msgspec.structs.asdict(session))

    async def get_session(self, caller: Caller, session_id: str) -> Session:
        """Read a session."""
        return mapping.session(await self._platform.get_session(caller, session_id), session_id)

    async def update_session(self, caller: Caller, session_id: str, patch: SessionPatch) -> Session:
        """Change a session part by part and read it back; what can be refused for its state goes first."""
        labels.check(patch.labels)
        wanted = changes(patch)
        if wanted.spec is not None:
            await self._platform.update_spec(caller, session_id, wanted.spec)
        if wanted.display_name is not None:
            await self._platform.rename(caller, session_id, wanted.display_name)
        if wanted.annotations is not None:
            await self._platform.annotate(caller, session_id, wanted.annotations)
        return await self.get_session(caller, session_id)

    async def get_session_logs(self, caller: Caller, session_id: str, *, tail: int) -> str:
        """Read what the session's runner wrote, where the platform hands it out."""
        await self._platform.get_session(caller, session_id)
        return await self._platform.logs(caller, session_id, tail)

    async def list_approvals(self, caller: Caller, session_id: str) -> ApprovalList:
        """Refuse, once the session is found: the platform's agents ask in their own way."""
        await self._platform.get_session(caller, session_id)
        return await super().list_approvals(caller, session_id)

    async def answer_approval(
        self, caller: Caller, session_id: str, approval_id: str, answer: ApprovalAnswer
    ) -> Approval:
        """Refuse, once the session is found."""
        await self._platform.get_session(caller, session_id)
        return await super().answer_approval(caller, session_id, approval_id, answer)

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete a session; its log stays on the platform's volume."""
        await self._platform.delete_session(caller, session_id)
        self._accepted.discard_session(caller.project, session_id)

    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Start a session that has ended; the platform itself would take a start in any phase and lose some."""
        match mapping.phase(await self._platform.get_session(caller, session_id)):
            case None | SessionStatus.UNKNOWN:
                raise UnknownState
            case SessionStatus.PENDING | SessionStatus.RUNNING:
                raise AlreadyRunning
            case SessionStatus.STOPPING:
                raise SessionStopping
        before = await self._platform.transition(caller, session_id, "start")
        return mapping.in_transition(before, session_id, SessionStatus.PENDING)

    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Stop a session that has not ended."""
        match mapping.phase(await self._platform.get_session(caller, session_id)):
            case None | SessionStatus.UNKNOWN:
                raise UnknownState
            case SessionStatus.STOPPED | SessionStatus.COMPLETED | SessionStatus.FAILED:
                raise AlreadyEnded
        before = await self._platform.transition(caller, session_id, "stop")
        return mapping.in_transition(before, session_id, SessionStatus.STOPPING)

    async def _need_parent(self, caller: Caller, session_id: str) -> None:
        try:
            await self._platform.get_session(caller, session_id)
        except SessionNotFound as error:
            detail = Detail("body.parent_session_id", "must be a session of this project")
            raise BadRequest(details=[detail]) from error

    async def _page(self, caller: Caller, limit: int, offset: int, search: str | None) -> SessionPage:
        reply = await self._platform.list_sessions(caller, limit, offset, search)
        with translate_errors:
            return mapping.page(reply, limit=limit, offset=offset)

    async def _all(self, caller: Caller, search: str | None) -> list[Session]:
        """Every session of the project, page by page; the walk ends with a page that brings nothing new."""
        found: dict[str, Session] = {}
        offset: int | None = 0
        while offset is not None:
            page = await self._page(caller, PAGE, offset, search)
            before = len(found)
            # Sessions made meanwhile shift the pages: the same one may come twice.
            found |= {session.id: session for session in page.items if session.id not in found}
            offset = page.next_offset if len(found) > before else None
        return list(found.values())
