"""The form of a probe: a request, byte by byte, and what has to come back."""

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

SECRET = "sekr3t"  # part of values that a response must not repeat
HOST = "Host: api.test"
TOKEN = "Authorization: Bearer token-of-the-tests"
PROJECT = "X-Ambient-Project: demo"
CALLER = (TOKEN, PROJECT)
JSON = "Content-Type: application/json"

BAD, NO_TOKEN, NONE_SUCH, NO_METHOD = "invalid_request", "unauthorized", "not_found", "method_not_allowed"
NO_PROJECT, MISMATCH, NOT_JSON = "project_required", "project_mismatch", "unsupported_media_type"
TOO_LARGE, LONG_HEAD = "payload_too_large", "headers_too_large"


class Probe(NamedTuple):
    """Bytes to send, the status and code of the response, a word of its error, and headers that it must have."""

    name: str
    sent: bytes
    status: int
    code: str = ""
    word: str = ""
    headers: Mapping[str, str] = {}


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request from its first line and its headers; it closes the connection, so that nothing can follow."""
    head = "\r\n".join([line, *headers, "Connection: close", "", ""])
    return head.encode("latin-1") + body


def get(target: str, *headers: str) -> bytes:
    """GET with token and project."""
    return request(f"GET {target} HTTP/1.1", HOST, *CALLER, *headers)


def post(target: str, body: bytes, *headers: str) -> bytes:
    """POST of JSON with token and project; `headers` stand in place of the content type."""
    length = f"Content-Length: {len(body)}"
    return request(f"POST {target} HTTP/1.1", HOST, *CALLER, *(headers or (JSON,)), length, body=body)


def chunked(target: str, body: bytes, *headers: str) -> bytes:
    """POST whose body is sent as it stands, chunk sizes included."""
    return request(f"POST {target} HTTP/1.1", HOST, *CALLER, JSON, *headers, "Transfer-Encoding: chunked", body=body)


def service_account(namespace: str, **claims: Any) -> str:
    """An unsigned service account token; its namespace names the project."""
    parts = [{"alg": "none"}, {"sub": f"system:serviceaccount:{namespace}:robot", **claims}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".sig"
