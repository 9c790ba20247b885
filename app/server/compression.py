"""Compressed answers: zstd or gzip, whichever the client likes better."""

import asyncio
from functools import lru_cache, partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type, remove_compress_type
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

MINIMUM_BYTES = 4096
"""A shorter body is sent as it is."""
SLICE_BYTES = 65_536
"""What is compressed at once, about 0.1 ms of zstd and 0.3 to 1.5 ms of gzip: then it is the others' turn."""

_CODINGS = ("zstd", "gzip")  # of those that a client likes equally well the first is taken
_LONGEST = 256  # characters of an Accept-Encoding that is taken seriously


class Compressed:
    """`app` with its answers in the coding that the request prefers; event streams stay as they are."""

    def __init__(self, app: ASGIApp) -> None:
        add_compress_type("application/yaml")
        remove_compress_type("text/event-stream")
        coded = partial(CompressMiddleware, _sliced(app), minimum_size=MINIMUM_BYTES, brotli=False)
        self._app = app
        self._coded = {"zstd": coded(zstd_level=1, gzip=False), "gzip": coded(gzip_level=1, zstd=False)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; one that takes no coding of ours makes no detour."""
        app = self._app
        if scope["type"] == "http" and (accepted := scope["head"].headers.get("accept-encoding")):
            app = self._coded.get(preferred(",".join(accepted)), app)
        await app(scope, receive, send)


@lru_cache(maxsize=128)
def preferred(accepted: str) -> str:
    """The best coding by this value of Accept-Encoding: one of ours, or `identity` for none."""
    qualities = parse_accept_header(accepted[:_LONGEST], Accept)
    best = max(_CODINGS, key=qualities.quality)
    quality = qualities.quality(best)
    return best if quality and quality >= qualities.quality("identity") else "identity"


def _sliced(app: ASGIApp) -> ASGIApp:
    async def sliced(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_slices(message: Message) -> None:
            body: bytes = message.get("body", b"")
            sent = 0
            while len(body) - sent > SLICE_BYTES:
                piece = body[sent : sent + SLICE_BYTES]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)
                sent += SLICE_BYTES
            await send({**message, "body": body[sent:]} if sent else message)

        await app(scope, receive, send_slices)

    return sliced
