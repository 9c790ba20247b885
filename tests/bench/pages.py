"""The last page of a log, however long the log is."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench import stores
from tests.bench.exports import Written
from tests.bench.latency import WARM_UP, timed
from tests.bench.machine import calibration_ms, cores, cpu_seconds
from tests.bench.result import Row
from tests.bench.subjects import OURS, QUIET, embedded
from tests.support.scripted import event

TITLE = "The last page of a log"
COLUMNS = ("p50 ms", "CPU µs/request", "calibration ms")
LENGTHS = (100, 10_000, 1_000_000)
LIMIT = 100
REQUESTS = 20


def rows() -> Iterator[Row]:
    """One row for each length of the log."""
    with tempfile.TemporaryDirectory() as directory:
        stores.fill(Path(directory), {f"s-{length}": _log(length) for length in LENGTHS})
        with embedded(Path(directory), **QUIET) as server:
            for length in LENGTHS:
                calibration, before = calibration_ms(cores().server), cpu_seconds(server.pid)
                path = f"/v1/sessions/s-{length}/output?format=events&after={length - LIMIT}&limit={LIMIT}"
                times, body = timed(server, path, REQUESTS)
                used = 1e6 * (cpu_seconds(server.pid) - before) / (REQUESTS + WARM_UP)
                page = json.loads(body)
                assert page["events"][-1]["value"] == length - 1
                assert len(page["events"]) == LIMIT
                figures = {"p50 ms": median(times), "CPU µs/request": used, "calibration ms": calibration}
                yield Row(f"last {LIMIT} of {length:,} events", OURS, figures)


def _log(length: int) -> Iterator[Written]:
    return (Written("a-run", event("CUSTOM", value=value)) for value in range(length))
