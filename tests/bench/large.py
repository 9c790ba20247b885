"""Long logs: the time, the CPU and the memory of one response, with a new server process for each case."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench import exports, gateway, stores, stub, subjects
from tests.bench.exports import Written
from tests.bench.machine import calibration_ms, cores, cpu_seconds, memory_mb
from tests.bench.reading import read
from tests.bench.result import Row, Target, medians
from tests.bench.small import PLATFORM, STORE
from tests.bench.subjects import OURS, PEERS, QUIET, Subject

TITLE = "Long logs"
COLUMNS = (
    "seconds",
    "first byte s",
    "CPU s",
    "idle RSS MB",
    "peak RSS MB",
    "response MB",
    "calibration ms",
    "vs Go, time",
    "vs Go, memory",
)
READS = 5  # as many as of the gateway
READS_OF_PEERS = 2  # which are slow
FORMATS = ("events", "compact", "transcript", "runs")
CACHED = ("transcript", "runs")  # by a server that has read the same log before


class Log(NamedTuple):
    """A log and the formats to measure."""

    name: str
    session: str
    events: Callable[[], Iterator[Written]]
    formats: Sequence[str] = FORMATS


HUNDRED = Log("100 MB", "log-100", lambda: exports.log(100))
LOGS = (
    Log("1 MB", "log-1", lambda: exports.log(1)),
    Log("10 MB", "log-10", lambda: exports.log(10)),
    HUNDRED,
    Log("100 MB, cumulative snapshots", "log-snapshots", lambda: exports.log(100, cumulative=True)),
    Log("37,000 deltas", "log-message", lambda: exports.one_message(37_000), ("events", "compact")),
)
PEERS_READ = LOGS[1:3]
_TARGETS = {"events": (8, 5), "compact": (6, 5), "transcript": (8, 3), "runs": (8, 3)}

Start = Callable[[], AbstractContextManager[Subject]]


def rows() -> Iterator[Row | Target]:
    """Yield a row for each log in each format, from a platform and from the store."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        platform, starts = places(stack, directory, LOGS)
        for log in LOGS:
            yield Row(f"{log.name} export", platform.name, _direct(platform, log))
            for format in log.formats:
                case = f"{log.name} {format}"
                for place, start in starts.items():
                    yield from _ours(case, place, start, log, format)
                if log in PEERS_READ:
                    figures = measured(lambda: subjects.peer("fastapi", platform), log, format, READS_OF_PEERS)
                    yield Row(case, f"{PLATFORM}: {PEERS['fastapi']}", figures)


def _ours(case: str, place: str, start: Start, log: Log, format: str) -> Iterator[Row | Target]:
    cached = place == PLATFORM and format in CACHED
    found = {case: first(start, log, format) if cached else measured(start, log, format)}
    if cached:
        found[f"{case}, repeated"] = measured(start, log, format, repeated=True)
    for name, figures in found.items():
        yield Row(name, f"{place}: {OURS}", figures)
        if log is HUNDRED and place == PLATFORM:
            yield from _judge(name, figures, format)


def places(stack: ExitStack, directory: Path, logs: Sequence[Log]) -> tuple[Subject, dict[str, Start]]:
    """Return a platform with the logs, and functions that start a server before it and one whose store has the logs."""
    files = {log.session: directory / log.session for log in logs}
    for log in logs:
        exports.write(files[log.session], log.events())
    platform = stack.enter_context(subjects.platform(**files))
    store, other = directory / "store", directory / "other"
    store.mkdir()
    other.mkdir()
    stores.fill(store, {log.session: log.events() for log in logs})
    starts: dict[str, Start] = {
        PLATFORM: lambda: subjects.ambient(other, platform, **QUIET),
        STORE: lambda: subjects.embedded(store, **QUIET),
    }
    return platform, starts


def target(log: Log, format: str) -> str:
    """Return the path of a format."""
    return f"/v1/sessions/{log.session}/{'runs' if format == 'runs' else f'output?format={format}'}"


def first(start: Start, log: Log, format: str) -> dict[str, float]:
    """Return the medians of first reads, each from a new process."""
    return medians([measured(start, log, format, 1) for _ in range(READS)])


def measured(start: Start, log: Log, format: str, reads: int = READS, *, repeated: bool = False) -> dict[str, float]:
    """Return the medians of consecutive reads from a new process, and their ratios to the gateway's figures.

    If `repeated`, the first read is not counted.
    """
    theirs = gateway.READS.get((log.name, format))
    with start() as server:
        idle = memory_mb(server.pid)
        if repeated:
            _read(server, target(log, format))
        found = [_read(server, target(log, format), theirs) for _ in range(reads)]
        peak = memory_mb(server.pid, "VmHWM")
    figures = medians(found) | {"idle RSS MB": idle, "peak RSS MB": peak}
    return figures | ({"vs Go, memory": theirs.peak_mb / peak} if theirs else {})


def _read(server: Subject, path: str, theirs: gateway.Read | None = None) -> dict[str, float]:
    calibration, before = calibration_ms(cores().server), cpu_seconds(server.pid)
    response = read(server, path)
    used = cpu_seconds(server.pid) - before
    calibration = (calibration + calibration_ms(cores().server)) / 2
    return {
        "seconds": response.whole,
        "first byte s": response.first,
        "CPU s": used,
        "response MB": response.size / 1e6,
        "calibration ms": calibration,
        **({"vs Go, time": theirs.seconds(calibration) / response.whole} if theirs else {}),
    }


def _direct(platform: Subject, log: Log) -> dict[str, float]:
    return _read(platform, f"/api/projects/{stub.PROJECT}/agentic-sessions/{log.session}/export")


def _judge(case: str, figures: dict[str, float], format: str) -> Iterator[Target]:
    time, memory = _TARGETS[format]
    yield Target(case, "vs Go, time", figures["vs Go, time"], at_least=time)
    yield Target(case, "vs Go, memory", figures["vs Go, memory"], at_least=memory)
