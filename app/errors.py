"""Every error that the API answers with; the docstring of a class is its default message.

ApiError
├── BadRequest 400 invalid_request
│   └── MissingProject 400 · ProjectMismatch 400
├── Unauthorized 401 · Forbidden 403 · NotFound 404 · MethodNotAllowed 405 · RequestTimeout 408
├── Conflict 409
│   ├── UnknownState 409 · SessionRunning 409 · SessionStopping 409 · SessionBusy 409
│   ├── RunExists 409 · RunActive 409 · RunEnded 409
│   ├── IdempotencyKeyReused 409 · IdempotencyKeyInUse 409 · IdempotencyOutcomeUnknown 409 · ApprovalClosed 409
│   └── CursorAhead 409
├── PayloadTooLarge 413 · UnsupportedMediaType 415
├── InvalidState 422
│   └── NotRunning · AlreadyRunning · AlreadyEnded · TooManyLabels · NotSupported
├── TooManyRequests 429 · HeadersTooLarge 431
├── InternalError 500 · NotReady 503
└── BackendError (status and text of the platform)
    └── BackendUnavailable 502 · BackendTimeout 504 · StorageUnavailable 503 · StorageFull 507
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Detail(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request: where (`body.messages[0].role`) and what, never the value."""

    location: str
    message: str


class ApiError(Exception):
    """Internal server error."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None, *, details: Sequence[Detail] = ()) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.details = tuple(details)
        super().__init__(self.message)

    @property
    def http_status(self) -> int:
        """The status of the answer."""
        return self.status

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the answer needs besides those of every answer: with what passes, when to come again."""
        return {"Retry-After": "1"} if self.http_status in {429, 503} else {}


class BadRequest(ApiError):
    """The request is not valid."""

    status = 400
    code = "invalid_request"

    def __init__(self, message: str | None = None, *, details: Sequence[Detail] = ()) -> None:
        if details:
            sentence = (message or "The request is not valid.").removesuffix(".")
            message = f"{sentence}: {details[0].location} {details[0].message}."
        super().__init__(message, details=details)


class MissingProject(BadRequest):
    """Project required: send the X-Ambient-Project header."""

    code = "project_required"


class ProjectMismatch(BadRequest):
    """The X-Ambient-Project header names another project than the token."""

    code = "project_mismatch"


class Unauthorized(ApiError):
    """A valid token is required."""

    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110: a 401 names the scheme."""
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    """The token does not permit this."""

    status = 403
    code = "forbidden"


class NotFound(ApiError):
    """Not found."""

    status = 404
    code = "not_found"


class SessionNotFound(NotFound):
    """Session not found."""

    code = "session_not_found"


class RunNotFound(NotFound):
    """Run not found."""

    code = "run_not_found"


class ApprovalNotFound(NotFound):
    """Approval not found."""

    code = "approval_not_found"


class MethodNotAllowed(ApiError):
    """This method is not allowed here."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        self.allow = allow
        super().__init__()

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110: a 405 lists all methods of the path."""
        return {"Allow": self.allow}


class RequestTimeout(ApiError):
    """The request body did not arrive in time."""

    status = 408
    code = "request_timeout"


class Conflict(ApiError):
    """The request conflicts with the present state."""

    status = 409
    code = "conflict"


class UnknownState(Conflict):
    """The session's state is not known yet; try again."""

    code = "session_state_unknown"


class SessionRunning(Conflict):
    """The session is running; stop it first."""

    code = "session_running"


class SessionStopping(Conflict):
    """The session is stopping; start it once it has stopped."""

    code = "session_stopping"


class RunExists(Conflict):
    """A run with this run_id exists already."""

    code = "run_exists"


class SessionBusy(Conflict):
    """The session is busy with another run."""

    code = "session_busy"


class RunActive(Conflict):
    """The run has begun; interrupt the session to end it."""

    code = "run_active"


class RunEnded(Conflict):
    """The run has ended already."""

    code = "run_ended"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was sent with another request before."""

    code = "idempotency_key_reused"


class IdempotencyKeyInUse(Conflict):
    """The first request with this Idempotency-Key is still under way; try again."""

    code = "idempotency_key_in_use"


class IdempotencyOutcomeUnknown(Conflict):
    """The server was cut off from the first request with this Idempotency-Key; see what became of it."""

    code = "idempotency_outcome_unknown"


class ApprovalClosed(Conflict):
    """The approval is answered already or has expired."""

    code = "approval_closed"


class CursorAhead(Conflict):
    """The log ends before this position; read it from the start."""

    code = "cursor_ahead"


class PayloadTooLarge(ApiError):
    """The request body is too large."""

    status = 413
    code = "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The request body must be application/json."""

    status = 415
    code = "unsupported_media_type"


class InvalidState(ApiError):
    """The session's state does not permit this."""

    status = 422
    code = "invalid_state"


class NotRunning(InvalidState):
    """The session is not running."""

    code = "session_not_running"


class AlreadyRunning(InvalidState):
    """The session is running or about to run."""

    code = "session_already_running"


class AlreadyEnded(InvalidState):
    """The session has ended already."""

    code = "session_already_ended"


class TooManyLabels(InvalidState):
    """The session would have more than 64 labels."""

    code = "too_many_labels"


class NotSupported(InvalidState):
    """This backend does not support this."""

    code = "not_supported"


class TooManyRequests(ApiError):
    """Too many requests; slow down."""

    status = 429
    code = "rate_limited"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__()

    @property
    def headers(self) -> dict[str, str]:
        """Whole seconds until a request will be let through."""
        return {"Retry-After": str(self.retry_after)}


class HeadersTooLarge(ApiError):
    """The request's target and headers are too large."""

    status = 431
    code = "headers_too_large"


class InternalError(ApiError):
    """Internal server error."""


class BackendError(ApiError):
    """Request failed."""

    code = "backend_error"

    def __init__(self, message: str | None = None, *, status: int = 500) -> None:
        self.backend_status = status
        super().__init__(message)

    @property
    def http_status(self) -> int:
        """The backend's own status."""
        return self.backend_status


class BackendUnavailable(ApiError):
    """The backend cannot be reached or gave no usable answer."""

    status = 502
    code = "backend_unavailable"


class BackendTimeout(ApiError):
    """The backend did not answer in time."""

    status = 504
    code = "backend_timeout"


class StorageUnavailable(ApiError):
    """The session store cannot be used right now; try again."""

    status = 503
    code = "storage_unavailable"


class NotReady(ApiError):
    """The server cannot serve sessions right now; try again."""

    status = 503
    code = "not_ready"


class StorageFull(ApiError):
    """The session store is full."""

    status = 507
    code = "storage_full"
