"""The rules of a session's states: which action is legal in which state, and where it leads; no input or output."""

from enum import StrEnum

from app.errors import AlreadyEnded, AlreadyRunning, ApiError, NotRunning, SessionStopping, UnknownState
from app.models.sessions import SessionStatus

_PENDING, _RUNNING, _STOPPING = SessionStatus.PENDING, SessionStatus.RUNNING, SessionStatus.STOPPING
_STOPPED, _COMPLETED, _FAILED = SessionStatus.STOPPED, SessionStatus.COMPLETED, SessionStatus.FAILED


class Action(StrEnum):
    """A client's request that depends on the session's state."""

    START = "start"
    STOP = "stop"
    RUN = "run"


class Outcome(StrEnum):
    """The end of a transition that the backend has carried out, or of a workspace or workers that are lost."""

    PROVISIONED = "provisioned"
    NOT_PROVISIONED = "not_provisioned"
    STOPPED = "stopped"
    LOST = "lost"


_NEXT: dict[Action, dict[SessionStatus, SessionStatus]] = {
    Action.START: dict.fromkeys((_STOPPED, _COMPLETED, _FAILED), _PENDING),
    Action.STOP: dict.fromkeys((_PENDING, _RUNNING, _STOPPING), _STOPPING),
    Action.RUN: {_RUNNING: _RUNNING},
}

_REFUSAL: dict[Action, dict[SessionStatus, type[ApiError]]] = {
    Action.START: {_PENDING: AlreadyRunning, _RUNNING: AlreadyRunning, _STOPPING: SessionStopping},
    Action.STOP: dict.fromkeys((_STOPPED, _COMPLETED, _FAILED), AlreadyEnded),
    Action.RUN: dict.fromkeys(SessionStatus, NotRunning),
}

_TRANSITIONS: dict[Outcome, dict[SessionStatus, SessionStatus]] = {
    Outcome.PROVISIONED: {_PENDING: _RUNNING},
    Outcome.NOT_PROVISIONED: {_PENDING: _FAILED},
    Outcome.STOPPED: {_STOPPING: _STOPPED},
    Outcome.LOST: dict.fromkeys((_PENDING, _RUNNING), _FAILED),
}


def next_status(action: Action, status: SessionStatus | None) -> SessionStatus:
    """Return the state that a client's action leads to; None stands for a state that is not known, as UNKNOWN does.

    `AlreadyRunning`, `SessionStopping`, `AlreadyEnded`, `NotRunning`; `UnknownState` where a start or a stop meets a
    state that is not known.
    """
    status = status or SessionStatus.UNKNOWN
    if following := _NEXT[action].get(status):
        return following
    raise _REFUSAL[action].get(status, UnknownState)


def status_on(outcome: Outcome, status: SessionStatus) -> SessionStatus | None:
    """Return the state that the end of a transition leads to, or None if the session has left the state before it."""
    return _TRANSITIONS[outcome].get(status)
