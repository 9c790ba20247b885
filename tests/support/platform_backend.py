"""The platform's adapter, open for the time of a block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app.backends.ambient.backend import AmbientBackend
from app.models.caller import Caller

CALLER = Caller(token="secret-token", project="demo")
ELSEWHERE = Caller(token="secret-token", project="other")
NOWHERE = Path("/dev/null/idempotency.db")


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[AmbientBackend]:
    """An open backend; by default its time limit is one that no healthy answer needs."""
    arguments: dict[str, Any] = {"timeout": 10.0, "answers": NOWHERE} | options
    backend = AmbientBackend(url, **arguments)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()
