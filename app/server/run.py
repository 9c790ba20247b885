"""The HTTP server: sockets bound first, then uvicorn with every default that matters here set by hand."""

import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from app.server.protocol import BoundedProtocol

GRACE_SECONDS = 10  # for requests in flight after SIGTERM
_LAST_SECONDS = 14  # after SIGTERM; whatever still hangs then is ended by force
_BACKLOG = 2048
_YOUNG_OBJECTS = 10_000  # that the garbage collector waits for; requests leave next to nothing that needs it


class ListenError(Exception):
    """One line: why the address cannot be listened on."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`, all on the same port; raises ListenError.

    Listening begins here, before anything else starts: a second server on the same port fails before it does harm.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, sockaddr[0]) for family, _, _, _, sockaddr in found):
            both = family == socket.AF_INET6 and address == "::" and socket.has_dualstack_ipv6()
            bound = socket.create_server((str(address), port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
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


def configure(app: ASGIApp, *, log_level: str = "info") -> uvicorn.Config:
    """How `app` is served, wherever its server runs."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=log_level,
        access_log=False,  # the edge writes it
        proxy_headers=False,  # uvicorn would believe X-Forwarded-For from loopback; the edge reads it
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def serve(app: ASGIApp, sockets: Sequence[socket.socket], *, log_level: str = "info") -> None:
    """Serve `app` until SIGTERM or SIGINT; blocks. Requests in flight get GRACE_SECONDS."""
    # uvicorn raises the signal again when it is done, which by default kills: exit status 0 is meant.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        _Server(configure(app, log_level=log_level)).run(sockets=list(sockets))


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve. What is there by then stays, so the garbage collector need not look at it again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop, and make sure that it ends."""
        signal.alarm(_LAST_SECONDS)
        super().handle_exit(sig, frame)
