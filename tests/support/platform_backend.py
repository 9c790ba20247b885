"""The platform backend for tests of the adapter alone, without a server around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.backends.ambient.backend import AmbientBackend
from app.models.caller import Caller

CALLER = Caller(token="secret-token", project="demo")
OTHER_PROJECT = Caller(token="secret-token", project="other")
NO_FILE = Path("/dev/null/idempotency.db")


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
