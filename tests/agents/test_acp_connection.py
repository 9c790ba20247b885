"""A connection to an agent: what is left when it ends."""

import asyncio
import os
from pathlib import Path

from app.agents.acp.connection import connect
from app.sandbox.sandbox import Sandbox
from tests.support.sandboxed import room


def open_pipes() -> int:
    """Return how many pipes this process has open."""
    return sum("pipe:" in str(entry.resolve()) for entry in Path("/proc/self/fd").iterdir())


async def test_no_pipe_stays_open_when_the_closing_is_cancelled(tmp_path: Path) -> None:
    async with room(Sandbox(None), tmp_path) as own:
        before = open_pipes()
        connection = await connect(["cat"], own.workspace, {"PATH": os.environ["PATH"]}, own.tree, print)
        assert open_pipes() > before
        closing = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        closing.cancel()
        async with asyncio.timeout(20):
            while open_pipes() > before:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
