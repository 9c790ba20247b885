"""The platform's adapter, open for the time of a block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.backends.ambient.adapter import AmbientBackend
from app.types import Caller

CALLER = Caller(token="secret-token", project="demo")
ELSEWHERE = Caller(token="secret-token", project="other")


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[AmbientBackend]:
    """An open backend; by default its time limit is one that no healthy answer needs."""
    backend = AmbientBackend(url, **({"timeout": 10.0} | options))
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()
