"""The state of a session as far as its runs depend on it: whether they can go on, and since when."""

from collections.abc import Callable
from functools import lru_cache

import msgspec
from cachetools import LRUCache

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
_Key = tuple[str, str, int]  # project, session, and its last activity in ms


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


class _Silence(msgspec.Struct):
    """A time in which a session shows no activity.

    `missed` is the number of checks in a row that have not found the runner. The last check, and an interrupt of an
    active run, were at these times of the clock.
    """

    missed: int = 0
    looked_at: float | None = None
    interrupted_at: float | None = None


class Runners:
    """Checks on the runners of sessions whose active runs are silent. `clock` returns seconds since some moment."""

    def __init__(self, platform: PlatformApi, clock: Callable[[], float]) -> None:
        self._platform = platform
        self._clock = clock
        self._silences: LRUCache[_Key, _Silence] = LRUCache(_MAX_SESSIONS)

    def note_interrupt(self, caller: Caller, session_id: str, state: SessionState) -> None:
        """Note that an active run was interrupted while its session was in this state."""
        silence = self._silence(caller, session_id, state)
        if silence.interrupted_at is None:
            silence.interrupted_at = self._clock()

    async def look(self, caller: Caller, session_id: str, state: SessionState) -> SessionState:
        """Return the state of a session with an active run, with the fault of its runner if it has one."""
        quiet = 0 < state.active_at < now_ms() - QUIET_SECONDS * 1000
        if not quiet or state.status is not SessionStatus.RUNNING:
            return state
        if self._hangs(state):
            return msgspec.structs.replace(state, fault=RUNNER_HANGS)
        silence = self._silence(caller, session_id, state)
        if self._ignores_interrupt(silence):
            return msgspec.structs.replace(state, fault=RUNNER_IGNORES)
        if await self._is_gone(silence, caller, session_id):
            return msgspec.structs.replace(state, fault=RUNNER_GONE)
        return state

    def _silence(self, caller: Caller, session_id: str, state: SessionState) -> _Silence:
        """Return what has been noted of a session since its last activity."""
        key = caller.project, session_id, state.active_at
        silence = self._silences.get(key)
        if silence is None:
            silence = self._silences[key] = _Silence()
        return silence

    def _hangs(self, state: SessionState) -> bool:
        """Return whether nothing has happened since the backend was restarted, which cuts it off from its runners.

        The platform's times are whole seconds. The backend refuses connections until it has restarted, so that a run
        that began after the restart is later than the last refusal.
        """
        gone_at = self._platform.gone_at
        return state.active_at <= gone_at - 1000 and state.since < gone_at < now_ms() - QUIET_SECONDS * 1000

    def _ignores_interrupt(self, silence: _Silence) -> bool:
        return silence.interrupted_at is not None and self._clock() > silence.interrupted_at + OBEY_SECONDS

    async def _is_gone(self, silence: _Silence, caller: Caller, session_id: str) -> bool:
        """Return whether the last two checks have not found the runner."""
        now = self._clock()
        if silence.looked_at is None or now >= silence.looked_at + LOOK_SECONDS:
            silence.looked_at = now
            found = await self._platform.has_runner(caller, session_id)
            silence.missed = 0 if found else silence.missed + 1
        return silence.missed > 1


def _time(text: str | None) -> int:
    return _millis(text) if text and len(text) <= mapping.MAX_TIME else 0


@lru_cache(maxsize=4096)  # a client that polls a session gets the same times again
def _millis(text: str) -> int:
    return millis(text) or 0
