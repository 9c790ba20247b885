"""The AGENT setting: what it accepts, and that a refusal keeps quiet about the value."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.agents.agui import AguiAgent
from app.agents.demo import DemoAgent
from app.agents.port import Agent
from app.agents.registry import ACCEPTED, agent_factory


def factory(setting: str) -> Callable[[], Agent]:
    return agent_factory(setting, names=(), records=Path("records"))


def test_each_session_gets_an_agent_of_its_own_when_demo_is_set() -> None:
    make = factory("demo")
    assert isinstance(make(), DemoAgent)
    assert make() is not make()


@pytest.mark.parametrize(
    "setting",
    [
        "agui+http://127.0.0.1:9000/",
        "agui+http://agent",
        "agui+https://agents.example.com/agui?tenant=a",
        "agui+http://[::1]:9000/run",
    ],
)
def test_an_agui_agent_is_made_when_its_url_is_set(setting: str) -> None:
    agent = factory(setting)()
    assert isinstance(agent, AguiAgent)
    assert agent._url == setting.removeprefix("agui+")


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "Demo",
        "demo ",
        "http://agent:9000/",
        "agui+agui+http://agent/",
        "agui+ftp://agent/",
        "agui+http:///path",
        "agui+http://:9000/path",
        "agui+http://agent:port/path",
        "agui+http://agent:70000/path",
        "agui+http://agent:0/path",
        "agui+http://agent/a b",
        "agui+http://agent/\n",
        "agui+http://agent/#part",
        "agui+http://agent\\@other/",
        "agui+http://user:hunter2@agent/",
        "agui+http://hunter2@agent/",
        "agui+http://[::1/",
    ],
)
def test_the_accepted_forms_and_not_the_value_are_told_when_a_setting_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="must be demo") as caught:
        factory(setting)
    assert str(caught.value) == f"must be {ACCEPTED}"
