"""The last page of a log, however long the log is."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from app.backends.embedded import events, sessions
from app.backends.embedded.database import migrate
from app.backends.embedded.sqlite import writing_engine
from app.types import NewSession
from tests.bench.latency import timed
from tests.bench.machine import calibration_ms, cores
from tests.bench.result import Row
from tests.bench.subjects import OURS, QUIET, embedded
from tests.support.scripted import event

TITLE = "The last page of a log"
COLUMNS = ("p50 ms", "calibration ms")
LENGTHS = (100, 10_000, 1_000_000)
LIMIT = 100
REQUESTS = 20
BATCH = 10_000  # events in one transaction


def rows() -> Iterator[Row]:
    """One row for each length of the log."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "data").mkdir()
        _fill(Path(directory) / "data" / "ambient.db")
        with embedded(Path(directory), **QUIET) as server:
            for length in LENGTHS:
                calibration = calibration_ms(cores().server)
                path = f"/v1/sessions/s-{length}/output?format=events&after={length - LIMIT}&limit={LIMIT}"
                times, body = timed(server, path, REQUESTS)
                page = json.loads(body)
                assert page["events"][-1]["value"] == length - 1
                assert len(page["events"]) == LIMIT
                figures = {"p50 ms": median(times), "calibration ms": calibration}
                yield Row(f"last {LIMIT} of {length:,} events", OURS, figures)


def _fill(file: Path) -> None:
    engine = writing_engine(file)
    migrate(engine)
    for length in LENGTHS:
        with engine.begin() as connection:
            session = sessions.add(
                connection, session_id=f"s-{length}", project="demo", request=NewSession(task="t"), created_at=1
            )
        for start in range(0, length, BATCH):
            values = range(start, min(start + BATCH, length))
            with engine.begin() as connection:
                events.append(connection, session.number, 1, [event("CUSTOM", value=value) for value in values])
    engine.dispose()
