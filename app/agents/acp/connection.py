"""Our side of the protocol: the connection to one agent's process, and the methods that the agent calls here."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import msgspec
from acp import PROTOCOL_VERSION, RequestError, schema
from acp.client.connection import ClientSideConnection
from pydantic import ValidationError

from app.agents.acp.files import Files
from app.agents.acp.permissions import PermissionRequest, Permissions, to_response
from app.agents.acp.sign_in import AuthMethod, choose_method, describe_methods
from app.agents.acp.terminals import Terminals
from app.agents.acp.tolerance import read_updates
from app.agents.acp.transport import LineTransport
from app.agents.acp.updates import LateUpdates, OtherUpdate, UpdateQueue
from app.agents.port import AgentError, RequestApproval
from app.agui.whole_text import make_whole
from app.models.approvals import DENIED
from app.sandbox.process_tree import Process, ProcessTree
from app.sandbox.streams import Pipes, open_pipes
from app.waiting import is_set_within

BUFFER_BYTES = 256 * 1024  # of each of the agent's output streams
_MAX_STDERR_LINE = 64 * 1024  # a longer one is logged in parts
EXIT_DRAIN_SECONDS = 0.5  # in which what an agent wrote before it exited is read
_MAX_ERROR = 200  # characters of an agent's error that clients read

_METHOD_NOT_FOUND = -32601
_EXCEEDED = {
    "memory": "The agent and its commands used too much memory and were ended.",
    "processes": "The agent and its commands were too many processes and were ended.",
}
SERVICES = ("fs", "terminal")
"""The services that the protocol lets a client offer. They act as the server, wherever the agent itself runs."""


async def _refuse(**_parameters: Any) -> Any:
    raise RequestError(_METHOD_NOT_FOUND, "This server does not offer this to agents")


class AcpClient:
    """The client's methods of the protocol, as the SDK calls them.

    While a turn of the agent's session `session_id` is under way, `permissions` are that turn's. `log` gets a line for
    what is denied without a decision.
    """

    def __init__(
        self, files: Files, terminals: Terminals, log: Callable[[str], None], services: Collection[str] = SERVICES
    ) -> None:
        self._log = log
        fs, terminal = "fs" in services, "terminal" in services
        self.capabilities = schema.ClientCapabilities(
            fs=schema.FileSystemCapabilities(read_text_file=fs, write_text_file=fs), terminal=terminal
        )
        self.session_id: str | None = None
        self.permissions: Permissions | None = None
        self.terminals = terminals
        # What is not offered is refused too: an agent may ask for it nevertheless.
        self.read_text_file = files.read_text_file if fs else _refuse
        self.write_text_file = files.write_text_file if fs else _refuse
        self.create_terminal = terminals.create_terminal if terminal else _refuse
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
        """Wait for the decision on a tool call; deny it if no turn is under way.

        An agent's subagents request permissions in sessions of their own, which only the agent knows.
        """
        if self.permissions is None:
            self._log(f"requested a permission outside of a turn, which was denied: {tool_call.title or session_id}")
            return to_response(DENIED)
        return await self.permissions.request(tool_call, options)


class AcpConnection:
    """The connection to one agent's process; `agent` has the agent's methods of the protocol.

    `log` gets what the agent writes to standard error, and what goes wrong on the connection.
    """

    def __init__(
        self,
        tree: ProcessTree,
        process: Process,
        pipes: Pipes,
        client: AcpClient,
        *,
        environment: Mapping[str, str],
        log: Callable[[str], None],
    ) -> None:
        self.client = client
        self.capabilities = schema.AgentCapabilities()
        """The agent's, once initialized."""
        self._auth_methods: Sequence[AuthMethod] = []
        self._environment = environment
        self._tree = tree
        self._process = process
        self._pipes = pipes
        self._log = log
        self._updates: UpdateQueue | None = None
        self._listened: set[str] = set()
        self._has_others = False
        """Whether the agent has sent updates of sessions that are not the client's, such as those of subagents."""
        self._late: dict[str, LateUpdates] = {}
        self._early: dict[str, LateUpdates] | None = None
        """The updates of sessions whose ids are not known yet, while one is being made."""
        self._logging = asyncio.create_task(_log_lines(pipes.stderr, log))
        self._transport = LineTransport(pipes.stdout, pipes.stdin, self._on_update, log)
        self._exited = asyncio.Event()
        self._watching = asyncio.create_task(self._watch())
        self.agent = ClientSideConnection(cast("Any", client), self._transport)

    @property
    def ended(self) -> bool:
        """Whether the agent has exited or has closed its output."""
        return self._transport.ended or self._process.returncode is not None

    async def initialize(self) -> None:
        """Negotiate the protocol; raise `AgentError` if the agent speaks another version."""
        response = await self.agent.initialize(
            protocol_version=PROTOCOL_VERSION,
            client_capabilities=self.client.capabilities,
            client_info=schema.Implementation(name="ambient-public-api", version="1"),
        )
        if response.protocol_version != PROTOCOL_VERSION:
            raise AgentError("The agent speaks another version of the protocol.")
        self.capabilities = response.agent_capabilities or self.capabilities
        self._auth_methods = response.auth_methods or []

    async def sign_in(self) -> None:
        """Authenticate by the method that needs no person; raise `AgentError` if there is none or if that fails."""
        offered = describe_methods(self._auth_methods)
        self._log(f"requires authentication; it offers: {offered}")
        method = choose_method(self._auth_methods, self._environment)
        if method is None:
            raise AgentError(f"The agent requires authentication. It offers: {offered}")
        self._log(f"authenticates by the method {method}")
        try:
            await self.agent.authenticate(method_id=method)
        except RequestError as error:
            self._log(f"refused the method {method}: {error}")
            raise AgentError(f"The agent refused to authenticate by {method}. It offers: {offered}") from error

    async def new_session(self, directory: str) -> schema.NewSessionResponse:
        """Make a session; what the agent sends for it before its first turn comes with that turn."""
        self._early = {}
        try:
            made = await self.agent.new_session(cwd=directory)
            self._late[made.session_id] = self._early.get(made.session_id) or LateUpdates()
        finally:
            self._early = None
        return made

    async def set_model(self, session_id: str, model: str) -> None:
        """Call `session/set_model`, which the SDK does not know any more."""
        params = {"sessionId": session_id, "modelId": model}
        await self.agent._conn.send_request("session/set_model", params)  # noqa: SLF001

    def listen(self, session_id: str, request_approval: RequestApproval) -> tuple[UpdateQueue, Permissions]:
        """Begin a turn: return the queue that its session's updates go to from now on, and its permissions."""
        updates = UpdateQueue()
        self._listened.add(session_id)
        if late := self._late.pop(session_id, None):
            late.move_to(updates)
        permissions = Permissions(request_approval, updates.put_nowait)
        self._updates, self.client.session_id, self.client.permissions = updates, session_id, permissions
        return updates, permissions

    def stop_listening(self, *, collect_late: bool = False) -> None:
        """Drop the agent's updates, or keep them for its session's next turn, and deny its permission requests."""
        unread = self._updates.abandon() if self._updates else []
        if collect_late and self.client.session_id:
            late = self._late[self.client.session_id] = LateUpdates()
            for update, size in unread:
                if not isinstance(update, PermissionRequest):
                    self._add_late(late, update, size)
        if self.client.permissions:
            self.client.permissions.close()
        self._updates = self.client.session_id = self.client.permissions = None

    async def end_turn(self) -> None:
        """Stop listening, and end the commands that the agent has left running in terminals."""
        self.stop_listening()
        await self.client.terminals.end_terminals()

    async def close(self) -> None:
        """End the agent, its terminals, and all that they have started."""
        if self._transport.ended:
            await self._wait_for_exit()
        self._watching.cancel()
        self.stop_listening()
        try:
            await asyncio.gather(self._disconnect(), self._tree.close())
        finally:
            await self.client.terminals.end_terminals()
            self._logging.cancel()
            self._pipes.close()

    @asynccontextmanager
    async def errors(self) -> AsyncIterator[None]:
        """Raise what goes wrong in a call of the agent's methods as an `AgentError`."""
        try:
            yield
        except RequestError as error:
            if error.data is not None:
                self._log(f"returned an error: {error}: {msgspec.json.encode(error.data).decode()}")
            raise AgentError("The agent returned an error: " + " ".join(str(error).split())[:_MAX_ERROR]) from error
        except TimeoutError as error:
            raise AgentError("The agent did not start in time.") from error
        except (OSError, ValidationError, ValueError) as error:
            raise AgentError(await self._fault()) from error

    async def _fault(self) -> str:
        """Return why the connection broke, for clients."""
        if self._transport.ended and not self._transport.failure:
            await self._wait_for_exit()
        if exceeded := _EXCEEDED.get(self._tree.exceeded or ""):
            return exceeded
        if self._transport.failure or self._process.returncode is None:
            return self._transport.failure or "The agent broke the protocol."
        return f"The agent exited {describe_exit(self._process.returncode)}. The session log has what it wrote."

    async def _watch(self) -> None:
        """Close the agent's output soon after the agent has exited: a process that it has left may hold it open."""
        status = await self._process.wait()
        self._log(_EXCEEDED.get(self._tree.exceeded or "") or f"exited {describe_exit(status)}")
        self._exited.set()
        await asyncio.sleep(EXIT_DRAIN_SECONDS)
        self._pipes.close_stdout()

    async def _wait_for_exit(self) -> None:
        """Give an agent that has closed its end a moment to exit, as it does as a rule, so that the exit is logged."""
        await is_set_within(self._exited, EXIT_DRAIN_SECONDS)

    async def _disconnect(self) -> None:
        with suppress(Exception):  # the process is ended anyway
            await self.agent.close()

    async def _on_update(self, params: Any, size: int) -> None:
        session_id = params.get("sessionId") if isinstance(params, dict) else None
        if not isinstance(session_id, str):
            return
        if self._early is None and session_id not in self._listened and session_id not in self._late:
            if not self._has_others:
                self._log(f"sent updates of another session, which are dropped: {session_id[:100]}")
            self._has_others = True
            return
        for update in map(_read_update, read_updates(params.get("update"))):
            queue = self._updates if session_id == self.client.session_id else None
            if queue and await queue.put(update, size):
                continue
            if late := self._collecting(session_id):
                self._add_late(late, update, size)

    def _add_late(self, late: LateUpdates, update: Any, size: int) -> None:
        if not late.add(update, size):
            self._log("sent too much between two turns; the rest of it is dropped")

    def _collecting(self, session_id: str) -> LateUpdates | None:
        """Return what collects a session's updates between turns; None if they are dropped."""
        if session_id in self._late or self._early is None:
            return self._late.get(session_id)
        return self._early.setdefault(session_id, LateUpdates())


