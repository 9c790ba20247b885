"""Generate load with wrk, on a core of its own."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.bench.machine import cores, pinned

SCRIPT = Path(__file__).with_name("load.lua")


class Load(msgspec.Struct, frozen=True):
    """The result of wrk; `refused` counts statuses of 400 and above, `broken` connection errors."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """The number of responses per second."""
        return self.requests / self.seconds


def wrk(url: str, headers: Mapping[str, str], *, connections: int, seconds: int, body: str | None = None) -> Load:
    """Send the same request repeatedly over that many connections; every response must be a success."""
    program = shutil.which("wrk")
    assert program, "wrk is missing: make bench installs it"
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT)]
    command += [argument for header in headers.items() for argument in ("-H", ": ".join(header))]
    command += [url, *(() if body is None else ("--", body))]
    with pinned(cores().load):
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own command
    load = msgspec.json.decode(done.stdout.splitlines()[-1], type=Load)
    assert load.requests, done.stdout
    assert not load.refused + load.broken, done.stdout
    return load
