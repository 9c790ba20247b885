"""A connection to an agent: what is left when it ends."""

import asyncio
import os
from pathlib import Path
from typing import Any

from app.agents.acp.connection import connect
from app.models.approvals import DENIED, ApprovalDecision, ApprovalRequest
from app.sandbox.sandbox import Sandbox
from tests.support.processes import open_pipes
from tests.support.sandboxed import room


async def test_an_update_between_the_end_of_a_turn_and_its_last_look_comes_with_the_next_turn(tmp_path: Path) -> None:
    async def deny(_request: ApprovalRequest) -> ApprovalDecision:
        return DENIED

    async def say(text: str) -> None:
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        await connection._on_update({"sessionId": "s", "update": update}, 100)

    async def text() -> str:
        update: Any = await updates.get()
        return str(update.content.text)

    async with room(Sandbox(None), tmp_path) as own:
        connection = await connect(["cat"], own.workspace, {"PATH": os.environ["PATH"]}, own.tree, print)
        updates, _ = connection.listen("s", deny)
        await say("in time")
        assert await text() == "in time"
        updates.finish()
        await say("late")
        assert await updates.get() is None
        await say("later")
        connection.stop_listening(collect_late=True)
        await say("latest")
        updates, _ = connection.listen("s", deny)
        assert [await text() for _ in range(3)] == ["late", "later", "latest"]
        await connection.close()


async def test_no_pipe_stays_open_when_the_closing_is_cancelled(tmp_path: Path) -> None:
    async with room(Sandbox(None), tmp_path) as own:
        before = len(open_pipes())
        connection = await connect(["cat"], own.workspace, {"PATH": os.environ["PATH"]}, own.tree, print)
        assert len(open_pipes()) > before
        closing = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        closing.cancel()
        async with asyncio.timeout(20):
            while len(open_pipes()) > before:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
