"""An ACP agent: one process for each session, one ACP session for each thread, one prompt for each turn."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from acp import PROTOCOL_VERSION, RequestError, schema, text_block
from acp.client.connection import ClientSideConnection
from pydantic import ValidationError

from app.agents.acp.client import Client
from app.agents.acp.events import Translator, usage
from app.agents.acp.permission import Permissions, Request
from app.agents.acp.process import Process, environment, start
from app.agents.events import event
from app.agents.port import Agent, AgentError, Turn

CANCEL_SECONDS = 2.0
START_SECONDS = 60.0
_DONE = object()


class AcpAgent(Agent):
    """Runs `command` in the session's workspace; `names` are variables that it sees of this service's environment.

    Its process is written down in the directory `records` for as long as it runs.
    """

    def __init__(self, command: Sequence[str], names: Sequence[str], records: Path) -> None:
        self._command = command
        self._records = records
        self._names = names
        self._process: Process | None = None
        self._connection: ClientSideConnection | None = None
        self._client = Client()
        self._sessions: dict[str, str] = {}

    async def run(self, turn: Turn) -> AsyncGenerator[bytes, None]:
        """Prompt the agent with what is new and yield what it does as AG-UI events.

        Cancelled, the agent is asked to stop, and ended if it does not within CANCEL_SECONDS.
        """
        ids = {"threadId": turn.input["threadId"], "runId": turn.input["runId"]}
        translator, heard = Translator(), asyncio.Queue[Any]()
        self._client.heard = heard.put_nowait
        self._client.permissions = permissions = Permissions(turn.ask, heard.put_nowait)
        prompting: asyncio.Task[schema.PromptResponse] | None = None
        try:
            with _agent_errors():
                connection, prompt = await self._ready(turn)
                yield event("RUN_STARTED", **ids, protocolVersion="1.0")
                prompting = asyncio.create_task(
                    connection.prompt(session_id=self._sessions[ids["threadId"]], prompt=[text_block(prompt)])
                )
                prompting.add_done_callback(lambda _task: heard.put_nowait(_DONE))
                while (update := await heard.get()) is not _DONE:
                    if isinstance(update, Request):
                        permissions.put(update)
                        continue
                    permissions.observe(update)
                    for each in translator.events(update):
                        yield each
                answer = await prompting
            for each in translator.close():
                yield each
            yield event("RUN_FINISHED", **ids, usage=usage(answer.usage), **_outcome(answer.stop_reason))
        except AgentError:
            await self.close()
            raise
        finally:
            self._client.heard = self._client.permissions = None
            permissions.close()
            if prompting is not None and not prompting.done():
                await self._cancel(prompting, self._sessions.get(ids["threadId"], ""))

    async def close(self) -> None:
        """End the agent's process and all that it has started in its group."""
        connection, self._connection = self._connection, None
        process, self._process = self._process, None
        self._sessions.clear()
        if process:
            await process.end()
        if connection:
            with suppress(Exception):  # the agent is gone; what its connection says of that does not matter
                await connection.close()

    async def _ready(self, turn: Turn) -> tuple[ClientSideConnection, str]:
        """A connection with an ACP session for the turn's thread, and what to say in it."""
        async with asyncio.timeout(START_SECONDS):
            connection = self._connection or await self._connect(turn)
            thread = turn.input["threadId"]
            known = thread in self._sessions
            if not known:
                made = await connection.new_session(cwd=str(turn.workspace.resolve()))
                self._sessions[thread] = made.session_id
            self._client.session_id = self._sessions[thread]
        return connection, _prompt(turn, with_history=not known)

    async def _connect(self, turn: Turn) -> ClientSideConnection:
        variables = environment(self._names, turn.environment)
        self._process = await start(self._command, turn.workspace, variables, turn.tell, self._records)
        self._connection = connection = ClientSideConnection(
            cast("Any", self._client), self._process.writer, self._process.reader
        )
        await connection.initialize(
            protocol_version=PROTOCOL_VERSION,
            client_capabilities=schema.ClientCapabilities(),
            client_info=schema.Implementation(name="ambient-public-api", version="1"),
        )
        return connection

    async def _cancel(self, prompting: "asyncio.Task[schema.PromptResponse]", session_id: str) -> None:
        """Ask the agent to give up its turn; it answers the prompt then, or it is ended."""
        try:
            if self._connection:
                with suppress(Exception):  # an agent that cannot be asked is ended below
                    await asyncio.wait_for(self._connection.cancel(session_id=session_id), CANCEL_SECONDS)
            await asyncio.wait({prompting}, timeout=CANCEL_SECONDS)
        finally:
            answered = prompting.done() and not prompting.cancelled() and prompting.exception() is None
            prompting.cancel()
            if not answered:
                await self.close()


def _outcome(reason: str) -> dict[str, Any]:
    if reason == "cancelled":
        return {"outcome": {"type": "cancelled"}}
    return {"outcome": {"type": "success"}, "result": {"stopReason": reason}}


def _prompt(turn: Turn, *, with_history: bool) -> str:
    """The new messages; before them, for an agent that knows nothing of it, what was said earlier."""
    messages = [(message["role"], str(message.get("content") or "")) for message in turn.input["messages"]]
    count = max(turn.new_messages, 1)
    earlier, new = messages[:-count], messages[-count:]
    said = "\n\n".join(text for _, text in new)
    if not with_history or not earlier:
        return said
    told = "\n".join(f"{role}: {text}" for role, text in earlier if text)
    return f"Our conversation so far:\n\n{told}\n\nThis is new:\n\n{said}"


@contextmanager
def _agent_errors() -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        raise AgentError("The agent refused: " + " ".join(str(error).split())[:200]) from error
    except TimeoutError as error:
        raise AgentError("The agent did not start in time.") from error
    except (OSError, ValidationError, ValueError) as error:
        raise AgentError("The agent ended or broke the protocol.") from error
