"""The rules of a session's life: which step is legal in which state, and where it leads; no input or output."""

from enum import StrEnum

from app.errors import AlreadyEnded, AlreadyRunning, ApiError, NotRunning, SessionStopping, UnknownState
from app.models.sessions import SessionStatus

_PENDING, _RUNNING, _STOPPING = SessionStatus.PENDING, SessionStatus.RUNNING, SessionStatus.STOPPING
_STOPPED, _COMPLETED, _FAILED = SessionStatus.STOPPED, SessionStatus.COMPLETED, SessionStatus.FAILED


class Action(StrEnum):
    """What a client asks for."""

    START = "start"
    STOP = "stop"
    RUN = "run"


class Outcome(StrEnum):
    """What the backend has got done."""

    PREPARED = "prepared"
    NOT_PREPARED = "not_prepared"
    HALTED = "halted"


_NEXT: dict[Action, dict[SessionStatus, SessionStatus]] = {
    Action.START: {_STOPPED: _PENDING, _COMPLETED: _PENDING, _FAILED: _PENDING},
    Action.STOP: {_RUNNING: _STOPPING, _PENDING: _STOPPING, _STOPPING: _STOPPING},
    Action.RUN: {_RUNNING: _RUNNING},
}

_REFUSAL: dict[Action, dict[SessionStatus, type[ApiError]]] = {
    Action.START: {_PENDING: AlreadyRunning, _RUNNING: AlreadyRunning, _STOPPING: SessionStopping},
    Action.STOP: {_STOPPED: AlreadyEnded, _COMPLETED: AlreadyEnded, _FAILED: AlreadyEnded},
    Action.RUN: dict.fromkeys(SessionStatus, NotRunning),
}

_REACHED: dict[Outcome, tuple[SessionStatus, SessionStatus]] = {
    Outcome.PREPARED: (_PENDING, _RUNNING),
    Outcome.NOT_PREPARED: (_PENDING, _FAILED),
    Outcome.HALTED: (_STOPPING, _STOPPED),
}


def next_status(action: Action, status: SessionStatus) -> SessionStatus:
    """The state that a client's action leads to; `AlreadyRunning`, `SessionStopping`, `AlreadyEnded`, `NotRunning`,
    or `UnknownState` where a start or stop meets a state that nothing is known of.
    """
    if following := _NEXT[action].get(status):
        return following
    raise _REFUSAL[action].get(status, UnknownState)


def status_on(milestone: Outcome, status: SessionStatus) -> SessionStatus | None:
    """The state that a milestone leads to, or None if the session has moved on meanwhile."""
    before, following = _REACHED[milestone]
    return following if status is before else None
