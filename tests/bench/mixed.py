"""Small requests while one or four clients read logs of 100 MB from the same server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import gateway
from tests.bench.large import HUNDRED, Log, Start, places, target
from tests.bench.load import wrk
from tests.bench.machine import calibration_ms, cores, cpu_seconds, memory_mb
from tests.bench.reading import read
from tests.bench.result import Row, Target
from tests.bench.small import PLATFORM
from tests.bench.subjects import OURS, Subject

TITLE = "Small requests during long reads"
GO = ("vs Go, p99", "vs Go, time", "vs Go, memory")
COLUMNS = ("requests/s", "p50 ms", "p99 ms", "seconds per read", "reads", "CPU s", "peak RSS MB", "calibration ms", *GO)
READERS = (0, 1, 4)
AT_ONCE = 4
SECONDS = 8
FORMAT = "events"
_MAX_P99_MS = 15.0  # with one reader


def rows() -> Iterator[Row | Target]:
    """Yield a row for each number of readers, in front of a platform and on the store."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        _, starts = places(stack, directory, [HUNDRED])
        for place, start in starts.items():
            for readers in READERS:
                case = f"GET session, {readers} reading {HUNDRED.name} {FORMAT}"
                figures = measured(start, HUNDRED, readers)
                yield Row(case, f"{place}: {OURS}", figures)
                if readers == 1 and place == PLATFORM:
                    yield Target(case, "p99 ms", figures["p99 ms"], at_most=_MAX_P99_MS)
            yield Row(f"{AT_ONCE} at once, {HUNDRED.name} {FORMAT}", f"{place}: {OURS}", at_once(start, HUNDRED))


def measured(start: Start, log: Log, readers: int) -> dict[str, float]:
    """Measure one connection with consecutive requests on a new server, while that many clients read in a loop."""
    with start() as server:
        small = f"{server.url}/v1/sessions/{log.session}"
        wrk(small, server.headers, connections=1, seconds=1)
        calibration, before = calibration_ms(cores().server), cpu_seconds(server.pid)
        with _reading(server, target(log, FORMAT), readers) as times:
            load = wrk(small, server.headers, connections=1, seconds=SECONDS)
        figures = {
            "requests/s": load.rate,
            "p50 ms": load.p50_ms,
            "p99 ms": load.p99_ms,
            "CPU s": cpu_seconds(server.pid) - before,
            "peak RSS MB": memory_mb(server.pid, "VmHWM"),
            "calibration ms": calibration,
        }
        if times:
            figures |= {"seconds per read": median(times), "reads": len(times)}
        if theirs := gateway.DURING_READS.get(readers):
            figures["vs Go, p99"] = theirs * calibration / gateway.EXPORTS / load.p99_ms
        return figures


def at_once(start: Start, log: Log) -> dict[str, float]:
    """Measure four reads that start at the same time on a new server."""
    with start() as server:
        calibration, before = calibration_ms(cores().server), cpu_seconds(server.pid)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            times = list(pool.map(lambda _: read(server, target(log, FORMAT)).whole, range(AT_ONCE)))
        seconds, peak = median(times), memory_mb(server.pid, "VmHWM")
        return {
            "seconds per read": seconds,
            "reads": len(times),
            "CPU s": cpu_seconds(server.pid) - before,
            "peak RSS MB": peak,
            "calibration ms": calibration,
            "vs Go, time": gateway.FOUR_AT_ONCE.seconds(calibration) / seconds,
            "vs Go, memory": gateway.FOUR_AT_ONCE.peak_mb / peak,
        }


@contextmanager
def _reading(server: Subject, path: str, readers: int) -> Iterator[list[float]]:
    """Read in a loop in that many threads until the block ends, at least once each; yield the seconds of each read."""
    times: list[float] = []
    ended = threading.Event()

    def loop() -> None:
        times.append(read(server, path).whole)
        while not ended.is_set():
            times.append(read(server, path).whole)

    with ThreadPoolExecutor(max(readers, 1)) as pool:
        loops = [pool.submit(loop) for _ in range(readers)]
        try:
            yield times
        finally:
            ended.set()
    for each in loops:
        each.result()