def _read_update(update: dict[str, Any]) -> Any:
    """Return an update as the SDK has it, the text of a chunk with halves of characters, or an `OtherUpdate`."""
    whole = make_whole(update)
    try:
        found = schema.SessionNotification.model_validate({"sessionId": "", "update": whole}).update
    except ValidationError:
        return OtherUpdate(whole)
    if whole is not update:
        match found:
            case (
                schema.AgentMessageChunk(content=schema.TextContentBlock() as block)
                | schema.AgentThoughtChunk(content=schema.TextContentBlock() as block)
            ):
                block.text = update["content"]["text"]  # the next chunk may have the other half
    return found


async def connect(
    command: Sequence[str],
    workspace: Path,
    environment: Mapping[str, str],
    tree: ProcessTree,
    log: Callable[[str], None],
    *,
    services: Collection[str] = SERVICES,
) -> AcpConnection:
    """Start an agent in its workspace, with this environment alone; raise `AgentError` if that is not possible.

    The agent and its terminals are processes of the `tree`, which is closed with the connection, or if this fails. The
    caller initializes and closes the connection.
    """
    pipes, streams = await open_pipes(BUFFER_BYTES)
    try:
        process = await tree.start(command, workspace, environment, streams.files)
    except BaseException as error:
        pipes.close()
        await tree.close()
        if not isinstance(error, OSError):
            raise
        log(f"could not be started: {shlex.join(command)}: {error.strerror}")
        program = Path(command[0]).name
        raise AgentError(f"The agent could not be started: the command {program} {_fault(command[0])}.") from error
    finally:
        streams.close()
    client = AcpClient(Files(workspace), Terminals(workspace, environment, tree), log, services)
    return AcpConnection(tree, process, pipes, client, environment=environment, log=log)


def describe_exit(status: int) -> str:
    """Return how a process ended, for people: `status` is its exit status, or minus the signal that killed it."""
    return f"with status {status}" if status >= 0 else f"by signal {-status}"


def _fault(program: str) -> str:
    """Return what is wrong with a program that could not be started."""
    return "cannot be run" if Path(program).exists() else "is not installed"


async def _log_lines(stream: asyncio.StreamReader, log: Callable[[str], None]) -> None:
    """Log what is written to a stream, in whole lines."""
    partial = b""
    while chunk := await stream.read(8192):
        *lines, partial = (partial + chunk).split(b"\n")
        if not lines and len(partial) > _MAX_STDERR_LINE:
            lines, partial = [partial], b""
        if lines:
            log(b"\n".join(lines).decode("utf-8", "replace"))
