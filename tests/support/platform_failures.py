"""Answers that the fake platform can be told to give instead of its own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Reaction = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(status: int, body: Any = None, *, content_type: str = "application/json", **headers: str) -> Reaction:
    """Answer so: a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def react(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=content, content_type=content_type, headers=headers)

    return react


def error(status: int, text: str, **more: str) -> Reaction:
    """Answer with an error as the platform words it."""
    return answer(status, {"error": text, **more})


html = answer(200, b"<html><body>Sign in</body></html>", content_type="text/html")
redirect = answer(302, b"", Location="/api/projects/elsewhere/agentic-sessions/secret")


async def drop(request: web.Request) -> web.StreamResponse:
    """Cut the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def hang(_request: web.Request) -> web.StreamResponse:
    """Never answer; the client's leaving ends it."""
    await asyncio.Event().wait()
    raise AssertionError


async def stall(request: web.Request) -> web.StreamResponse:
    """Send a head and the beginning of a body, and nothing more."""
    await _begun(request, b'{"aguiEvents":[', **{"Content-Length": "1000"})
    await asyncio.Event().wait()
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    """Send a head and the beginning of a body, then cut the connection."""
    response = await _begun(request, b'{"aguiEvents":[', **{"Content-Length": "1000"})
    if request.transport is not None:
        request.transport.close()
    return response


def breaking_off(begun: bytes) -> Reaction:
    """Send a head and the beginning of a body without a length, then cut the connection."""

    async def react(request: web.Request) -> web.StreamResponse:
        response = await _begun(request, begun)
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


async def _begun(request: web.Request, begun: bytes, **headers: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", **headers})
    await response.prepare(request)
    await response.write(begun)
    return response


async def trickle(request: web.Request) -> web.StreamResponse:
    """Answer an empty export byte by byte, two seconds long."""
    body = b'{"aguiEvents":[]}'
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    for byte in body:
        await response.write(bytes([byte]))
        await asyncio.sleep(2 / len(body))
    return response
