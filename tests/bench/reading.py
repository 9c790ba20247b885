"""Large answers, read as fast as they come."""

import http.client
import time
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.bench.subjects import Subject

PIECE = 1 << 20


class Answer(NamedTuple):
    """Seconds to the first byte of the body and to the last, and how many there were."""

    first: float
    whole: float
    size: int


def read(server: Subject, path: str) -> Answer:
    """Read one answer; it has to be a good one."""
    address, first, size = urlsplit(server.url), 0.0, 0
    with closing(http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)) as connection:
        start = time.perf_counter()
        connection.request("GET", path, headers=dict(server.headers))
        response = connection.getresponse()
        assert response.status == 200, response.read()
        while piece := response.read1(PIECE):
            first = first or time.perf_counter() - start
            size += len(piece)
        assert not response.length, "the answer was cut off"
        return Answer(first, time.perf_counter() - start, size)
