"""From the AGENT setting to agents."""

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from app.agents.port import Agent
from app.settings import AgentSetting


def agent_factory(
    setting: AgentSetting, *, inherited: Sequence[str], services: Collection[str], records: Path, start_timeout: float
) -> Callable[[], Agent]:
    """Return a function that makes one agent for one session.

    An agent that is a local process gets the server's environment variables whose names are in `inherited`, and its
    process group is recorded in the directory `records` while it runs. An ACP agent is offered the `services` of the
    AGENT_SERVICES setting, and has to be ready within `start_timeout` seconds.
    """
    # Only the kind in use is imported: the ACP SDK and the HTTP client take most of a second each.
    match setting.kind:
        case "demo":
            from app.agents.demo import DemoAgent  # noqa: PLC0415

            return DemoAgent
        case "agui":
            from app.agents.agui import AguiAgent  # noqa: PLC0415

            return lambda: AguiAgent(setting.url)
        case "acp":
            from app.agents.acp.agent import AcpAgent  # noqa: PLC0415

            command = (find_program(setting.command[0]), *setting.command[1:])
            return lambda: AcpAgent(command, inherited, records, start_timeout, services)


def find_program(name: str) -> str:
    """Return the program that the server itself would run, which a session's workspace or variables cannot replace.

    A name that is not found is returned as it is, and fails when an agent is started; a relative path becomes absolute.
    """
    found = shutil.which(name) or name
    return str(Path(found).absolute()) if "/" in found else found
