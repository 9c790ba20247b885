"""An agent that speaks the Agent Client Protocol: one process for a session, one session of the agent for a thread.

A run is one prompt. While the agent works on it, its updates come out of a queue in order; the queue ends with the
agent's response to the prompt:

    prompt ──▶ agent ── updates, permission requests ──▶ UpdateQueue ──▶ Translator ──▶ AG-UI events
                 └── response ── the end of the queue ──────┘

The process is used for the next turn if the agent has responded to the prompt, even to one that was cancelled. If it
does not respond in time, or if anything fails, the process is ended, and the next turn starts a new one.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from acp import schema

from app.agent_definition import AgentDefinition
from app.agents.acp.choices import SessionChoices
from app.agents.acp.connection import SERVICES, AcpConnection, connect
from app.agents.acp.permissions import PermissionRequest
from app.agents.acp.prompt import Block, build_prompt, prompt_blocks
from app.agents.acp.sessions import AgentSession, SessionLost, open_session
from app.agents.acp.tolerance import STOP_REASON
from app.agents.acp.translate import Translator, to_usage
from app.agents.acp.updates import UpdateQueue
from app.agents.port import Agent, AgentError, Turn
from app.agui.events import encode_event
from app.agui.usage import cost_delta
from app.sandbox.process_tree import SandboxError
from app.sandbox.programs import find_program
from app.sandbox.sandbox import Sandbox, SessionPaths
from app.waiting import completed

CANCEL_SECONDS = 2.0
LATE_SECONDS = 1.0  # after the response to the prompt, in which an agent's last updates may still come
_INHERITED = ("PATH", "LANG")
_INHERITED_PREFIXES = ("LC_",)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_HOME_VARIABLES = {"HOME", "TMPDIR"}
_HOME_PREFIXES = ("XDG_",)
_ERRORS = frozenset({"error", "failed", "failure"})
_MAX_REASON = 100  # characters


class _Prepared(NamedTuple):
    """All that a prompt needs: the agent's session for the turn's thread with its choices, and the content."""

    connection: AcpConnection
    session: AgentSession
    choices: SessionChoices
    prompt: list[Block]


class AcpAgent(Agent):
    """An agent that runs in the session's workspace, as its definition says.

    Its processes are in the `sandbox` and end together. It has to be ready within `start_timeout` seconds.
    """

    def __init__(self, definition: AgentDefinition, sandbox: Sandbox, start_timeout: float = 180.0) -> None:
        self._definition = definition
        self._start_timeout = start_timeout
        self._sandbox = sandbox
        self._connection: AcpConnection | None = None
        self._sessions: dict[str, tuple[AgentSession, SessionChoices]] = {}
        """The sessions of the running process with their choices, by thread."""

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Prompt the agent with the new messages and yield its updates as events.

        If the iteration is cancelled, so is the prompt; an agent that does not respond within CANCEL_SECONDS is ended.
        """
        ids = {"threadId": turn.input["threadId"], "runId": turn.input["runId"]}
        try:
            prepared = await self._prepare(turn)
            yield encode_event("RUN_STARTED", **ids, protocolVersion="1.0")
            try:
                async with aclosing(self._prompt(turn, ids, prepared)) as events:
                    async for event in events:
                        yield event
            except SessionLost:
                turn.log("does not know the session that it has resumed; a new one gets the conversation as text")
                turn = msgspec.structs.replace(turn, saved_state=None)
                async with aclosing(self._prompt(turn, ids, await self._prepare(turn))) as events:
                    async for event in events:
                        yield event
        except AgentError:
            await self.close()
            raise

    async def _prompt(
        self,
        turn: Turn,
        ids: dict[str, str],
        prepared: _Prepared,
    ) -> AsyncGenerator[bytes, None]:
        """Send the prompt and yield what follows to the end of the run; raise `SessionLost`."""
        connection, session, choices, prompt = prepared
        prompting: asyncio.Task[schema.PromptResponse] | None = None
        try:
            translator = Translator(connection.client.terminals.output_of)
            updates, permissions = connection.listen(session.session_id, turn.request_approval)
            prompting = asyncio.create_task(connection.agent.prompt(session_id=session.session_id, prompt=prompt))
            prompting.add_done_callback(lambda task: _finish_soon(updates, task))
            while (update := await updates.get()) is not None:
                session.is_resumed = False
                if isinstance(update, PermissionRequest):
                    permissions.submit(update, translator.id_of(update.call.tool_call_id))
                    continue
                permissions.observe(update)
                if choices.observe(update):
                    await turn.note_offer(choices.offer)
                for event in translator.events(update):
                    yield event
            async with connection.errors():
                response = await session.prompted(prompting)
            connection.stop_listening(collect_late=response.stop_reason != "cancelled")
            for event in translator.close():
                yield event
            await connection.end_turn()
            cost = await _add_cost(turn, session, translator.cost)
            yield _terminal_event(ids, response, cost)
        finally:
            await completed(self._end_turn(turn.input["threadId"], prompting))

    async def close(self) -> None:
        """End the agent and all of its processes."""
        connection, self._connection = self._connection, None
        self._sessions = {}
        if connection:
            await connection.close()

    async def _prepare(self, turn: Turn) -> _Prepared:
        """Connect, open the session and make the choices."""
        if self._connection and self._connection.ended:
            await self.close()
        connection, is_new = self._connection, False
        if connection is None:
            connection = await self._connect(turn)
            self._connection, is_new = connection, True
        thread_id = turn.input["threadId"]
        async with connection.errors():
            async with asyncio.timeout(self._start_timeout):
                if is_new:
                    await connection.initialize()
                if thread_id not in self._sessions:
                    self._sessions[thread_id] = await open_session(connection, turn)
                session, choices = self._sessions[thread_id]
                await turn.note_offer(choices.offer)
                await choices.select(connection, session.session_id, model=turn.model, mode=turn.mode)
        await turn.note_offer(choices.offer)
        capabilities = connection.capabilities.prompt_capabilities
        prompt = await prompt_blocks(build_prompt(turn, session.last_message_id), turn, capabilities)
        if messages := turn.input["messages"]:
            session.last_message_id = messages[-1]["id"]
        await turn.save_state(session.to_state())
        return _Prepared(connection, session, choices, prompt)

    async def _connect(self, turn: Turn) -> AcpConnection:
        agent = self._definition
        command = (find_program(agent.command[0]), *agent.command[1:])
        variables = {**dict(agent.variables), **turn.environment}
        workspace, home = turn.workspace.absolute(), turn.home.absolute()
        try:
            environment = agent_environment(agent.env, variables, home if self._sandbox.confines(agent) else None)
            paths = SessionPaths(home=home, writable=[workspace, *turn.writable], readable=turn.readable)
            tree = await self._sandbox.open(agent, paths)
        except SandboxError as error:
            turn.log(f"could not be confined: {error}")
            raise AgentError(str(error)) from error
        services = SERVICES if agent.services is None else agent.services
        return await connect(command, workspace, environment, tree, turn.log, services=services)

    async def _end_turn(self, thread_id: str, prompting: "asyncio.Task[schema.PromptResponse] | None") -> None:
        """Wait until the agent has responded to the prompt, cancelling it if need be; end an agent that does not."""
        connection = self._connection
        if connection:
            connection.stop_listening()
        try:
            if connection and prompting and not prompting.done():
                with suppress(Exception):  # an agent that cannot be reached is ended below
                    async with asyncio.timeout(CANCEL_SECONDS):
                        await connection.agent.cancel(session_id=self._sessions[thread_id][0].session_id)
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
    if reason == "refusal" or reason.lower() in _ERRORS:
        message = (
            "The agent refused to go on."
            if reason == "refusal"
            else f'The agent ended the turn with the stop reason "{reason[:_MAX_REASON]}".'
        )
        return encode_event("RUN_ERROR", message=message, code="agent_error", usage=usage, result=result)
    return encode_event("RUN_FINISHED", **ids, usage=usage, outcome={"type": "success"}, result=result)


def agent_environment(inherited: Sequence[str], session: Mapping[str, str], home: Path | None) -> dict[str, str]:
    """Return an agent's environment: the `session`'s variables, the server's usual ones and those `inherited` names.

    Nothing else of the server's environment is passed on, since it may hold secrets. With a `home` of the session's own
    the places of the server's home are not passed on either.
    """
    names: set[str] = {*_INHERITED, *_PROXIES, *(name.lower() for name in _PROXIES), *inherited}
    prefixes: tuple[str, ...] = _INHERITED_PREFIXES
    if home is None:
        names, prefixes = names | _HOME_VARIABLES, prefixes + _HOME_PREFIXES
    ours = {name: value for name, value in os.environ.items() if name in names or name.startswith(prefixes)}
    return {**ours, **({} if home is None else {"HOME": str(home)}), **session}
