"""The time from a start to the first response, and the memory of an idle server."""

import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.bench import subjects
from tests.bench.machine import calibration_ms, cores, cpu_seconds, memory_mb, pinned
from tests.bench.result import Row, medians
from tests.bench.subjects import OURS, PEERS
from tests.support.server import LOCALHOST, ROOT, ServerProcess, free_port

TITLE = "Start-up and memory"
COLUMNS = ("first response s", "CPU s", "import s", "idle RSS MB", "calibration ms")
ROUNDS = 5
NOWHERE = "http://127.0.0.1:9"
STORE, NEW, PLATFORM = "existing store", "new store", "platform"


def rows() -> Iterator[Row]:
    """Yield a row for each kind of start, and one for the memory of each peer."""
    found: dict[str, list[dict[str, float]]] = {STORE: [], NEW: [], PLATFORM: []}
    for _ in range(ROUNDS):
        imported = {"import s": _import_seconds()}
        with tempfile.TemporaryDirectory() as directory:
            found[NEW].append(started(Path(directory)) | imported)
            found[STORE].append(started(Path(directory)) | imported)
        with tempfile.TemporaryDirectory() as directory:
            found[PLATFORM].append(started(Path(directory), BACKEND_URL=NOWHERE) | imported)
    for case, rounds in found.items():
        yield Row(case, OURS, medians(rounds))
    for kind in PEERS:
        with subjects.peer(kind) as peer:
            yield Row("no backend", peer.name, {"idle RSS MB": memory_mb(peer.pid)})


def started(directory: Path, **environment: str) -> dict[str, float]:
    """Start a server and return the figures."""
    calibration = calibration_ms(cores().server)
    begun = time.perf_counter()
    with pinned(cores().server):
        server = ServerProcess(directory, port=free_port(), **environment)
    try:
        while not _responds(server.port):
            time.sleep(0.001)
        seconds = time.perf_counter() - begun
        return {
            "first response s": seconds,
            "CPU s": cpu_seconds(server.pid),
            "idle RSS MB": memory_mb(server.pid),
            "calibration ms": calibration,
        }
    finally:
        server.close()


def _responds(port: int) -> bool:
    with closing(http.client.HTTPConnection(LOCALHOST, port, timeout=30)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except ConnectionRefusedError:
            return False


def _import_seconds() -> float:
    """Return how long importing the server's modules takes, without the start of the interpreter."""
    work = "import time\nt = time.perf_counter()\nimport app.factory, app.server.run\nprint(time.perf_counter() - t)"
    with pinned(cores().server):
        output = subprocess.check_output([sys.executable, "-c", work], cwd=ROOT)  # noqa: S603 - our own command
    return float(output)
