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
from tests.bench.measure import Row, calibration_ms, measured_server, timed
from tests.support.scripted import event

LENGTHS = (100, 10_000, 1_000_000)
LIMIT = 100
REQUESTS = 20
BATCH = 10_000  # events in one transaction


def rows() -> Iterator[Row]:
    """One row for each length of the log."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "data").mkdir()
        _fill(Path(directory) / "data" / "ambient.db")
        with measured_server(Path(directory)) as (server, bearer):
            for length in LENGTHS:
                calibration = calibration_ms()
                path = f"/v1/sessions/s-{length}/output?format=events&after={length - LIMIT}&limit={LIMIT}"
                times, body = timed(server, bearer, path, REQUESTS)
                page = json.loads(body)
                assert page["events"][-1]["value"] == length - 1
                assert len(page["events"]) == LIMIT
                yield Row(f"last page of {length:,} events", REQUESTS, calibration, median(times))


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
