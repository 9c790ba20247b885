"""From nothing to the first answer, and what a server holds that has nothing to do."""

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

TITLE = "Start and rest"
COLUMNS = ("first answer s", "CPU s", "import s", "RSS at rest MB", "calibration ms")
ROUNDS = 5
NOWHERE = "http://127.0.0.1:9"
STORE, NEW, PLATFORM = "store that is there", "new store", "platform"


def rows() -> Iterator[Row]:
    """A row for each kind of start, and for the memory of each peer."""
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
            yield Row("no backend", peer.name, {"RSS at rest MB": memory_mb(peer.pid)})


def started(directory: Path, **environment: str) -> dict[str, float]:
    """The figures of one start."""
    calibration = calibration_ms(cores().server)
    begun = time.perf_counter()
    with pinned(cores().server):
        server = ServerProcess(directory, port=free_port(), **environment)
    try:
        while not _answers(server.port):
            time.sleep(0.001)
        taken = time.perf_counter() - begun
        return {
            "first answer s": taken,
            "CPU s": cpu_seconds(server.pid),
            "RSS at rest MB": memory_mb(server.pid),
            "calibration ms": calibration,
        }
    finally:
        server.close()


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection(LOCALHOST, port, timeout=30)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except ConnectionRefusedError:
            return False


def _import_seconds() -> float:
    """How long the server's modules take, without the interpreter's own start."""
    work = "import time\nt = time.perf_counter()\nimport app.factory, app.server.run\nprint(time.perf_counter() - t)"
    with pinned(cores().server):
        told = subprocess.check_output([sys.executable, "-c", work], cwd=ROOT)  # noqa: S603 - our own command
    return float(told)
