"""Access: what a token may do."""

from app.models.caller import Caller, Identity
from app.port.backend import Backend


async def whoami(backend: Backend, caller: Caller) -> Identity:
    """Read what the token may do, and what this server can do."""
    return await backend.whoami(caller)
