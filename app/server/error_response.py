"""Errors as JSON responses."""

import msgspec

from app.errors import ApiError

MAX_HEADER_BYTES = 65_536


def error_response(error: ApiError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and JSON body of an error's answer."""
    # A lone surrogate in a message is not UTF-8; the answer must not fail because of it.
    message = error.message.encode("utf-8", "replace").decode()
    content: dict[str, object] = {"error": message, "code": error.code, "request_id": request_id}
    if error.details:
        content["details"] = error.details
    body = msgspec.json.encode(content)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    return error.http_status, headers, body
