"""Errors as responses: which error of the API a failure is, and its JSON body."""

import asyncio

import msgspec
import structlog

from app.errors import ApiError, InternalError, NotReady

STANDARD_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Headers of every response that does not set them itself."""

_LONGEST_CAUSE = 500  # characters

log = structlog.get_logger()


def to_api_error(error: BaseException) -> ApiError:
    """Return the error that a client may see, and log what only the operator may see."""
    if isinstance(error, asyncio.CancelledError):
        return NotReady()  # the server stops and has waited long enough
    if not isinstance(error, ApiError):
        log.error("unexpected_error", exc_info=error)
        return InternalError()
    if error.http_status >= InternalError.status:
        cause = error.__cause__
        # The message of an error and not its arguments, which may hold the data that could not be read.
        fields = {"cause": f"{type(cause).__name__}: {cause}"[:_LONGEST_CAUSE]} if cause else {}
        log.warning("request_failed", code=error.code, **fields)
    return error


def error_response(error: ApiError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and JSON body of an error's response."""
    # A lone surrogate in a message has no UTF-8, and an error's response must not fail.
    message = error.message.encode("utf-8", "replace").decode()
    content: dict[str, object] = {"error": message, "code": error.code, "request_id": request_id}
    if error.details:
        content["details"] = error.details
    body = msgspec.json.encode(content)
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **STANDARD_HEADERS,
        **error.headers,
    }
    return error.http_status, headers, body
