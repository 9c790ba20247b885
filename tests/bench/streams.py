"""A small request while event streams are open: first idle, then with a run that streams to all of them."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.bench.latency import timed
from tests.bench.machine import calibration_ms, cores, cpu_seconds, memory_mb, pinned
from tests.bench.result import Row
from tests.bench.subjects import OURS, QUIET, Subject, embedded
from tests.support.deadline import eventually
from tests.support.server import ROOT

TITLE = "A small request during event streams"
COLUMNS = ("p50 ms", "p99 ms", "CPU, % of a core", "RSS MB", "calibration ms")
COUNTS = (0, 1, 100, 1000)
REQUESTS = 200


def rows() -> Iterator[Row]:
    """Yield two rows for each number of streams, each on a new server."""
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as directory, embedded(Path(directory), **QUIET) as server:
            yield from _with_streams(server, count)


def _with_streams(server: Subject, count: int) -> Iterator[Row]:
    session = server.create("hello")
    path = f"/v1/sessions/{session}"
    eventually(lambda: server.runs(session), lambda statuses: statuses == ["completed"])
    log = requests.get(f"{server.url}{path}/output?format=events", headers=server.headers, timeout=10).json()["events"]
    with _readers(server, f"{path}/events?after={len(log)}", count) as readers:
        assert readers.stdout
        assert readers.stdout.readline() == "open\n"
        yield _row(f"{count:,} open, idle", server, path)
        message = {"content": "slow 3000"}
        requests.post(
            f"{server.url}{path}/message", json=message, headers=server.headers, timeout=10
        ).raise_for_status()
        assert readers.stdout.readline() == "reached\n"
        eventually(lambda: server.runs(session), lambda statuses: "running" in statuses)
        yield _row(f"{count:,} open, a run with 10 events/s", server, path)
        assert "running" in server.runs(session), "the run ended before the measurement"


def _row(case: str, server: Subject, path: str) -> Row:
    calibration, before, begun = calibration_ms(cores().server), cpu_seconds(server.pid), time.perf_counter()
    times, _ = timed(server, path, REQUESTS)
    used = (cpu_seconds(server.pid) - before) / (time.perf_counter() - begun)
    figures = {
        "p50 ms": times[len(times) // 2],
        "p99 ms": times[len(times) * 99 // 100],
        "CPU, % of a core": 100 * used,
        "RSS MB": memory_mb(server.pid),
        "calibration ms": calibration,
    }
    return Row(case, OURS, figures)


@contextmanager
def _readers(server: Subject, target: str, count: int) -> Iterator["subprocess.Popen[str]"]:
    port = server.url.rpartition(":")[2]
    with pinned(cores().load):
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "tests.bench.readers", port, target, str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        assert process.stdin
        process.stdin.write(f"{server.headers['Authorization']}\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()
