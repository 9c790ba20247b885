"""The agents of this server: from their definitions to one agent for one session."""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from app.agent_definition import AgentDefinition
from app.agents.port import Agent, AgentError
from app.known_agents import KNOWN_AGENTS
from app.models.agents import AgentKind, AgentSummary
from app.sandbox.process_tree import SandboxError
from app.sandbox.programs import find_program
from app.sandbox.sandbox import NO_SANDBOX, Sandbox

log = structlog.get_logger()

MakeAgent = Callable[[AgentDefinition], Agent]


class AgentRegistry:
    """The agents by name; the first definition is the default one. `make` makes an agent for one session.

    The processes of agents are in the `sandbox`.
    """

    def __init__(self, definitions: Iterable[AgentDefinition], make: MakeAgent, sandbox: Sandbox = NO_SANDBOX) -> None:
        self.sandbox = sandbox
        self.definitions: Mapping[str, AgentDefinition] = {each.name: each for each in definitions}
        self.default = next(iter(self.definitions))
        self._make = make

    def make(self, name: str | None) -> Agent:
        """Return a new agent by its name, None for the default one; raise `AgentError` if there is none any more."""
        definition = self.definitions.get(name or self.default)
        if definition is None:
            raise AgentError(f"The server has no agent {name} any more.")
        return self._make(definition)

    def address(self, name: str | None) -> str:
        """Return an agent's name with its command line, or its URL without the query; empty for the built-in one."""
        definition = self.definitions.get(name or self.default)
        if definition is None or definition.kind == "demo":
            return ""
        return f"{definition.name}: {shlex.join(definition.command) or definition.url.partition('?')[0]}"

    def key(self, name: str) -> str | None:
        """Return the key under which the offers of an agent are stored; None for one that offers no choice."""
        definition = self.definitions.get(name)
        if definition is None or definition.kind != "acp":
            return None
        return hashlib.sha256("\0".join((name, *definition.command)).encode()).hexdigest()

    def log_state(self) -> None:
        """Log which agents cannot be used, and what the sandbox confines."""
        for definition in self.definitions.values():
            if obstacle := find_obstacle(definition):
                log.warning("agent_unavailable", agent=definition.name, reason=obstacle)
        if self.sandbox.in_force:
            log.info("sandbox", confined="agents, their commands and git")
        else:
            log.warning(
                "sandbox",
                confined="nothing",
                reason=self.sandbox.obstacle or "AGENT_SANDBOX is off",
                risk="agents may do whatever the user of this server may do",
            )

    def summaries(self) -> list[AgentSummary]:
        """Return the agents as clients see them, the default one first; looks for their commands."""
        return [self._summary(definition) for definition in self.definitions.values()]

    def _summary(self, definition: AgentDefinition) -> AgentSummary:
        known = KNOWN_AGENTS.get(definition.name)
        obstacle, sandboxed = find_obstacle(definition), None
        if definition.kind == "acp":
            try:
                sandboxed = self.sandbox.confines(definition)
            except SandboxError as error:
                obstacle, sandboxed = str(error), False
        return AgentSummary(
            name=definition.name,
            kind=AgentKind(definition.kind),
            default=definition.name == self.default,
            available=obstacle is None,
            title=known.title if known and known.command[0] == definition.command[0] else None,
            reason=obstacle,
            sandboxed=sandboxed,
        )


def agent_maker(definitions: Iterable[AgentDefinition], *, sandbox: Sandbox, start_timeout: float) -> MakeAgent:
    """Return what makes agents of these definitions.

    An agent that is a local process runs in the `sandbox`. An ACP agent has to be ready within `start_timeout` seconds.
    """
    makers: dict[str, MakeAgent] = {}
    # Only the kinds in use are imported: the ACP SDK and the HTTP client take most of a second each.
    for kind in {definition.kind for definition in definitions}:
        match kind:
            case "demo":
                from app.agents.demo import DemoAgent  # noqa: PLC0415

                makers[kind] = lambda _definition: DemoAgent()
            case "agui":
                from app.agents.agui import AguiAgent  # noqa: PLC0415

                makers[kind] = lambda definition: AguiAgent(definition.url)
            case "acp":
                from app.agents.acp.agent import AcpAgent  # noqa: PLC0415

                makers[kind] = lambda definition: AcpAgent(definition, sandbox, start_timeout)
    return lambda definition: makers[definition.kind](definition)


def find_obstacle(definition: AgentDefinition) -> str | None:
    """Return why an agent cannot be used now, for people; None if nothing is known that stands against it.

    Only the command of an ACP agent is looked for; nothing is started.
    """
    if definition.kind != "acp":
        return None
    program = Path(find_program(definition.command[0]))
    if program.is_file() and os.access(program, os.X_OK):
        return None
    if program.exists():
        return f"{program.name} is not an executable file."
    known = KNOWN_AGENTS.get(definition.name)
    hint = f" To install it: {known.install}" if known and known.command[0] == definition.command[0] else ""
    return f"The command {program.name} is not installed.{hint}"
