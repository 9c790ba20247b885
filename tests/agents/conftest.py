"""One server whose sessions run the scripted ACP agent, and one with an AG-UI agent of another make."""

from collections.abc import Iterator

import pytest

from tests.support.agents.process import agent_server, scripted_acp
from tests.support.api import Api
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage


@pytest.fixture(autouse=True)
def late_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns end soon after their response, unless a test is about updates that come later."""
    monkeypatch.setattr("app.agents.acp.agent.LATE_SECONDS", 0.02)


@pytest.fixture(scope="session")
def acp_stage(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    directory = tmp_path_factory.mktemp("acp")
    with embedded_stage(loop, directory, agent=scripted_acp(), agent_env="PASSED_ON") as stage:
        yield stage


@pytest.fixture(scope="session")
def agui_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of an AG-UI agent on a foreign implementation of the protocol."""
    log = tmp_path_factory.mktemp("agui") / "log"
    with agent_server("tests.support.agents.agui_functionmodel:app", log) as url:
        yield url


@pytest.fixture(scope="session")
def agui_stage(loop: Background, agui_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    with embedded_stage(loop, tmp_path_factory.mktemp("agui"), agent=f"agui+{agui_server}/") as stage:
        yield stage


@pytest.fixture
def stage(acp_stage: EmbeddedStage) -> EmbeddedStage:
    """The server that `api` speaks to: one with the scripted ACP agent, unless a module names another."""
    return acp_stage


@pytest.fixture
def session_id(stage: EmbeddedStage, api: Api) -> str:
    """A running session whose task, "Say hello", has been done."""
    return stage.session(api, "running", task="Say hello", environment_variables={"OWN": "of the session"})
