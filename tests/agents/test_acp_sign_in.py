"""Sign-in of ACP agents: which method is taken, and what is said where none can be."""

from pathlib import Path

import msgspec
import pytest
from acp import schema

from app.agents.acp.sign_in import choose_method
from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import text
from tests.support.server import Background
from tests.support.stage import embedded_stage

pytestmark = pytest.mark.xdist_group("acp")

CHATGPT = schema.AuthMethodAgent(id="chatgpt", name="Login with ChatGPT")
KEY = schema.AuthMethodAgent(id="openai-api-key", name="Use OPENAI_API_KEY")
VARIABLE = schema.EnvVarAuthMethod(type="env_var", id="key", name="Key", vars=[schema.AuthEnvVar(name="A_KEY")])
SAVED = schema.AuthMethodAgent(id="cached_token", name="Cached token")
TERMINAL = schema.TerminalAuthMethod(type="terminal", id="login", name="Log in")
ONLY = schema.AuthMethodAgent(id="gateway", name="Use the gateway")


@pytest.mark.parametrize(
    ("methods", "environment", "chosen"),
    [
        ([CHATGPT, KEY], {"OPENAI_API_KEY": "k"}, "openai-api-key"),
        ([CHATGPT, KEY], {"OPENAI_API_KEY": ""}, None),
        ([CHATGPT, KEY], {}, None),
        ([SAVED, VARIABLE], {"A_KEY": "k"}, "key"),
        ([SAVED, VARIABLE], {}, "cached_token"),
        ([schema.AuthMethodAgent(id="gemini-api-key", name="Gemini")], {"GEMINI_API_KEY": "k"}, "gemini-api-key"),
        ([ONLY, CHATGPT, TERMINAL], {}, "gateway"),
        ([TERMINAL], {}, None),
        ([], {}, None),
    ],
)
def test_the_method_that_needs_no_person_is_chosen(
    methods: list[schema.AuthMethodAgent], environment: dict[str, str], chosen: str | None
) -> None:
    assert choose_method(methods, environment) == chosen


def offer(*methods: schema.AuthMethodAgent) -> str:
    return msgspec.json.encode([method.model_dump(by_alias=True, exclude_none=True) for method in methods]).decode()


def test_an_agent_is_signed_in_by_a_variable_that_is_set(loop: Background, tmp_path: Path) -> None:
    agent = scripted_acp("--auth", offer(CHATGPT, KEY))
    with embedded_stage(loop, tmp_path, agent=agent) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello", environment_variables={"OPENAI_API_KEY": "secret"})
        [run] = api.list_runs(session_id).ok()["runs"]
        assert run["status"] == "completed"
        assert text(api, session_id, run["run_id"]) == "1: hello"


@pytest.mark.parametrize(
    ("method", "error"),
    [
        (CHATGPT, "The agent requires authentication. It offers: Login with ChatGPT (chatgpt)"),
        (
            schema.AuthMethodAgent(id="bad", name="Key"),
            "The agent refused to authenticate by bad. It offers: Key (bad)",
        ),
    ],
)
def test_the_methods_are_in_error_and_log(
    loop: Background, tmp_path: Path, method: schema.AuthMethodAgent, error: str
) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--auth", offer(method))) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        [run] = api.list_runs(session_id).ok()["runs"]
        assert (run["status"], run["error"]) == ("error", error)
        assert any(f"it offers: {method.name} ({method.id})" in line for line in api.logs(session_id))
