"""The last page of logs of different lengths."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import quote

import requests

from tests.bench.exports import Written
from tests.bench.large import Log, places
from tests.bench.latency import WARM_UP, timed
from tests.bench.machine import calibration_ms, cores, cpu_seconds
from tests.bench.result import Row
from tests.bench.subjects import OURS, Subject
from tests.support.scripted import event

TITLE = "The last page of a log"
COLUMNS = ("p50 ms", "CPU µs/request", "calibration ms")
LENGTHS = (100, 10_000, 1_000_000)
LIMIT = 100
LARGEST_PAGE = 10_000
REQUESTS = 20


def rows() -> Iterator[Row]:
    """Yield a row for each length of the log, in the store and on a platform from which it has been read before."""
    logs = {f"s-{length}": partial(_log, length) for length in LENGTHS}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, starts = places(stack, directory, [Log(name, name, log) for name, log in logs.items()])
        for place, start in starts.items():
            with start() as server:
                for length in LENGTHS:
                    yield Row(f"last {LIMIT} of {length:,} events", f"{place}: {OURS}", _last_page(server, length))


def _last_page(server: Subject, length: int) -> dict[str, float]:
    after = _cursor(server, length - LIMIT, f"/v1/sessions/s-{length}/output?format=events")
    calibration, before = calibration_ms(cores().server), cpu_seconds(server.pid)
    path = f"/v1/sessions/s-{length}/output?format=events&limit={LIMIT}{after}"
    times, body = timed(server, path, REQUESTS)
    used = 1e6 * (cpu_seconds(server.pid) - before) / (REQUESTS + WARM_UP)
    page = json.loads(body)
    assert page["events"][-1]["value"] == length - 1
    assert len(page["events"]) == LIMIT
    return {"p50 ms": median(times), "CPU µs/request": used, "calibration ms": calibration}


def _cursor(server: Subject, events: int, path: str) -> str:
    """Return the part of a query with the cursor after so many events, found page by page as clients do."""
    after = ""
    while events:
        response = requests.get(
            f"{server.url}{path}&limit={min(events, LARGEST_PAGE)}{after}", headers=server.headers, timeout=60
        )
        page = response.json()
        events -= len(page["events"])
        after = f"&after={quote(page['next_after'])}"
    return after


def _log(length: int) -> Iterator[Written]:
    return (Written("a-run", event("CUSTOM", value=value)) for value in range(length))
