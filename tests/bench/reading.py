"""Read large responses as fast as possible."""

import http.client
import time
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.bench.subjects import Subject

PIECE = 1 << 20


class Response(NamedTuple):
    """Seconds to the first and to the last byte of a body, and its size in bytes."""

    first: float
    whole: float
    size: int


def read(server: Subject, path: str) -> Response:
    """Read a response, which must be a success."""
    address, first, size = urlsplit(server.url), 0.0, 0
    with closing(http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)) as connection:
        start = time.perf_counter()
        connection.request("GET", path, headers=dict(server.headers))
        reply = connection.getresponse()
        assert reply.status == 200, reply.read()
        while piece := reply.read1(PIECE):
            first = first or time.perf_counter() - start
            size += len(piece)
        assert not reply.length, "the response is incomplete"
        return Response(first, time.perf_counter() - start, size)
