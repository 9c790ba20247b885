"""Where the server's time goes: py-spy's samples by file or library.

Only samples that hold the interpreter lock count. A separate row shows the CPU time of other threads than the main one.
"""

import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import exports, large, small
from tests.bench.large import Log, Start
from tests.bench.load import wrk
from tests.bench.machine import cores, cpu_seconds, main_thread_seconds, pinned
from tests.bench.reading import read
from tests.bench.result import Row
from tests.bench.subjects import Subject

TITLE = "Where the time goes"
COLUMNS = ("% of samples", "samples", "% of CPU")
SECONDS = 5
RATE = 400  # samples per second
SHOWN = 12
LOOP = "event loop and sockets"
EMPTY = (small.STORE, small.LIST)  # a store with one log has no list to speak of
LOG = Log("10 MB", "log-10", lambda: exports.log(10))
STARTERS = (
    "app/__main__.py",
    "app/cli/serve.py",
    "app/server/run.py",
    "typer/",
    "uvicorn/server.py",
    "uvicorn/_compat.py",
)
_FRAME = re.compile(r"\((?P<file>[^()]*?)(?::\d+)?\)$")


def rows() -> Iterator[Row]:
    """Yield the largest layers of each small request, and of each format of a long log."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        _, starts = large.places(stack, directory, [LOG])
        for place, start in starts.items():
            for case in small.CASES:
                if case.connections == small.CONNECTIONS and (place, case.name) != EMPTY:
                    yield from _profiled(f"{place}: {case.name}", start, _requests(case, place))
            for format in large.FORMATS:
                yield from _profiled(f"{place}: {LOG.name} {format}", start, _reads(large.target(LOG, format)))


def shares(stacks: str) -> Counter[str]:
    """Count samples by layer, from py-spy's lines of stacks; a sample counts for the innermost frame with a layer."""
    found: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        layers = (layer(frame) for frame in reversed(frames.split(";")))
        found[next((name for name in layers if name), LOOP)] += int(count)
    return found


def layer(frame: str) -> str | None:
    """Return the project's file or the library of a frame; None for the standard library and start-up code."""
    match = _FRAME.search(frame)
    file = match["file"] if match else ""
    package = file.partition("/")[0].removesuffix(".py")
    if not package or package.startswith("<") or package in sys.stdlib_module_names or file.startswith(STARTERS):
        return None
    return file if package in {"app", "handlers"} else package


def _profiled(case: str, start: Start, work: Callable[[Subject], None]) -> Iterator[Row]:
    with start() as server, TemporaryDirectory() as directory:
        output = Path(directory) / "stacks"
        worker = threading.Thread(target=work, args=(server,))
        worker.start()
        program = Path(sys.executable).with_name("py-spy")
        command = [str(program), "record", "--pid", str(server.pid), "--duration", str(SECONDS), "--rate", str(RATE)]
        with pinned(cores().other):
            command += ["--gil", "--format", "raw", "--output", str(output)]
            before = cpu_seconds(server.pid), main_thread_seconds(server.pid)
            done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
            used, by_main = cpu_seconds(server.pid) - before[0], main_thread_seconds(server.pid) - before[1]
        worker.join()
        assert done.returncode == 0, done.stderr
        found = shares(output.read_text())
    yield Row(case, "CPU of other threads than the main one", {"% of CPU": 100 * (1 - by_main / used)})
    for name, samples in found.most_common(SHOWN):
        yield Row(case, name, {"% of samples": 100 * samples / found.total(), "samples": samples})


def _requests(case: small.Case, place: str) -> Callable[[Subject], None]:
    def work(server: Subject) -> None:
        with small.path_of(case, place, server) as path:
            url = f"{server.url}{path}"
            wrk(url, server.headers, connections=case.connections, seconds=SECONDS + 1, body=case.body)

    return work


def _reads(path: str) -> Callable[[Subject], None]:
    def work(server: Subject) -> None:
        elapsed = 0.0
        while elapsed < SECONDS + 1:
            elapsed += read(server, path).whole

    return work
