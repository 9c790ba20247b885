"""Compressed responses: zstd or gzip, whichever the client prefers."""

import asyncio
from functools import lru_cache, partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type, remove_compress_type
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

MINIMUM_BYTES = 4096
"""A shorter body is sent uncompressed."""
SLICE_BYTES = 65_536
"""Compressed without a pause, in about 0.1 ms by zstd and 0.3 to 1.5 ms by gzip; then other requests get a turn."""

_CODINGS = ("zstd", "gzip")  # the first of those that a client likes equally well is used
_LONGEST = 256  # characters of Accept-Encoding that are read


class Compression:
    """An app in three versions: its responses uncompressed, as zstd and as gzip. Event streams are never compressed."""

    def __init__(self, app: ASGIApp) -> None:
        add_compress_type("application/yaml")
        remove_compress_type("text/event-stream")
        compressed = partial(CompressMiddleware, _in_slices(app), minimum_size=MINIMUM_BYTES, brotli=False)
        self._apps: dict[str, ASGIApp] = {
            "identity": app,
            "zstd": compressed(zstd_level=1, gzip=False),
            "gzip": compressed(gzip_level=1, zstd=False),
        }

    def preferred(self, accepted: str) -> ASGIApp:
        """Return the app whose responses have the coding that this value of Accept-Encoding prefers."""
        return self._apps[preferred_coding(accepted)]


@lru_cache(maxsize=128)
def preferred_coding(accepted: str) -> str:
    """Return `zstd`, `gzip` or `identity`, whichever this value of Accept-Encoding prefers; `*` stands for gzip."""
    qualities = parse_accept_header(accepted[:_LONGEST], Accept)
    # `*` is sent by clients that know gzip and do not know zstd.
    names_zstd = any(name.lower() == "zstd" for name, _ in qualities)
    best = max(_CODINGS if names_zstd else _CODINGS[1:], key=qualities.quality)
    quality = qualities.quality(best)
    return best if quality and quality >= qualities.quality("identity") else "identity"


def _in_slices(app: ASGIApp) -> ASGIApp:
    """Wrap an app whose long bodies shall be compressed slice by slice, with a turn for other requests in between."""

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
