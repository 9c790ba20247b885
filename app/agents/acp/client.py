"""Our side of the protocol: what an agent tells us, and what it may ask of us."""

from collections.abc import Callable
from typing import Any

from acp import schema

from app.agents.acp.permission import Permissions, response
from app.agents.port import DENIED


class Client:
    """Answers one agent; files and terminals are not offered, for it has the workspace itself.

    `heard` takes each session's updates while a turn is under way, `permissions` its questions.
    """

    def __init__(self) -> None:
        self.heard: Callable[[Any], None] | None = None
        self.session_id: str | None = None
        self.permissions: Permissions | None = None

    async def session_update(self, session_id: str, update: Any, **_meta: Any) -> None:
        """Pass on an update of the session whose turn is under way."""
        if self.heard and session_id == self.session_id:
            self.heard(update)

    async def request_permission(
        self,
        session_id: str,
        tool_call: schema.ToolCallUpdate,
        options: list[schema.PermissionOption],
        **_meta: Any,
    ) -> schema.RequestPermissionResponse:
        """Ask whoever decides; nobody does where no turn of that session is under way."""
        if self.permissions is None or session_id != self.session_id:
            return response(DENIED)
        return await self.permissions.request(tool_call, options)
