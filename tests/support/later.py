"""A server of this API as a later version of v1 may respond: with fields and an error code that clients do not know."""

import json
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIELD = "later_field"
CODE = "later_code"
"""The code of every error with status 400."""

_VALUE = {"of": ["a", "later", "version"]}
_NOT_OURS = {"args", "labels", "response_schema"}
"""Members whose names are not for the API to choose."""


class LaterVersion:
    """Adds a field to every object of the app's responses, and to every event of its streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        response = _Response(send)
        await self._app({**scope, "headers": headers}, receive, response.send)


class _Response:
    """One response: JSON is held until it is complete, events are passed on one by one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}
        self._type = ""
        self._held = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            self._type = Headers(raw=message["headers"]).get("content-type", "")
            if self._type != "application/json":
                await self._send(message)
        elif self._type == "application/json":
            self._held += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_json()
        elif self._type.startswith("text/event-stream"):
            *lines, self._held = (self._held + message.get("body", b"")).split(b"\n")
            await self._send({**message, "body": b"".join(_line(line) + b"\n" for line in lines)})
        else:
            await self._send(message)

    async def _send_json(self) -> None:
        body = b""
        if self._held:  # nothing in a response to HEAD
            value = _extended(json.loads(self._held))
            if self._start["status"] == HTTPStatus.BAD_REQUEST:
                value = {**value, "code": CODE}
            body = json.dumps(value).encode()
        MutableHeaders(raw=self._start["headers"])["content-length"] = str(len(body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})


def _line(line: bytes) -> bytes:
    name, found, value = line.partition(b": ")
    return b"data: " + json.dumps({**json.loads(value), FIELD: _VALUE}).encode() if found and name == b"data" else line


def _extended(node: Any) -> Any:
    match node:
        case dict():
            kept = {name: value if name in _NOT_OURS else _extended(value) for name, value in node.items()}
            return {**kept, FIELD: _VALUE}
        case list():
            return [_extended(item) for item in node]
    return node
