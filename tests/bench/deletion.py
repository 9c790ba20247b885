"""Messages while a session with a long log is deleted from the same store."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from tests.bench import exports, stores, subjects
from tests.bench.machine import calibration_ms, cores
from tests.bench.operations import TASK, Client, Sent
from tests.bench.result import Row, Target
from tests.bench.small import SLOW, STORE
from tests.bench.subjects import OURS, QUIET

TITLE = "Messages beside a deletion"
COLUMNS = ("messages", "p50 ms", "p99 ms", "journal MB", "calibration ms")
EVENTS = 300_000
MESSAGES = 400
PAUSE = 0.005  # seconds between messages, so that they fall into all of the deletion
LONG = "long"
_MAX_FACTOR = 3.0


def rows() -> Iterator[Row | Target]:
    """Yield a row for messages alone and one for messages while EVENTS events are deleted."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        stores.fill(directory, {LONG: exports.one_message(EVENTS)})
        with subjects.embedded(directory, **QUIET) as server, closing(Client(server)) as client:
            session = client.session(SLOW, "running")
            alone = _measured(client, session, directory)
            yield Row("send_message alone", f"{STORE}: {OURS}", alone)
            client.send(Sent("DELETE", f"/v1/sessions/{LONG}"))
            beside = _measured(client, session, directory)
            case = f"send_message while {EVENTS:,} events are deleted"
            yield Row(case, f"{STORE}: {OURS}", beside)
            yield Target(case, "p99 ms", beside["p99 ms"], at_most=_MAX_FACTOR * alone["p99 ms"])


def _measured(client: Client, session: str, directory: Path) -> dict[str, float]:
    times = []
    for _ in range(MESSAGES):
        time.sleep(PAUSE)
        begun = time.perf_counter()
        client.send(Sent("POST", f"{session}/message", {"content": TASK}))
        times.append(1000 * (time.perf_counter() - begun))
    return {
        "messages": MESSAGES,
        "p50 ms": median(times),
        "p99 ms": quantiles(times, n=100)[-1],
        "journal MB": (directory / "data" / "ambient.db-wal").stat().st_size / 1e6,
        "calibration ms": calibration_ms(cores().server),
    }
