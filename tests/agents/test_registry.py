"""The agents of the server: each session gets one of its own, of the kind that its definition says."""

from pathlib import Path

import pytest

from app.agent_definition import AgentDefinition, find_known, parse_address
from app.agents.acp.agent import AcpAgent
from app.agents.agui import AguiAgent
from app.agents.demo import DemoAgent
from app.agents.port import Agent, AgentError
from app.agents.registry import AgentRegistry, agent_maker, find_obstacle
from app.sandbox.programs import find_program
from app.sandbox.sandbox import Sandbox


def registry(*definitions: AgentDefinition) -> AgentRegistry:
    return AgentRegistry(definitions, agent_maker(definitions, sandbox=Sandbox(None), start_timeout=180.0))


@pytest.mark.parametrize(
    ("address", "kind"),
    [("demo", DemoAgent), ("agui+http://127.0.0.1:9000/", AguiAgent), ("acp:agent --acp", AcpAgent)],
)
def test_each_session_gets_an_agent_of_its_own(address: str, kind: type[Agent]) -> None:
    agents = registry(parse_address("one", address))
    assert isinstance(agents.make(None), kind)
    assert agents.make("one") is not agents.make("one")


def test_a_session_chooses_among_agents_of_all_kinds() -> None:
    agents = registry(parse_address("ui", "agui+http://agent/run?x=1"), parse_address("cli", "acp:agent"))
    assert isinstance(agents.make("cli"), AcpAgent)
    default = agents.make(None)
    assert isinstance(default, AguiAgent)
    assert default._url == "http://agent/run?x=1"


def test_an_agent_that_was_taken_away_is_named() -> None:
    with pytest.raises(AgentError, match=r"^The server has no agent codex any more\.$"):
        registry(parse_address("one", "demo")).make("codex")


def test_the_program_is_the_servers_even_if_a_workspace_has_one_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "agent"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    assert find_program("agent") == str(program)
    assert find_program("bin/agent") == str(program)
    assert find_program("bin/missing") == str(program.with_name("missing"))
    assert find_program("missing") == "missing"


def test_a_command_that_is_missing_or_cannot_be_executed_is_an_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    claude = find_known("claude")
    assert claude is not None
    assert find_obstacle(claude) == (
        "The command claude-agent-acp is not installed."
        " To install it: npm install -g @agentclientprotocol/claude-agent-acp"
    )
    (tmp_path / "claude-agent-acp").touch(mode=0o755)
    assert find_obstacle(claude) is None
    (tmp_path / "text").touch(mode=0o644)
    assert find_obstacle(parse_address("x", f"acp:{tmp_path}/text")) == "text is not an executable file."
    assert find_obstacle(parse_address("x", "acp:nothing --acp")) == "The command nothing is not installed."
    assert find_obstacle(parse_address("x", "agui+http://127.0.0.1:1/")) is None


def test_an_agent_that_must_be_confined_is_not_available_where_that_cannot_be() -> None:
    definition = AgentDefinition(name="a", kind="acp", command=("sh",), sandbox="bwrap")
    sandbox = Sandbox(None, obstacle="bubblewrap is not installed")
    [summary] = AgentRegistry([definition], agent_maker([], sandbox=sandbox, start_timeout=1), sandbox).summaries()
    assert (summary.available, summary.sandboxed) == (False, False)
    assert summary.reason == "The agent has to be confined, but bubblewrap is not installed."
