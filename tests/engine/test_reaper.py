"""The sweeps of a worker while its database is away."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.engine.cluster.disk import Disk
from app.engine.cluster.jobs import JobQueue
from app.engine.cluster.reaper import Reaper
from app.errors import StorageUnavailable
from tests.support.scripted import make_backend


class Away:
    """A database that cannot be reached."""

    async def read(self, *_arguments: Any) -> Any:
        raise StorageUnavailable


@pytest.mark.parametrize("steps", range(5))
async def test_a_reaper_that_is_hurried_as_it_is_cancelled_ends(tmp_path: Path, steps: int) -> None:
    config = make_backend(tmp_path)._config
    database: Any = Away()
    reaper = Reaper(database, JobQueue("postgresql://"), Disk(tmp_path, "worker"), "worker", config)
    sweeping = asyncio.create_task(reaper.run())
    await asyncio.sleep(0)
    reaper.hurry()
    for _ in range(steps):
        await asyncio.sleep(0)
    sweeping.cancel()
    assert await asyncio.wait({sweeping}, timeout=10) == ({sweeping}, set())
