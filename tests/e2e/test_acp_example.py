"""The example agent of the Agent Client Protocol's own SDK, driven through the API."""

import shlex
import sys
from collections.abc import Iterator

import pytest

from tests.support.api import Api
from tests.support.server import ROOT, Background
from tests.support.stage import EmbeddedStage, embedded_stage

AGENT = "acp:" + shlex.join([sys.executable, str(ROOT / ".venv/acp-sdk/examples/agent.py")])


@pytest.fixture
def example(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    with embedded_stage(loop, tmp_path_factory.mktemp("acp-example"), agent=AGENT) as stage:
        yield stage


def answers(api: Api, session_id: str) -> list[str]:
    messages = api.output(session_id).ok()["messages"]
    return [message["content"] for message in messages if message["role"] == "assistant"]


def test_the_example_agent_answers_before_and_after_a_stop(example: EmbeddedStage) -> None:
    with example.api() as api:
        session_id = example.session(api, "running", task="Hello")
        assert api.say(session_id, "What now?")["status"] == "completed"
        assert answers(api, session_id) == ["Client sent:Hello", "Client sent:What now?"]
        api.stop_session(session_id).ok()
        example.settle(api, session_id, "stopped")
        api.start_session(session_id).ok()
        example.settle(api, session_id, "running")
        assert api.say(session_id, "Still there?")["status"] == "completed"
        assert answers(api, session_id)[-1].endswith("Still there?")
        assert any("Received prompt request" in line for line in api.logs(session_id))
