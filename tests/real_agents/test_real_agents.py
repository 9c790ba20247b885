"""Agents of other makers, each as npm has it, driven through the API with a scripted model: `make test-agents`."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import deadline
from tests.support.agents.model import Model
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.server import ROOT, Background, serving
from tests.support.stage import EmbeddedStage, embedded_stage

PROGRAMS = ROOT / "tests/real_agents/node_modules/.bin"
WITHIN = 90.0  # the start of an agent takes seconds, on a busy machine half a minute


def _nothing(_home: Path, _url: str) -> None:
    """Write no configuration."""


def _codex(home: Path, url: str) -> None:
    provider = f'[model_providers.script]\nname = "script"\nbase_url = "{url}/v1"\nwire_api = "responses"\n'
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text(
        f'model = "gpt-5"\nmodel_provider = "script"\napproval_policy = "on-request"\nsandbox_mode = "read-only"\n'
        f'{provider}env_key = "OPENAI_API_KEY"\nrequires_openai_auth = false\n'
    )


def _gemini(home: Path, _url: str) -> None:
    (home / ".gemini").mkdir()
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"enableAutoUpdate": False}}
    (home / ".gemini/settings.json").write_text(json.dumps(settings))


def _qwen(home: Path, _url: str) -> None:
    (home / ".qwen").mkdir()
    settings = {"security": {"auth": {"selectedType": "openai"}}, "general": {"enableAutoUpdate": False}}
    (home / ".qwen/settings.json").write_text(json.dumps(settings))


class Subject(NamedTuple):
    """An agent: its mode that requests permissions, its variables for the model's URL, its configuration in a home."""

    mode: str
    variables: Callable[[str], dict[str, str]]
    configure: Callable[[Path, str], None] = _nothing


SUBJECTS = {
    "claude": Subject("default", lambda url: {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "x"}),
    "codex": Subject("read-only", lambda _url: {"OPENAI_API_KEY": "x"}, _codex),
    "gemini": Subject("default", lambda url: {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "x"}, _gemini),
    "qwen": Subject(
        "default", lambda url: {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "x", "OPENAI_MODEL": "script"}, _qwen
    ),
}


@pytest.fixture
def model(loop: Background) -> Iterator[tuple[Model, str]]:
    model = Model()
    with serving(model.app, loop) as url:
        yield model, url


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> tuple[str, Subject]:
    return request.param, SUBJECTS[request.param]


@pytest.fixture
def stage(
    loop: Background, model: tuple[Model, str], tmp_path: Path, subject: tuple[str, Subject]
) -> Iterator[EmbeddedStage]:
    name, agent = subject
    home = tmp_path / "home"
    home.mkdir()
    agent.configure(home, model[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline, "WITHIN", WITHIN)
        patch.setenv("HOME", str(home))
        patch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
        for kind in ("CONFIG", "DATA", "CACHE", "STATE"):
            patch.delenv(f"XDG_{kind}_HOME", raising=False)
        for variable, value in agent.variables(model[1]).items():
            patch.setenv(variable, value)
        with embedded_stage(loop, tmp_path / "data", agent=name) as stage:
            yield stage


@pytest.fixture
def api(stage: EmbeddedStage) -> Iterator[Api]:
    with stage.api() as api:
        yield api


def reply(api: Api, session_id: str, run_id: str) -> str:
    found: list[dict[str, Any]] = api.output(session_id, format="events", run_id=run_id).ok()["events"]
    return "".join(each["delta"] for each in found if each["type"] == "TEXT_MESSAGE_CONTENT")


def test_an_agent_answers_writes_stops_and_resumes(
    stage: EmbeddedStage, api: Api, model: tuple[Model, str], subject: tuple[str, Subject]
) -> None:
    created = api.create_session(task="hello", mode=subject[1].mode).ok()
    session_id = created["id"]
    first = api.wait_for_run(session_id, created["run_id"])
    logs = "".join(api.logs(session_id))
    assert first["status"] == "completed", (first, logs, model[0].other)
    assert "hello" in reply(api, session_id, first["run_id"])

    notes = stage.directory / "workspaces" / str(api.project) / session_id / "notes.txt"
    write = api.send_message(session_id, f"write {notes}").ok()["run_id"]
    [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
    assert not notes.exists()
    api.answer_approval(session_id, approval["id"], decision="allow").ok()
    api.wait_for_run(session_id, write, "completed")
    assert notes.read_text() == "written\n"
    assert "The tool says:" in reply(api, session_id, write)

    slow = api.send_message(session_id, "slow").ok()["run_id"]
    eventually(lambda: "tick 3" in reply(api, session_id, slow))
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert api.get_run(session_id, slow).ok()["status"] == "interrupted"
    assert "and now" in reply(api, session_id, api.say(session_id, "say and now")["run_id"])

    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    api.start_session(session_id).ok()
    api.wait_for_status(session_id, "running")
    assert "welcome back" in reply(api, session_id, api.say(session_id, "welcome back")["run_id"])
    users = [text for role, text in model[0].heard[-1][1] if role == "user"]
    assert any("hello" in text for text in users)
    api.delete_session(session_id).ok()
