"""The platform backend for tests of the adapter alone, without a server around it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.backends.ambient.backend import AmbientBackend
from app.backends.ambient.live_logs import LiveLogs
from app.backends.ambient.runs import AmbientRuns
from app.models.caller import Caller
from tests.support.platform import FakePlatform

CALLER = Caller(token="secret-token", project="demo")
OTHER_PROJECT = Caller(token="secret-token", project="other")
LONG_AGO = "2026-01-01T00:00:00Z"
NO_FILE = Path("/dev/null/idempotency.db")


class Clock:
    """A clock that goes on only when a test sets it, for the platform and the adapter alike; in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def live_logs(backend: AmbientBackend) -> LiveLogs:
    """Return the logs that a backend follows."""
    assert isinstance(backend.runs, AmbientRuns)
    return backend.runs._live


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition, of which nothing tells, is true."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def caught_up(platform: FakePlatform) -> None:
    """Wait until a log that is followed has its stream, and is not read again although its session is looked at."""
    start = len(platform.operations())

    await until(lambda: platform.streams and platform.operations()[start:][-3:] == ["get"] * 3)


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[AmbientBackend]:
    """Yield an open backend, whose time limit is longer than any healthy response takes."""
    arguments: dict[str, Any] = {"timeout": 10.0, "idempotency_file": NO_FILE} | options
    backend = AmbientBackend(url, **arguments)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()
