"""Reactions that replace a response of the fake platform: errors, odd responses, and connections that fail.

platform.next("get", failures.error(503, "Try later"), failures.disconnect)
platform.always("export", failures.hang)
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Reaction = Callable[[web.Request], Awaitable[web.StreamResponse]]


def respond(
    status: int,
    body: Any = None,
    *,
    content_type: str = "application/json",
    charset: str | None = None,
    **headers: str,
) -> Reaction:
    """Respond with a status and a body; one that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def react(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=content, content_type=content_type, charset=charset, headers=headers)

    return react


def error(status: int, text: str, **more: str) -> Reaction:
    """Respond with an error in the platform's form."""
    return respond(status, {"error": text, **more})


html = respond(200, b"<html><body>Sign in</body></html>", content_type="text/html")
redirect = respond(302, b"", Location="/api/projects/elsewhere/agentic-sessions/secret")


async def disconnect(request: web.Request) -> web.StreamResponse:
    """Close the connection without a response."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def hang(_request: web.Request) -> web.StreamResponse:
    """Never respond, until the client closes the connection."""
    await asyncio.Event().wait()
    raise AssertionError


async def stall(request: web.Request) -> web.StreamResponse:
    """Send a head and the beginning of a body, then nothing more."""
    await _start(request, b'{"aguiEvents":[', **{"Content-Length": "1000"})
    await asyncio.Event().wait()
    raise AssertionError


async def truncate(request: web.Request) -> web.StreamResponse:
    """Send a head and the beginning of a body, then close the connection."""
    response = await _start(request, b'{"aguiEvents":[', **{"Content-Length": "1000"})
    if request.transport is not None:
        request.transport.close()
    return response


def truncate_after(beginning: bytes) -> Reaction:
    """Send a head without a length and the beginning of a body, then close the connection."""

    async def react(request: web.Request) -> web.StreamResponse:
        response = await _start(request, beginning)
        if request.transport is not None:
            request.transport.close()
        return response

    return react


class Endless:
    """Responds with an export that repeats an event without end; `closed` once its reader has closed the connection."""

    def __init__(self, event: bytes, status: int = 200) -> None:
        self.closed = False
        self._status = status
        self._events = b",".join([event] * 100) + b","

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """React to one request."""
        response = web.StreamResponse(status=self._status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"aguiEvents":[')
        try:
            while True:
                await response.write(self._events)
        finally:
            self.closed = True


async def _start(request: web.Request, beginning: bytes, **headers: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", **headers})
    await response.prepare(request)
    await response.write(beginning)
    return response


async def trickle(request: web.Request) -> web.StreamResponse:
    """Send an empty export byte by byte, which takes two seconds."""
    body = b'{"aguiEvents":[]}'
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    for byte in body:
        await response.write(bytes([byte]))
        await asyncio.sleep(2 / len(body))
    return response
