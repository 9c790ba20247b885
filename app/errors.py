"""Every error that the API responds with. The docstring of a class is its default message."""

import re
from collections.abc import Sequence
from typing import ClassVar

import msgspec

_WORD = re.compile(r"(?<!^)(?=[A-Z])")  # where the name of a class has the next one


class Detail(msgspec.Struct, frozen=True):
    """One problem of a request: where, such as `body.messages[0].role`, and which, without the value itself."""

    location: str
    message: str


class ApiError(Exception):
    """The request failed."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    caller: str | None = None
    """Who was refused, if that is known; for the audit log, not for the response."""
    project: str | None = None
    """The project of who was refused, as `caller`."""

    def __init_subclass__(cls) -> None:
        """Derive the code of an error from the name of its class, unless the class has one of its own."""
        if "code" not in vars(cls):
            cls.code = _WORD.sub("_", cls.__name__).lower()

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


class Unauthorized(ApiError):
    """A valid token is required: send it as Authorization: Bearer <token>."""

    status = 401

    @property
    def headers(self) -> dict[str, str]:
        """Return the scheme of the token, as RFC 9110 requires."""
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ApiError):
    """This needs a token with another role or for another project."""

    status = 403


class OriginNotAllowed(Forbidden):
    """Pages of this origin may not change anything with a token that a proxy adds."""


class NotFound(ApiError):
    """Not found: check the path."""

    status = 404


class SessionNotFound(NotFound):
    """Session not found."""


class RunNotFound(NotFound):
    """Run not found."""


class ApprovalNotFound(NotFound):
    """Approval not found."""


class WorkspaceFileNotFound(NotFound):
    """The workspace has no such file, or the path leads out of it."""

    code = "file_not_found"


class MethodNotAllowed(ApiError):
    """This path does not support this method; the Allow header lists those that it does."""

    status = 405

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


class Conflict(ApiError):
    """The request conflicts with the current state."""

    status = 409


class UnknownState(Conflict):
    """The session's state is not known yet; try again."""

    code = "session_state_unknown"


class SessionRunning(Conflict):
    """The session is running; stop it first."""


class SessionStopping(Conflict):
    """The session is stopping; start it once it has stopped."""


class RunExists(Conflict):
    """A run with this run_id already exists; use another run_id."""


class SessionBusy(Conflict):
    """The session is busy with another run; wait for its end, or set on_busy to enqueue or interrupt."""


class RunActive(Conflict):
    """The run has started; interrupt the session to end it."""


class RunEnded(Conflict):
    """The run has already ended."""


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used for a different request; use a new key."""


class IdempotencyKeyInUse(Conflict):
    """The first request with this Idempotency-Key is still in progress; try again."""


class IdempotencyOutcomeUnknown(Conflict):
    """The outcome of the first request with this Idempotency-Key is unknown; check it, then retry with a new key."""


class ApprovalClosed(Conflict):
    """The approval has already been decided or has expired."""


class CursorExpired(Conflict):
    """The session's log does not have this cursor, or no longer; read the log from its start."""


class WorkspaceNotReady(Conflict):
    """The session has no workspace yet, or no longer."""


class FileChanged(Conflict):
    """The file changed while it was read; read it again."""


class RemoteMoved(Conflict):
    """The branch of the repository has commits that the workspace has not; use another branch, or merge them there."""


class PayloadTooLarge(ApiError):
    """The request body is too large."""

    status = 413


class UnsupportedMediaType(ApiError):
    """The request body must be application/json."""

    status = 415


class RangeNotSatisfiable(ApiError):
    """The file has no bytes in this range; Content-Range gives its size."""

    status = 416

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__()

    @property
    def headers(self) -> dict[str, str]:
        """Return the size of the file, as RFC 9110 recommends."""
        return {"Content-Range": f"bytes */{self.size}"}


class InvalidState(ApiError):
    """The session's state does not allow this."""

    status = 422


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


class NotSupported(InvalidState):
    """This backend does not support this."""


class WrongFileType(InvalidState):
    """The path is not of the type that this operation requires (file or directory)."""


class AttachmentNotUsable(InvalidState):
    """An attachment cannot be given to the agent."""

    def __init__(self, message: str | None = None, *, details: Sequence[Detail] = ()) -> None:
        if details:
            message = f"An attachment cannot be given to the agent: {details[0].location} {details[0].message}."
        super().__init__(message, details=details)


class PushFailed(InvalidState):
    """The push failed."""


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


class TooManyStreams(ApiError):
    """The token holds too many event streams and long polls open; close some of them."""

    status = 429


class TooManySessions(ApiError):
    """The project has too many sessions that have not ended; stop or delete some of them."""

    status = 429


class HeadersTooLarge(ApiError):
    """The request's target and headers are too large; at most 64 KiB are allowed."""

    status = 431


class InternalError(ApiError):
    """Internal server error; report the request_id if it happens again."""


class BackendError(ApiError):
    """Request failed."""

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


class BackendTimeout(ApiError):
    """The backend did not respond in time; check whether the request took effect."""

    status = 504


class StorageUnavailable(ApiError):
    """The session store is temporarily unavailable; try again."""

    status = 503


class WorkspaceUnavailable(ApiError):
    """The machine with the session's workspace is away; try again."""

    status = 503


class NotReady(ApiError):
    """The server cannot serve sessions right now; try again."""

    status = 503


class TooManyConnections(ApiError):
    """Too many connections; close some of them, or try again."""

    status = 503


class StorageFull(ApiError):
    """The session store is full; delete sessions, or ask the operator for more space."""

    status = 507


class ProjectQuotaExceeded(ApiError):
    """The project has stored as much as it may; delete sessions, or ask the operator for more space."""

    status = 507


class WorkspaceQuotaExceeded(ApiError):
    """The workspaces take as much of the disk as they may; delete sessions, or ask the operator for more space."""

    status = 507


class SessionQuotaExceeded(ApiError):
    """The session has stored as much as it may; go on in a new one."""

    status = 507
