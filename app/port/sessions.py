"""The port's sessions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

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


class Sessions(ABC):
    """Operations on sessions and their states. The duties of `Backend` apply."""

    @abstractmethod
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
        """Return a page of the project's sessions, newest first. (GET /v1/sessions)

        An empty `status` or `activity` admits any; only running sessions have an activity.
        Each `label` is written `key=value`, and all must match.
        """

    @abstractmethod
    async def create_session(self, caller: Caller, new: SessionCreate) -> Idempotent[CreatedSession]:
        """Create a session, whose task becomes its first run, and return it pending or further. (POST /v1/sessions)

        The response has the `run_id` of that run if the backend knows it.

        Raises `BadRequest` for a reserved label, an unknown agent and a parent outside of the project, `NotSupported`,
        `AttachmentNotUsable`.
        """

    @abstractmethod
    async def get_session(self, caller: Caller, session_id: str, *, wait: int = 0) -> Session:
        """Return a session. (GET /v1/sessions/{session_id})

        With `wait` it is returned once it is neither pending nor working, or after that many seconds. It is never idle
        while an accepted run has not ended.
        """

    @abstractmethod
    async def update_session(self, caller: Caller, session_id: str, patch: SessionUpdate) -> Session:
        """Change a session and return it. (PATCH /v1/sessions/{session_id})

        Raises `BadRequest`, `SessionRunning`, `TooManyLabels`, `NotSupported`.
        """

    @abstractmethod
    async def delete_session(self, caller: Caller, session_id: str) -> None:
        """Delete a session, whatever its status. (DELETE /v1/sessions/{session_id})"""

    @abstractmethod
    async def start_session(self, caller: Caller, session_id: str) -> Session:
        """Start a session that has ended, and return it. (POST /v1/sessions/{session_id}/start)

        Raises `AlreadyRunning`, `SessionStopping`, `UnknownState`.
        """

    @abstractmethod
    async def stop_session(self, caller: Caller, session_id: str) -> Session:
        """Stop a session and its runs, and return it stopping or further. (POST /v1/sessions/{session_id}/stop)

        Raises `AlreadyEnded`, `UnknownState`.
        """
