"""Our side of the protocol: what an agent may ask of us."""

from acp import schema

from app.agents.acp.files import Files
from app.agents.acp.permission import Permissions, response
from app.agents.acp.terminals import Terminals
from app.agents.port import DENIED

OFFERS = schema.ClientCapabilities(
    fs=schema.FileSystemCapabilities(read_text_file=True, write_text_file=True), terminal=True
)


class Client:
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
