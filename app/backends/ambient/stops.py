"""Stops that last: the platform loses those of sessions that it is just bringing up."""

import asyncio

import structlog

from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.errors import ApiError, Forbidden, SessionNotFound, Unauthorized
from app.lifecycle import Action
from app.models.caller import Caller

GIVE_UP_SECONDS = 900.0
"""Seconds for which a stop is repeated."""

_BEFORE_STOP = (None, "Pending", "Creating", "Initializing", "Running", "Active")
log = structlog.get_logger()


class Stops:
    """The stops of sessions that were pending. Each is sent again, by this process, until the session stops."""

    def __init__(self, platform: PlatformApi, interval: float) -> None:
        self._platform = platform
        self._interval = interval
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def is_pending(self, project: str, session_id: str) -> bool:
        """Return whether a stop of the session has been accepted and has not begun."""
        return (project, session_id) in self._tasks

    def insist(self, caller: Caller, session_id: str) -> None:
        """Send the stop of a session again until it has begun, in the background."""
        key = caller.project, session_id
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._repeat(caller, session_id))

    def forget(self, project: str, session_id: str) -> None:
        """Send the stop of a session no more."""
        if task := self._tasks.pop((project, session_id), None):
            task.cancel()

    def close(self) -> None:
        """Send nothing more."""
        for project, session_id in list(self._tasks):
            self.forget(project, session_id)

    async def _repeat(self, caller: Caller, session_id: str) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while not await self._has_begun(caller, session_id):  # noqa: ASYNC110 - no signal to wait for
                    await asyncio.sleep(self._interval)
        except (ApiError, TimeoutError) as error:
            log.warning("stop_not_repeated", session_id=session_id, reason=type(error).__name__)
        finally:
            self._tasks.pop((caller.project, session_id), None)

    async def _has_begun(self, caller: Caller, session_id: str) -> bool:
        try:
            resource = await self._platform.get_session(caller, session_id)
            if resource.status.phase not in _BEFORE_STOP:
                return True
            if not mapping.is_stop_noted(resource):
                await self._platform.transition(caller, session_id, Action.STOP)
        except SessionNotFound:
            return True
        except (Unauthorized, Forbidden):
            raise
        except ApiError:
            return False
        return False
