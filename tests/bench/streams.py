"""A small request while event streams are open: first they are idle, then one run streams to all of them."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import requests

from tests.bench.measure import Row, calibration_ms, measured_server, resident_mib, timed
from tests.support.deadline import eventually
from tests.support.server import ROOT, ServerProcess

COUNTS = (0, 100, 1000)
REQUESTS = 200


def rows() -> Iterator[Row]:
    """Two rows for each number of streams, on a new server each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as directory, measured_server(Path(directory)) as (server, bearer):
            yield from _with_streams(server, bearer, count)


def _with_streams(server: ServerProcess, bearer: str, count: int) -> Iterator[Row]:
    calibration = calibration_ms()
    headers = {"Authorization": bearer}
    created = requests.post(f"{server.url}/v1/sessions", json={"task": "hello"}, headers=headers, timeout=10).json()
    path = f"/v1/sessions/{created['id']}"
    session = f"{server.url}{path}"

    def runs() -> list[str]:
        found = requests.get(f"{session}/runs", headers=headers, timeout=10).json()["runs"]
        return [run["status"] for run in found]

    eventually(runs, lambda statuses: statuses == ["completed"])
    log = requests.get(f"{session}/output?format=events", headers=headers, timeout=10).json()["events"]
    with _readers(server, bearer, f"{path}/events?after={len(log)}", count) as readers:
        assert readers.stdout
        assert readers.stdout.readline() == "open\n"
        yield _row(f"{count:,} streams, idle", calibration, server, bearer, path)
        body = {"content": "slow 3000"}
        requests.post(f"{session}/message", json=body, headers=headers, timeout=10).raise_for_status()
        assert readers.stdout.readline() == "reached\n"
        eventually(runs, lambda statuses: "running" in statuses)
        yield _row(f"{count:,} streams of a run that says 10 events/s", calibration, server, bearer, path)
        assert "running" in runs(), "the run ended before the measurement"


def _row(case: str, calibration: float, server: ServerProcess, bearer: str, path: str) -> Row:
    times, _ = timed(server, bearer, path, REQUESTS)
    return Row(case, REQUESTS, calibration, median(times), times[REQUESTS * 99 // 100], resident_mib(server))


@contextmanager
def _readers(server: ServerProcess, bearer: str, target: str, count: int) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "tests.bench.readers", str(server.port), target, str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin
        process.stdin.write(f"{bearer}\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()
