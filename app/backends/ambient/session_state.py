"""The state of a session as far as its runs depend on it: whether they can go on, and since when."""

from collections.abc import Callable
from functools import lru_cache

import msgspec
from cachetools import TTLCache

from app.backends.ambient import mapping
from app.backends.ambient.api import PlatformApi
from app.backends.ambient.resources import Resource
from app.clock import millis, now_ms
from app.models.caller import Caller
from app.models.sessions import SessionStatus

ALIVE = frozenset({SessionStatus.RUNNING, SessionStatus.STOPPING})
"""The states in which runs of a session go on."""

QUIET_SECONDS = 30.0
"""Seconds without activity after which the runner of an active run is looked for, or is taken to hang if the platform's
backend was restarted."""

LOOK_SECONDS = 5.0
"""Seconds between two checks for a runner. It is gone if two in a row have not found it."""

OBEY_SECONDS = 60.0
"""Seconds within which a runner shows activity after an interrupt, unless it hangs."""

AGENT_STATE_SECONDS = 7.0
"""Seconds after a session's last activity in which the platform may still report that its agent is idle: it caches the
state of an agent for five, and its times are whole seconds."""

RUNNER_GONE = "The session's runner does not respond any more. Stop the session and start it again."
RUNNER_HANGS = "The session has hung since the platform's backend was restarted. Stop the session and start it again."
RUNNER_IGNORES = "The session's runner did not react to an interrupt. Stop the session and start it again."

_MAX_SESSIONS = 10_000
_Key = tuple[str, str, int]


class SessionState(msgspec.Struct, frozen=True):
    """A session's status, and the times, in ms, at which it was last started and last active.

    The times are 0 if the platform does not report them. `fault` says why nothing runs although the status is running:
    the platform does not notice when a runner ends.
    """

    status: SessionStatus | None = None
    since: int = 0
    active_at: int = 0
    fault: str | None = None

    @property
    def alive(self) -> bool:
        """Return whether runs of the session can go on."""
        return self.status in ALIVE and not self.fault

    def may_be_at_work(self) -> bool:
        """Return whether a run may have begun since the platform last determined the state of the agent."""
        return self.active_at > now_ms() - AGENT_STATE_SECONDS * 1000

    @classmethod
    def of(cls, resource: Resource) -> "SessionState":
        """Return the state of a session, on the assumption that its runner is there."""
        since = _time(resource.status.start_time)
        return cls(mapping.phase(resource), since, max(since, _time(resource.status.last_activity_time)))


class Runners:
    """Checks on the runners of sessions whose active runs are silent. `clock` returns seconds since some moment."""

    def __init__(self, platform: PlatformApi, clock: Callable[[], float]) -> None:
        self._platform = platform
        self._clock = clock
        self._missed: TTLCache[_Key, int] = TTLCache(_MAX_SESSIONS, 3600.0, clock)
        self._looked: TTLCache[_Key, bool] = TTLCache(_MAX_SESSIONS, LOOK_SECONDS, clock)
        self._interrupted: TTLCache[_Key, tuple[int, float]] = TTLCache(_MAX_SESSIONS, 24 * 3600.0, clock)

    def note_interrupt(self, caller: Caller, session_id: str, state: SessionState) -> None:
        """Note that an active run was interrupted while its session was in this state."""
        key = _key(caller, session_id, state)
        if self._interrupted.get(key, (None,))[0] != state.active_at:
            self._interrupted[key] = state.active_at, self._clock()

    async def look(self, caller: Caller, session_id: str, state: SessionState) -> SessionState:
        """Return the state of a session with an active run, with the fault of its runner if it has one."""
        quiet = 0 < state.active_at < now_ms() - QUIET_SECONDS * 1000
        if not quiet or state.status is not SessionStatus.RUNNING:
            return state
        key = _key(caller, session_id, state)
        if self._hangs(state):
            return msgspec.structs.replace(state, fault=RUNNER_HANGS)
        if self._ignores_interrupt(key, state):
            return msgspec.structs.replace(state, fault=RUNNER_IGNORES)
        return msgspec.structs.replace(
            state, fault=RUNNER_GONE if await self._is_gone(caller, session_id, key) else None
        )

    def _hangs(self, state: SessionState) -> bool:
        """Return whether nothing has happened since the backend was restarted, which cuts it off from its runners.

        The platform's times are whole seconds. The backend refuses connections until it has restarted, so that a run
        that began after the restart is later than the last refusal.
        """
        gone_at = self._platform.gone_at
        return state.active_at <= gone_at - 1000 and state.since < gone_at < now_ms() - QUIET_SECONDS * 1000

    def _ignores_interrupt(self, key: _Key, state: SessionState) -> bool:
        active_at, interrupted_at = self._interrupted.get(key, (0, 0.0))
        return active_at == state.active_at and self._clock() > interrupted_at + OBEY_SECONDS

    async def _is_gone(self, caller: Caller, session_id: str, key: _Key) -> bool:
        """Return whether the last two checks have not found the runner."""
        if key not in self._looked:
            self._looked[key] = True
            found = await self._platform.has_runner(caller, session_id)
            self._missed[key] = 0 if found else self._missed.get(key, 0) + 1
        return self._missed.get(key, 0) > 1


def _key(caller: Caller, session_id: str, state: SessionState) -> _Key:
    return caller.project, session_id, state.since


def _time(text: str | None) -> int:
    return _millis(text) if text and len(text) <= mapping.MAX_TIME else 0


@lru_cache(maxsize=4096)  # a client that polls a session gets the same times again
def _millis(text: str) -> int:
    return millis(text) or 0
