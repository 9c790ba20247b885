"""The latency of single requests with pauses between them."""

import http.client
import time
from contextlib import closing
from urllib.parse import urlsplit

from tests.bench.subjects import Subject

WARM_UP = 5  # requests
PAUSE = 0.017  # seconds between requests, so that they do not fall only between two bursts of a busy server


def timed(server: Subject, path: str, count: int) -> tuple[list[float], bytes]:
    """Return the sorted times in ms of `count` consecutive GET requests on one connection, and the last body."""
    times = []
    address = urlsplit(server.url)
    with closing(http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)) as connection:
        for _ in range(WARM_UP + count):
            time.sleep(PAUSE)
            start = time.perf_counter()
            connection.request("GET", path, headers=dict(server.headers))
            response = connection.getresponse()
            body = response.read()
            times.append(1000 * (time.perf_counter() - start))
            assert response.status == 200, body
    return sorted(times[WARM_UP:]), body
