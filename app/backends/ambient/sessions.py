"""Sessions on the platform, with the rules of start and stop that the platform does not have."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from app import labels
from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.errors import translate_errors
from app.backends.ambient.idempotency import IdempotencyStore
from app.backends.ambient.patch import split_patch
from app.backends.ambient.pending_runs import PendingRuns
from app.backends.ambient.resources import Resource
from app.backends.ambient.run_input import refuse_attachments
from app.backends.ambient.runs import AmbientRuns
from app.backends.ambient.session_state import Runners, SessionState
from app.backends.ambient.stops import Stops
from app.errors import (
    ApiError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    CursorExpired,
    Detail,
    NotSupported,
    SessionNotFound,
)
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
from app.port.sessions import Sessions
from app.results import Idempotent

MAX_VARIABLE_BYTES = 120 << 10
"""Largest task or variable: each becomes a variable of the runner's container, where Linux takes 128 KiB."""

STOPPABLE = frozenset({SessionStatus.PENDING, SessionStatus.RUNNING})
"""The states of a session that has not noticed its stop yet."""

MAX_PAGE = 100
"""The most sessions that the platform returns in one page."""

MAX_PAGES = 1000
"""The most pages that are read for one list."""


class AmbientSessions(Sessions):
    """Operations on sessions and their states."""

    def __init__(
        self,
        platform: PlatformApi,
        idempotency: IdempotencyStore,
        pending: PendingRuns,
        runs: AmbientRuns,
        *,
        runners: Runners,
        poll_interval: float,
    ) -> None:
        self._runs = runs
        self._poll_interval = poll_interval
        self._platform = platform
        self._idempotency = idempotency
        self._pending = pending
        self._runners = runners
        self._stops = Stops(platform, poll_interval)

    def close(self) -> None:
        """Repeat no stop any more."""
        self._stops.close()

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
        if new.approval_policy is not None or new.mode is not None or new.workspace is not None:
            raise NotSupported
        refuse_attachments(new.attachments)
        texts = [new.task, *(new.environment_variables or {}).values()]
        if any(len(text.encode()) > MAX_VARIABLE_BYTES for text in texts):
            raise NotSupported("The platform takes a task and environment variables of at most 120 KiB each.")
        return await self._idempotency.once(caller, CreatedSession, lambda: self._create(caller, new))

    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        """Return a session once it is neither pending nor working, or after `wait` seconds.

        While it is pending it is read again at each poll interval, while it runs its log is followed.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        session = await self._read(caller, session_id)
        while not session.is_settled and now() < deadline:
            try:
                async with asyncio.timeout_at(deadline):
                    session = await self._read_later(caller, session)
            except TimeoutError:
                session = await self._read(caller, session_id)
        return session

    async def _read(self, caller: Caller, session_id: str) -> Session:
        resource = await self._platform.get_session(caller, session_id)
        session = self._session(caller, resource, session_id)
        if session.status is SessionStatus.RUNNING:
            state, reported = SessionState.of(resource), session.activity
            session.activity = await self._runs.activity(caller, session, state)
            if Activity.WORKING in {reported, session.activity}:
                state = await self._runners.look(caller, session_id, state)
            await self._explain(caller, session, state)
        return session

    async def _explain(self, caller: Caller, session: Session, state: SessionState) -> None:
        """Say why nothing runs in a running session, or for what it waits."""
        if state.fault:
            session.activity, session.error = Activity.IDLE, state.fault
        if session.activity is Activity.WAITING:
            session.waiting_for = await self._runs.waiting_for(caller, session.id, state)

    def _session(self, caller: Caller, resource: Resource, session_id: str) -> Session:
        """Return a session, which is stopping while its stop is repeated."""
        session = mapping.session(resource, session_id)
        if self._stops.is_pending(caller.project, session_id) and session.status in STOPPABLE:
            session.status, session.activity = SessionStatus.STOPPING, None
        return session

    async def _read_later(self, caller: Caller, before: Session) -> Session:
        """Return a session that was pending or working when it may have changed."""
        if before.status is SessionStatus.RUNNING:
            with suppress(BackendError, BackendTimeout, BackendUnavailable, CursorExpired):
                activity = await self._runs.settled_activity(caller, before)
                resource = await self._platform.get_session(caller, before.id)
                session = self._session(caller, resource, before.id)
                session.activity = activity if session.status is SessionStatus.RUNNING else None
                state = await self._runners.look(caller, before.id, SessionState.of(resource))
                await self._explain(caller, session, state)
                return session
        await asyncio.sleep(self._poll_interval)
        return await self._read(caller, before.id)

    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """Change a session in up to four calls and read it back; the one that its state may forbid is the first.

        If a later one fails, the error names what was changed before.
        """
        labels.check_update(patch)
        parts = split_patch(patch)
        if parts.annotations is not None:
            before = mapping.session(await self._platform.get_session(caller, session_id), session_id)
            labels.apply_changes(before.labels or {}, parts.annotations)
        done: list[str] = []
        try:
            if parts.model is not None:
                await self._require_model(caller, parts.model)
                await self._platform.switch_model(caller, session_id, parts.model)
                done.append("model")
            if parts.spec is not None:
                await self._platform.update_spec(caller, session_id, parts.spec)
                done += ["timeout_seconds"] if patch.display_name is None else ["timeout_seconds", "display_name"]
            if parts.display_name is not None:
                await self._platform.rename(caller, session_id, parts.display_name)
                done.append("display_name")
            if parts.annotations is not None:
                await self._platform.annotate(caller, session_id, parts.annotations)
        except ApiError as error:
            if done:
                error.message = f"{error.message.removesuffix('.')}. Before that was changed: {', '.join(done)}."
            raise
        return await self.get_session(caller, session_id)

    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete a session; the platform does not delete its log."""
        await self._platform.delete_session(caller, session_id)
        self._stops.forget(caller.project, session_id)
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

    async def _require_model(self, caller: Caller, model: str) -> None:
        """Raise `BadRequest` for a model that the project does not have: the platform takes any, and runs then fail."""
        known = {each.id for each in await self._platform.models(caller)}
        if known and model not in known:
            detail = Detail("body.model", "must be the id of one of the models that list_agents shows")
            raise BadRequest(details=[detail])

    async def _require_parent(self, caller: Caller, session_id: str) -> None:
        try:
            await self._platform.get_session(caller, session_id)
        except SessionNotFound as error:
            detail = Detail("body.parent_session_id", "must be a session of this project")
            raise BadRequest(details=[detail]) from error

    async def _transition(self, caller: Caller, session_id: str, action: Action) -> Session:
        # The platform accepts a start or stop in every phase, and loses some of them.
        resource = await self._platform.get_session(caller, session_id)
        current = mapping.phase(resource)
        if self._stops.is_pending(caller.project, session_id) and current in STOPPABLE:
            current = SessionStatus.STOPPING
        status = next_status(action, current)
        before = await self._platform.transition(caller, session_id, action)
        if action is Action.START:
            self._stops.forget(caller.project, session_id)
        elif current is SessionStatus.PENDING:
            self._stops.insist(caller, session_id)
        return mapping.in_transition(before, session_id, status)

    async def _page(self, caller: Caller, limit: int, offset: int, search: str | None) -> SessionPage:
        page = await self._platform.list_sessions(caller, limit, offset, search)
        with translate_errors:
            found = mapping.page(page, limit=limit, offset=offset)
        for index, session in enumerate(found.items):
            if self._stops.is_pending(caller.project, session.id) and session.status in STOPPABLE:
                stopping = {"status": SessionStatus.STOPPING, "activity": None}
                found.items[index] = msgspec.structs.replace(session, **stopping)
        return found

    async def _all(self, caller: Caller, search: str | None) -> list[Session]:
        """Return all sessions of the project, read page by page until a page has none that is new."""
        found: dict[str, Session] = {}
        offset = 0
        for _ in range(MAX_PAGES):
            page = await self._page(caller, MAX_PAGE, offset, search)
            before = len(found)
            # A session that is created meanwhile shifts the pages, so that one may come twice.
            found |= {session.id: session for session in page.items if session.id not in found}
            if page.next_offset is None or len(found) == before:
                return list(found.values())
            offset = page.next_offset
        raise BackendUnavailable("The project has too many sessions for a list by status, activity or label.")
