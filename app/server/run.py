"""The HTTP server: its sockets, and uvicorn with every default that matters here set explicitly."""

import contextlib
import errno
import functools
import gc
import math
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from app.server.connections import Connections, backlog
from app.server.protocol import BoundedProtocol

GRACE_SECONDS = 10  # after SIGTERM, for requests in flight
_KILL_SECONDS = 14  # after SIGTERM; a server that still runs then, and does not drain, is killed
_YOUNG_OBJECTS = 10_000  # a high threshold of the garbage collector: requests leave next to nothing that needs it


class ListenError(Exception):
    """The server cannot listen on an address; the message is one line that says why."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of `host`, all on one port. Raises `ListenError`.

    To be called before anything else starts, so that a second server on the same port fails before it does any harm.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, sockaddr[0]) for family, _, _, _, sockaddr in found):
            both = family == socket.AF_INET6 and address == "::" and socket.has_dualstack_ipv6()
            bound = socket.create_server((str(address), port), family=family, backlog=backlog(), dualstack_ipv6=both)
            sockets.append(bound)
            port = bound.getsockname()[1]
    except OSError as error:
        for bound in sockets:
            bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"PORT {port} on {host} is in use; stop what listens there or set another PORT"
            ) from error
        raise ListenError(f"cannot listen on HOST {host}, PORT {port}: {error.strerror}") from error
    return sockets


def configure(app: ASGIApp, *, bounds: Connections | None = None, log_level: str = "info") -> uvicorn.Config:
    """Return the configuration of a server for `app`, with bounds on its connections."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=functools.partial(BoundedProtocol, bounds=bounds),  # type: ignore[arg-type]  # called like a class
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=log_level,
        access_log=False,  # the middleware writes it
        proxy_headers=False,  # uvicorn trusts X-Forwarded-For from loopback; the middleware reads it
        server_header=False,
        backlog=backlog(),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def serve(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    *,
    bounds: Connections | None = None,
    log_level: str = "info",
    drain: float = 0,
) -> None:
    """Serve `app` until SIGTERM or SIGINT, and then finish the requests in flight within GRACE_SECONDS. Blocks.

    The end of its lifespan may take `drain` seconds longer.
    """
    # uvicorn raises the signal again once it is done. Its default action would kill; this exits with status 0.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        _Server(configure(app, bounds=bounds, log_level=log_level), drain).run(sockets=list(sockets))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, drain: float) -> None:
        super().__init__(config)
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve. The objects that exist by then stay, so the garbage collector can skip them."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to stop, within _KILL_SECONDS and those of `drain`."""
        signal.alarm(math.ceil(_KILL_SECONDS + self._drain))
        super().handle_exit(sig, frame)
