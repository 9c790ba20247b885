"""Our side of the protocol: what an agent tells us, and what it may ask of us."""

from collections.abc import Callable
from typing import Any, Literal

from acp import schema

_ALLOW: tuple[str, ...] = ("allow_once", "allow_always")
_DENY: tuple[str, ...] = ("reject_once", "reject_always")


class Client:
    """Answers one agent; files and terminals are not offered, for it has the workspace itself.

    `heard` takes each session's updates while a turn is under way. A question for permission gets the session's policy.
    """

    def __init__(self) -> None:
        self.heard: Callable[[Any], None] | None = None
        self.session_id: str | None = None
        self.allow = False

    async def session_update(self, session_id: str, update: Any, **_meta: Any) -> None:
        """Pass on an update of the session whose turn is under way."""
        if self.heard and session_id == self.session_id:
            self.heard(update)

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[schema.PermissionOption], **_meta: Any
    ) -> schema.RequestPermissionResponse:
        """Choose the least of the options that fit the policy; cancel where there is none."""
        del session_id, tool_call
        for kind in _ALLOW if self.allow else _DENY:
            for option in options:
                if option.kind == kind:
                    chosen = schema.AllowedOutcome(outcome=_SELECTED, option_id=option.option_id)
                    return schema.RequestPermissionResponse(outcome=chosen)
        return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome=_CANCELLED))


_SELECTED: Literal["selected"] = "selected"
_CANCELLED: Literal["cancelled"] = "cancelled"
