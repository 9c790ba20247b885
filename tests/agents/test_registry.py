"""From the AGENT setting to agents: each session gets one of its own, of the kind that is set."""

from pathlib import Path

import pytest

from app.agents.acp.agent import AcpAgent
from app.agents.agui import AguiAgent
from app.agents.demo import DemoAgent
from app.agents.port import Agent
from app.agents.registry import agent_factory, find_program
from app.settings import parse_agent


@pytest.mark.parametrize(
    ("setting", "kind"),
    [("demo", DemoAgent), ("agui+http://127.0.0.1:9000/", AguiAgent), ("acp:agent --acp", AcpAgent)],
)
def test_each_session_gets_an_agent_of_its_own(setting: str, kind: type[Agent]) -> None:
    make = agent_factory(parse_agent(setting), inherited=(), services=(), records=Path("records"), start_timeout=180.0)
    assert isinstance(make(), kind)
    assert make() is not make()


def test_an_agui_agent_has_the_url_of_the_setting() -> None:
    agent = agent_factory(
        parse_agent("agui+http://agent/run?x=1"),
        inherited=(),
        services=(),
        records=Path("records"),
        start_timeout=180.0,
    )()
    assert isinstance(agent, AguiAgent)
    assert agent._url == "http://agent/run?x=1"


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
