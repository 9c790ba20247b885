"""Our side of the protocol: what an agent may ask of us."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import msgspec
from acp import PROTOCOL_VERSION, RequestError, schema
from acp.client.connection import ClientSideConnection
from pydantic import ValidationError

from app.agents.acp.files import Files
from app.agents.acp.permissions import Permissions, response
from app.agents.acp.process import Process, start
from app.agents.acp.prompt import Conversation
from app.agents.acp.terminals import Terminals
from app.agents.acp.transport import LineTransport, UpdateQueue
from app.agents.port import AgentError, RequestApproval, Turn
from app.agents.process_group import environment
from app.models.approvals import DENIED

OFFERS = schema.ClientCapabilities(
    fs=schema.FileSystemCapabilities(read_text_file=True, write_text_file=True), terminal=True
)


class AcpClient:
    """Answers one agent; `permissions` takes its questions while a turn is under way, that of `session_id`."""

    def __init__(self, files: Files, terminals: Terminals) -> None:
        self.session_id: str | None = None
        self.permissions: Permissions | None = None
        self.terminals = terminals
        self.read_text_file = files.read_text_file
        self.write_text_file = files.write_text_file
        self.create_terminal = terminals.create_terminal
        self.terminal_output = terminals.terminal_output
        self.wait_for_terminal_exit = terminals.wait_for_terminal_exit
        self.kill_terminal = terminals.kill_terminal
        self.release_terminal = terminals.release_terminal

    async def request_permission(
        self,
        session_id: str,
        tool_call: schema.ToolCallUpdate,
        options: list[schema.PermissionOption],
    ) -> schema.RequestPermissionResponse:
        """Ask whoever decides; nobody does where no turn of that session is under way."""
        if self.permissions is None or session_id != self.session_id:
            return response(DENIED)
        return await self.permissions.request(tool_call, options)


class AcpConnection:
    """One process, one connection, what the agent can do; `conversations` are what it knows, by thread."""

    def __init__(self, process: Process, client: AcpClient, turn: Turn) -> None:
        self.client = client
        self.conversations: dict[str, Conversation] = {}
        self.can = schema.AgentCapabilities()
        self._process = process
        self._tell = turn.log
        self._updates: UpdateQueue | None = None
        self._wire = LineTransport(process.reader, process.writer, self._dispatch, turn.log)
        self.connection = ClientSideConnection(cast("Any", client), self._wire)

    @property
    def closed(self) -> bool:
        """Whether the agent has gone, or has closed the line."""
        return self._wire.ended

    async def initialize(self) -> None:
        """Agree on the protocol; `AgentError` if the agent speaks another version."""
        answer = await self.connection.initialize(
            protocol_version=PROTOCOL_VERSION,
            client_capabilities=OFFERS,
            client_info=schema.Implementation(name="ambient-public-api", version="1"),
        )
        if answer.protocol_version != PROTOCOL_VERSION:
            raise AgentError("The agent speaks another version of the protocol.")
        self.can = answer.agent_capabilities or self.can

    def listen(self, session_id: str, ask: RequestApproval) -> tuple[UpdateQueue, Permissions]:
        """Take the updates and questions of an ACP session from now on; what came before, or of others, is dropped."""
        updates = UpdateQueue()
        permissions = Permissions(ask, updates.add)
        self._updates, self.client.session_id, self.client.permissions = updates, session_id, permissions
        return updates, permissions

    def stop_listening(self) -> None:
        """Listen no more; an update that waits for room is dropped, a question is denied."""
        if self._updates:
            self._updates.abandon()
        if self.client.permissions:
            self.client.permissions.close()
        self._updates = self.client.session_id = self.client.permissions = None

    async def end_turn(self) -> None:
        """Listen no more, and end what the agent has left running in terminals."""
        self.stop_listening()
        await self.client.terminals.end_terminals()

    async def close(self) -> None:
        """End the agent's process, all that it has started in its group, and its terminals."""
        self.stop_listening()
        await asyncio.gather(self._disconnect(), self.client.terminals.end_terminals(), self._process.end())

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What goes wrong between us as an `AgentError`."""
        try:
            yield
        except RequestError as error:
            if error.data is not None:
                self._tell(f"refused: {error}: {msgspec.json.encode(error.data).decode()}")
            raise AgentError("The agent refused: " + " ".join(str(error).split())[:200]) from error
        except TimeoutError as error:
            raise AgentError("The agent did not start in time.") from error
        except (OSError, ValidationError, ValueError) as error:
            raise AgentError(self._wire.failure or "The agent ended or broke the protocol.") from error

    async def _disconnect(self) -> None:
        with suppress(Exception):  # the agent is gone; what its connection says of that does not matter
            await self.connection.close()

    async def _dispatch(self, params: Any, size: int) -> None:
        if self._updates is None:
            return
        with suppress(ValidationError):  # a kind of update that we do not know
            told = schema.SessionNotification.model_validate(params)
            if told.session_id == self.client.session_id:
                await self._updates.put(told.update, size)


async def connect(command: Sequence[str], names: Sequence[str], records: Path, turn: Turn) -> AcpConnection:
    """Start an agent for a turn's session; the caller greets it, and closes the link."""
    variables = environment(names, turn.environment)
    process = await start(command, turn.workspace, variables, turn.log, records)
    return AcpConnection(process, AcpClient(Files(turn.workspace), Terminals(turn.workspace, variables, records)), turn)
