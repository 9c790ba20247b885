"""An agent that speaks the Agent Client Protocol: one process for a session, one session of the agent for a thread.

A run is one prompt. While the agent works on it, its updates come out of a queue in order; the queue ends with the
agent's response to the prompt:

    prompt ──▶ agent ── updates, permission requests ──▶ UpdateQueue ──▶ Translator ──▶ AG-UI events
                 └── response ── the end of the queue ──────┘

The process is used for the next turn if the agent has responded to the prompt, even to one that was cancelled. If it
does not respond in time, or if anything fails, the process is ended, and the next turn starts a new one.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from acp import schema, text_block

from app.agents.acp.connection import SERVICES, AcpConnection, connect
from app.agents.acp.permissions import PermissionRequest
from app.agents.acp.prompt import build_prompt
from app.agents.acp.sessions import AgentSession, open_session
from app.agents.acp.tolerance import STOP_REASON
from app.agents.acp.translate import Translator, to_usage
from app.agents.acp.updates import UpdateQueue
from app.agents.port import Agent, AgentError, Turn
from app.agents.process_group import agent_environment
from app.agui.events import encode_event
from app.agui.usage import cost_delta

CANCEL_SECONDS = 2.0
LATE_SECONDS = 1.0  # after the response to the prompt, in which an agent's last updates may still come
_ERRORS = frozenset({"error", "failed", "failure"})
_MAX_REASON = 100  # characters


class AcpAgent(Agent):
    """An agent that runs as `command` in the session's workspace.

    It gets the server's environment variables whose names are in `inherited`. Its process group is recorded in the
    directory `records` while it runs. It has to be ready within `start_timeout` seconds, and is
    offered the `services` `fs` and `terminal`, or only one of them, or none.
    """

    def __init__(
        self,
        command: Sequence[str],
        inherited: Sequence[str],
        records: Path,
        start_timeout: float = 180.0,
        services: Collection[str] = SERVICES,
    ) -> None:
        self._services = services
        self._start_timeout = start_timeout
        self._command = command
        self._inherited = inherited
        self._records = records
        self._connection: AcpConnection | None = None
        self._sessions: dict[str, AgentSession] = {}
        """The sessions of the running process, by thread."""

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Prompt the agent with the new messages and yield its updates as events.

        If the iteration is cancelled, so is the prompt; an agent that does not respond within CANCEL_SECONDS is ended.
        """
        ids = {"threadId": turn.input["threadId"], "runId": turn.input["runId"]}
        prompting: asyncio.Task[schema.PromptResponse] | None = None
        try:
            connection, session, text = await self._prepare(turn)
            yield encode_event("RUN_STARTED", **ids, protocolVersion="1.0")
            translator = Translator(connection.client.terminals.output_of)
            updates, permissions = connection.listen(session.session_id, turn.request_approval)
            prompting = asyncio.create_task(
                connection.agent.prompt(session_id=session.session_id, prompt=[text_block(text)])
            )
            prompting.add_done_callback(lambda task: _finish_soon(updates, task))
            while (update := await updates.get()) is not None:
                if isinstance(update, PermissionRequest):
                    permissions.submit(update)
                    continue
                permissions.observe(update)
                for event in translator.events(update):
                    yield event
            with connection.errors():
                response = await prompting
            connection.stop_listening(collect_late=response.stop_reason != "cancelled")
            for event in translator.close():
                yield event
            await connection.end_turn()
            cost = await _add_cost(turn, session, translator.cost)
            yield _terminal_event(ids, response, cost)
        except AgentError:
            await self.close()
            raise
        finally:
            await _complete(self._end_turn(turn.input["threadId"], prompting))

    async def close(self) -> None:
        """End the agent's process group and its terminals."""
        connection, self._connection = self._connection, None
        self._sessions = {}
        if connection:
            await connection.close()

    async def _prepare(self, turn: Turn) -> tuple[AcpConnection, AgentSession, str]:
        """Return a connection, the agent's session for the turn's thread, and the prompt."""
        if self._connection and self._connection.ended:
            await self.close()
        connection, is_new = self._connection, False
        if connection is None:
            environment = agent_environment(self._inherited, turn.environment)
            connection = await connect(
                self._command, turn.workspace, environment, self._records, turn.log, services=self._services
            )
            self._connection, is_new = connection, True
        thread_id = turn.input["threadId"]
        with connection.errors():
            async with asyncio.timeout(self._start_timeout):
                if is_new:
                    await connection.initialize()
                if thread_id not in self._sessions:
                    self._sessions[thread_id] = await open_session(connection, turn)
        session = self._sessions[thread_id]
        text = build_prompt(turn, session.last_message_id)
        if messages := turn.input["messages"]:
            session.last_message_id = messages[-1]["id"]
        await turn.save_state(session.to_state())
        return connection, session, text

    async def _end_turn(self, thread_id: str, prompting: "asyncio.Task[schema.PromptResponse] | None") -> None:
        """Wait until the agent has responded to the prompt, cancelling it if need be; end an agent that does not."""
        connection = self._connection
        if connection:
            connection.stop_listening()
        try:
            if connection and prompting and not prompting.done():
                with suppress(Exception):  # an agent that cannot be reached is ended below
                    cancelling = connection.agent.cancel(session_id=self._sessions[thread_id].session_id)
                    await asyncio.wait_for(cancelling, CANCEL_SECONDS)
                await asyncio.wait({prompting}, timeout=CANCEL_SECONDS)
        finally:
            if prompting and prompting.done() and not prompting.cancelled() and not prompting.exception():
                if connection:
                    await connection.end_turn()
            else:
                if prompting:
                    prompting.cancel()
                await self.close()


def _finish_soon(updates: UpdateQueue, prompting: "asyncio.Task[schema.PromptResponse]") -> None:
    """Mark the end of a turn's updates LATE_SECONDS after the agent's response, or now if there is none."""
    if prompting.cancelled() or prompting.exception() or prompting.result().stop_reason == "cancelled":
        updates.finish()
    else:
        asyncio.get_running_loop().call_later(LATE_SECONDS, updates.finish)


async def _complete(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end even if the caller is cancelled meanwhile."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _add_cost(turn: Turn, session: AgentSession, total: float | None) -> float | None:
    """Save what the agent's session has cost in total, and return what this turn has cost; None if unknown."""
    if total is None:
        return None
    before, session.cost = session.cost, total
    await turn.save_state(session.to_state())
    return cost_delta(before, total)


def _terminal_event(ids: dict[str, str], response: schema.PromptResponse, cost: float | None) -> bytes:
    """Return the end of the run; a stop reason outside of the protocol is reported as the agent wrote it."""
    reason = (response.field_meta or {}).get(STOP_REASON) or response.stop_reason
    usage = to_usage(response.usage)
    if reason == "cancelled":
        return encode_event("RUN_FINISHED", **ids, usage=usage, outcome={"type": "cancelled"})
    result: dict[str, Any] = {"stopReason": reason}
    if cost is not None:
        result["total_cost_usd"] = cost
    if reason.lower() in _ERRORS:
        message = f'The agent ended the turn with the stop reason "{reason[:_MAX_REASON]}".'
        return encode_event("RUN_ERROR", message=message, code="agent_error", usage=usage, result=result)
    return encode_event("RUN_FINISHED", **ids, usage=usage, outcome={"type": "success"}, result=result)
