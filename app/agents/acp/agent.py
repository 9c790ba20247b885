"""An ACP agent: one process for each session, one ACP session for each thread, one prompt for each turn."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from acp import schema, text_block

from app.agents.acp.connection import AcpConnection, connect
from app.agents.acp.permissions import Request
from app.agents.acp.prompt import Conversation, prompt
from app.agents.acp.sessions import open_session
from app.agents.acp.translate import Translator, usage
from app.agents.port import Agent, AgentError, Turn
from app.agui.events import encode_event
from app.agui.usage import cost_delta

CANCEL_SECONDS = 2.0
START_SECONDS = 60.0


class AcpAgent(Agent):
    """Runs `command` in the session's workspace; `names` are variables that it sees of this service's environment.

    Its process is written down in the directory `records` for as long as it runs.
    """

    def __init__(self, command: Sequence[str], names: Sequence[str], records: Path) -> None:
        self._command = command
        self._names = names
        self._records = records
        self._link: AcpConnection | None = None

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Prompt the agent with what is new and yield what it does as AG-UI events.

        Cancelled, the agent is asked to stop, and ended if it does not within CANCEL_SECONDS.
        """
        ids = {"threadId": turn.input["threadId"], "runId": turn.input["runId"]}
        prompting: asyncio.Task[schema.PromptResponse] | None = None
        try:
            link, conversation, text = await self._ready(turn)
            yield encode_event("RUN_STARTED", **ids, protocolVersion="1.0")
            translator = Translator(link.client.terminals.output_of)
            updates, permissions = link.listen(conversation.session_id, turn.request_approval)
            prompting = asyncio.create_task(
                link.connection.prompt(session_id=conversation.session_id, prompt=[text_block(text)])
            )
            prompting.add_done_callback(lambda _task: updates.finish())
            while (update := await updates.get()) is not None:
                if isinstance(update, Request):
                    permissions.put(update)
                    continue
                permissions.observe(update)
                for each in translator.events(update):
                    yield each
            with link.errors():
                answer = await prompting
            for each in translator.close():
                yield each
            await link.end_turn()
            spent = await _add_cost(turn, conversation, translator.cost)
            yield encode_event("RUN_FINISHED", **ids, usage=usage(answer.usage), **_outcome(answer.stop_reason, spent))
        except AgentError:
            await self.close()
            raise
        finally:
            await _whole(self._end_turn(turn.input["threadId"], prompting))

    async def close(self) -> None:
        """End the agent's process, all that it has started in its group, and its terminals."""
        link, self._link = self._link, None
        if link:
            await link.close()

    async def _ready(self, turn: Turn) -> tuple[AcpConnection, Conversation, str]:
        """A connection with an ACP session for the turn's thread, and what to say in it."""
        if self._link and self._link.closed:
            await self.close()
        fresh = self._link is None
        link = self._link = self._link or await connect(self._command, self._names, self._records, turn)
        thread = turn.input["threadId"]
        with link.errors():
            async with asyncio.timeout(START_SECONDS):
                if fresh:
                    await link.initialize()
                if thread not in link.conversations:
                    link.conversations[thread] = await open_session(link, turn)
        conversation = link.conversations[thread]
        text = prompt(turn, conversation.told)
        if messages := turn.input["messages"]:
            conversation.told = messages[-1]["id"]
        await turn.save_state(conversation.memory())
        return link, conversation, text

    async def _end_turn(self, thread: str, prompting: "asyncio.Task[schema.PromptResponse] | None") -> None:
        """Bring the agent to the end of its turn: where it has not answered, it is asked to give up, or ended."""
        link = self._link
        if link:
            link.stop_listening()
        try:
            if link and prompting and not prompting.done():
                with suppress(Exception):  # an agent that cannot be asked is ended below
                    cancelling = link.connection.cancel(session_id=link.conversations[thread].session_id)
                    await asyncio.wait_for(cancelling, CANCEL_SECONDS)
                await asyncio.wait({prompting}, timeout=CANCEL_SECONDS)
        finally:
            if prompting and prompting.done() and not prompting.cancelled() and not prompting.exception():
                if link:
                    await link.end_turn()
            else:
                if prompting:
                    prompting.cancel()
                await self.close()


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end: who closes a turn may cancel it as well, and that must not cost the agent its life."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _add_cost(turn: Turn, conversation: Conversation, cost: float | None) -> float | None:
    """What the turn cost in dollars, where the agent tells what its whole session has cost so far."""
    if cost is None:
        return None
    before, conversation.cost = conversation.cost, cost
    await turn.save_state(conversation.memory())
    return cost_delta(before, cost)


def _outcome(reason: str, spent: float | None) -> dict[str, Any]:
    if reason == "cancelled":
        return {"outcome": {"type": "cancelled"}}
    result: dict[str, Any] = {"stopReason": reason}
    if spent is not None:
        result["total_cost_usd"] = spent
    return {"outcome": {"type": "success"}, "result": result}
