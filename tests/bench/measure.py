"""What the benchmarks share: rows of figures, a server to measure, and a clock around its requests."""

import http.client
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.server import LOCALHOST, ServerProcess, run_command, server_process

WARM_UP = 5  # requests
PAUSE = 0.017  # seconds between requests: without, most would fall between two bursts of a busy server


class Row(NamedTuple):
    """The figures of one case: milliseconds of a request, MiB that the server holds; None where not measured.

    `calibration_ms` was taken before the server had anything to do.
    """

    case: str
    requests: int
    calibration_ms: float
    p50_ms: float
    p99_ms: float | None = None
    rss_mib: float | None = None


@contextmanager
def measured_server(directory: Path) -> Iterator[tuple[ServerProcess, str]]:
    """A server of the embedded backend without a limit on its rate, and the header that lets a client in."""
    rate = "1000000"
    with server_process(directory, RATE_LIMIT_RPS=rate, RATE_LIMIT_BURST=rate, LOG_LEVEL="error") as server:
        made = run_command(directory, "keys", "create", "--project", "demo", "--role", "admin")
        yield server, f"Bearer {made.stdout.strip()}"


def timed(server: ServerProcess, bearer: str, path: str, count: int) -> tuple[list[float], bytes]:
    """Sorted times in ms of `count` GET requests, one by one on one connection, and the last body."""
    times = []
    with closing(http.client.HTTPConnection(LOCALHOST, server.port, timeout=60)) as connection:
        for _ in range(WARM_UP + count):
            time.sleep(PAUSE)
            start = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": bearer})
            response = connection.getresponse()
            body = response.read()
            times.append(1000 * (time.perf_counter() - start))
            assert response.status == 200, body
    return sorted(times[WARM_UP:]), body


def resident_mib(server: ServerProcess) -> float:
    """The physical memory that the server holds now."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kib) / 1024


def calibration_ms() -> float:
    """How long this machine takes for the same piece of Python: figures of two machines, or hours, compare by it."""
    start = time.perf_counter()
    sum(i * i for i in range(1_500_000))
    return 1000 * (time.perf_counter() - start)
