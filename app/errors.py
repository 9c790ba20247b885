"""Every error that the API responds with. The docstring of a class is its default message.

ApiError
├── BadRequest 400: MissingProject, ProjectMismatch
├── Unauthorized 401
├── Forbidden 403
├── NotFound 404: SessionNotFound, RunNotFound, ApprovalNotFound
├── MethodNotAllowed 405
├── RequestTimeout 408
├── Conflict 409: UnknownState, SessionRunning, SessionStopping, SessionBusy, RunExists, RunActive, RunEnded,
│                 IdempotencyKeyReused, IdempotencyKeyInUse, IdempotencyOutcomeUnknown, ApprovalClosed, CursorExpired
├── PayloadTooLarge 413
├── UnsupportedMediaType 415
├── InvalidState 422: NotRunning, AlreadyRunning, AlreadyEnded, TooManyLabels, NotSupported
├── TooManyRequests 429
├── HeadersTooLarge 431
├── InternalError 500
├── BackendUnavailable 502
├── NotReady 503
├── StorageUnavailable 503
├── BackendTimeout 504
├── StorageFull 507
└── BackendError, with the status and the text of the platform
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Detail(msgspec.Struct, frozen=True):
    """One problem of a request: where, such as `body.messages[0].role`, and which, without the value itself."""

    location: str
    message: str


class ApiError(Exception):
    """The request failed."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None, *, details: Sequence[Detail] = ()) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.details = tuple(details)
        super().__init__(self.message)

    @property
    def http_status(self) -> int:
        """Return the status of the response."""
        return self.status

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the response that are particular to the error; a temporary one says when to retry."""
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
    """The X-Ambient-Project header must name the token's own project, or be left out."""

    code = "project_mismatch"


class Unauthorized(ApiError):
    """A valid token is required: send it as Authorization: Bearer <token>."""

    status = 401
    code = "unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """Return the scheme of the token, as RFC 9110 requires."""
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    """This needs a token with another role or for another project."""

    status = 403
    code = "forbidden"


class NotFound(ApiError):
    """Not found: check the path."""

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
    """This path does not support this method; the Allow header lists those that it does."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        self.allow = allow
        super().__init__()

    @property
    def headers(self) -> dict[str, str]:
        """Return all methods of the path, as RFC 9110 requires."""
        return {"Allow": self.allow}


class RequestTimeout(ApiError):
    """The request body did not arrive in time; send the request again."""

    status = 408
    code = "request_timeout"


class Conflict(ApiError):
    """The request conflicts with the current state."""

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
    """A run with this run_id already exists; use another run_id."""

    code = "run_exists"


class SessionBusy(Conflict):
    """The session is busy with another run; wait for its end, or set on_busy to enqueue or interrupt."""

    code = "session_busy"


class RunActive(Conflict):
    """The run has started; interrupt the session to end it."""

    code = "run_active"


class RunEnded(Conflict):
    """The run has already ended."""

    code = "run_ended"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used for a different request; use a new key."""

    code = "idempotency_key_reused"


class IdempotencyKeyInUse(Conflict):
    """The first request with this Idempotency-Key is still in progress; try again."""

    code = "idempotency_key_in_use"


class IdempotencyOutcomeUnknown(Conflict):
    """The outcome of the first request with this Idempotency-Key is unknown; check it, then retry with a new key."""

    code = "idempotency_outcome_unknown"


class ApprovalClosed(Conflict):
    """The approval has already been decided or has expired."""

    code = "approval_closed"


class CursorExpired(Conflict):
    """The session's log does not have this cursor, or no longer; read the log from its start."""

    code = "cursor_expired"


class PayloadTooLarge(ApiError):
    """The request body is too large."""

    status = 413
    code = "payload_too_large"


class UnsupportedMediaType(ApiError):
    """The request body must be application/json."""

    status = 415
    code = "unsupported_media_type"


class InvalidState(ApiError):
    """The session's state does not allow this."""

    status = 422
    code = "invalid_state"


class NotRunning(InvalidState):
    """The session is not running; wait until it is, or start it."""

    code = "session_not_running"


class AlreadyRunning(InvalidState):
    """The session is already running or about to run."""

    code = "session_already_running"


class AlreadyEnded(InvalidState):
    """The session has already ended."""

    code = "session_already_ended"


class TooManyLabels(InvalidState):
    """A session can have at most 64 labels; remove some first."""

    code = "too_many_labels"


class NotSupported(InvalidState):
    """This backend does not support this."""

    code = "not_supported"


class TooManyRequests(ApiError):
    """Too many requests; wait for as long as Retry-After says."""

    status = 429
    code = "rate_limited"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__()

    @property
    def headers(self) -> dict[str, str]:
        """Return the whole seconds after which a request will be accepted."""
        return {"Retry-After": str(self.retry_after)}


class HeadersTooLarge(ApiError):
    """The request's target and headers are too large; at most 64 KiB are allowed."""

    status = 431
    code = "headers_too_large"


class InternalError(ApiError):
    """Internal server error; report the request_id if it happens again."""


class BackendError(ApiError):
    """Request failed."""

    code = "backend_error"

    def __init__(self, message: str | None = None, *, status: int = 500) -> None:
        self.backend_status = status
        super().__init__(message)

    @property
    def http_status(self) -> int:
        """Return the status of the backend."""
        return self.backend_status


class BackendUnavailable(ApiError):
    """The backend is unreachable or its response was unusable; try again."""

    status = 502
    code = "backend_unavailable"


class BackendTimeout(ApiError):
    """The backend did not respond in time; check whether the request took effect."""

    status = 504
    code = "backend_timeout"


class StorageUnavailable(ApiError):
    """The session store is temporarily unavailable; try again."""

    status = 503
    code = "storage_unavailable"


class NotReady(ApiError):
    """The server cannot serve sessions right now; try again."""

    status = 503
    code = "not_ready"


class StorageFull(ApiError):
    """The session store is full; delete sessions, or ask the operator for more space."""

    status = 507
    code = "storage_full"
