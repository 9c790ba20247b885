"""Large workspaces: a list of many files, changes in them, and an archive of much more than may be held in memory."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from tests.bench import subjects
from tests.bench.machine import calibration_ms, cores, cpu_seconds, memory_mb
from tests.bench.operations import TASK
from tests.bench.reading import read
from tests.bench.result import Row, Target
from tests.bench.small import STORE
from tests.bench.subjects import OURS, QUIET, Subject

TITLE = "Large workspaces"
COLUMNS = ("seconds", "first byte s", "CPU s", "memory MB", "response MB", "calibration ms")
FILES = 100_000
DIRECTORIES = 1_000
ARCHIVE_MB = 1_000
ARCHIVED_FILES = 20
_MAX_MEMORY_MB = 64.0  # beyond that of the idle server


def rows() -> Iterator[Row | Target]:
    """Yield a row for each operation, and a target for the memory that an archive takes."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        with subjects.embedded(directory, **QUIET) as server:
            path = _session(server)
            workspace = directory / "data" / "workspaces" / "demo" / path.rpartition("/")[2]
            _many(workspace / "many")
            listed = _measured(server, f"{path}/workspace/files?limit=100000&path=many")
            yield Row(f"list {FILES:,} files", f"{STORE}: {OURS}", listed)
            for case in ("first", "second"):
                figures = _measured(server, f"{path}/workspace/diff?limit=1")
                yield Row(f"compare {FILES:,} files, {case} time", f"{STORE}: {OURS}", figures)
            _large(workspace / "large")
            for format in ("tar.gz", "zip"):
                figures = _measured(server, f"{path}/workspace/archive?format={format}&path=large")
                case = f"{ARCHIVE_MB / 1000:g} GB as {format}"
                yield Row(case, f"{STORE}: {OURS}", figures)
                yield Target(case, "memory MB", figures["memory MB"], at_most=_MAX_MEMORY_MB)


def _session(server: Subject) -> str:
    """Return the path of a session whose workspace is there."""
    sessions = f"{server.url}/v1/sessions"
    created = requests.post(sessions, json={"task": TASK}, headers=server.headers, timeout=60)
    path = f"/v1/sessions/{created.json()['id']}"
    assert (
        requests.get(f"{server.url}{path}?wait=60", headers=server.headers, timeout=120).json()["status"] == "running"
    )
    return path


def _measured(server: Subject, path: str) -> dict[str, float]:
    """Read a response; its memory is what the server's greatest has grown beyond the memory before."""
    calibration, cpu, memory = calibration_ms(cores().server), cpu_seconds(server.pid), memory_mb(server.pid)
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # resets the greatest
    response = read(server, path)
    return {
        "seconds": response.whole,
        "first byte s": response.first,
        "CPU s": cpu_seconds(server.pid) - cpu,
        "memory MB": memory_mb(server.pid, "VmHWM") - memory,
        "response MB": response.size / 1e6,
        "calibration ms": (calibration + calibration_ms(cores().server)) / 2,
    }


def _many(directory: Path) -> None:
    for number in range(FILES):
        if number < DIRECTORIES:
            (directory / f"{number:04}").mkdir(parents=True)
        (directory / f"{number % DIRECTORIES:04}" / f"{number:06}.txt").write_text(f"{number}\n")


def _large(directory: Path) -> None:
    directory.mkdir()
    piece = os.urandom(2**20)
    for number in range(ARCHIVED_FILES):
        with (directory / f"{number}.bin").open("wb") as file:
            for _ in range(ARCHIVE_MB // ARCHIVED_FILES):
                file.write(piece)
