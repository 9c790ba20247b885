"""The coding agent opencode, an ACP agent, driven through the API with a scripted model."""

import json
import platform
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.models.caller import Role
from tests.support.agents.model import Model
from tests.support.api import Api
from tests.support.command import invoke
from tests.support.deadline import eventually
from tests.support.processes import working_in
from tests.support.repositories import git, make_repository
from tests.support.server import ROOT, Background, serving
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("opencode")
MACHINE = {"aarch64": "arm64"}.get(platform.machine(), "x64")
PROGRAM = ROOT / "tests/e2e/opencode/node_modules" / f"opencode-linux-{MACHINE}" / "bin/opencode"


@pytest.fixture(scope="module")
def model(loop: Background) -> Iterator[tuple[Model, str]]:
    model = Model()
    with serving(model.app, loop) as url:
        yield model, url


@pytest.fixture
def requests_to_model(model: tuple[Model, str]) -> list[tuple[str, list[tuple[str, str]]]]:
    model[0].heard.clear()
    return model[0].heard


@pytest.fixture(scope="module")
def stage(
    loop: Background, model: tuple[Model, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedStage]:
    assert PROGRAM.exists(), "opencode is not installed; make test-slow installs it"
    home = tmp_path_factory.mktemp("opencode")
    cost = {"input": 1000, "output": 2000}  # dollars for a million tokens
    limit = {"context": 100_000, "output": 1000}
    models = {name: {"name": name, "cost": cost, "limit": limit} for name in ("one", "two")}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": f"{model[1]}/v1", "apiKey": "x"}}
    configuration = {
        "autoupdate": False,
        "share": "disabled",
        "enabled_providers": ["script"],
        "model": "script/one",
        "small_model": "script/one",
        "permission": {"edit": "ask"},
        "provider": {"script": {**provider, "models": models}},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("CONFIG", "DATA", "CACHE", "STATE"):
            patch.delenv(f"XDG_{name}_HOME", raising=False)
        patch.setenv("OPENCODE_CONFIG_CONTENT", json.dumps(configuration))
        patch.setenv("OPENCODE_DISABLE_MODELS_FETCH", "1")
        agent = "acp:" + shlex.join([str(PROGRAM), "acp"])
        names = "OPENCODE_CONFIG_CONTENT,OPENCODE_DISABLE_MODELS_FETCH"
        roots = f"demo={home / 'src'}"
        with embedded_stage(loop, home / "data", agent=agent, agent_env=names, local_roots=roots) as stage:
            yield stage


@pytest.fixture
def api(stage: EmbeddedStage) -> Iterator[Api]:
    with stage.api() as api:
        yield api


def events(api: Api, session_id: str, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.output(session_id, format="events", run_id=run_id).ok()["events"]
    return found


def reply(api: Api, session_id: str, run_id: str) -> str:
    found = events(api, session_id, run_id)
    return "".join(each["delta"] for each in found if each["type"] == "TEXT_MESSAGE_CONTENT")


def only_run(api: Api, session_id: str) -> dict[str, Any]:
    [run] = api.list_runs(session_id).ok()["runs"]
    assert isinstance(run, dict)
    return run


def test_it_is_interrupted_stopped_and_resumes_its_conversation(
    stage: EmbeddedStage, api: Api, requests_to_model: list[tuple[str, list[tuple[str, str]]]]
) -> None:
    session_id = stage.session(api, "running", task="hello")
    run = only_run(api, session_id)
    assert reply(api, session_id, run["run_id"]) == "echo: hello "
    assert run["usage"] == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "cost_usd": 0.02}

    slow = api.send_message(session_id, "slow").ok()["run_id"]
    eventually(lambda: "tick 3" in reply(api, session_id, slow))
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert api.get_run(session_id, slow).ok()["status"] == "interrupted"

    assert reply(api, session_id, api.say(session_id, "and now")["run_id"]) == "echo: and now "
    assert working_in(session_id), "the interrupted agent has ended"

    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    eventually(lambda: not working_in(session_id))

    api.start_session(session_id).ok()
    api.wait_for_status(session_id, "running")
    assert reply(api, session_id, api.say(session_id, "welcome back")["run_id"]) == "echo: welcome back "
    _, conversation = requests_to_model[-1]
    messages = [(role, text) for role, text in conversation if role != "system"]
    assert messages[:2] == [("user", "hello"), ("assistant", "echo: hello ")]
    assert messages[-3:] == [("user", "and now"), ("assistant", "echo: and now "), ("user", "welcome back")]
    texts = [message["content"] for message in api.output(session_id).ok()["messages"] if message["role"] == "user"]
    assert texts == ["hello", "slow", "and now", "welcome back"]
    api.delete_session(session_id).ok()


def test_its_tools_use_the_workspace_and_request_approvals(
    stage: EmbeddedStage, api: Api, requests_to_model: list[tuple[str, list[tuple[str, str]]]]
) -> None:
    session_id: str = api.create_session(task="write notes.txt", model="script/two").ok()["id"]
    [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
    notes = stage.directory / "workspaces" / str(api.project) / session_id / "notes.txt"
    assert not notes.exists()
    api.answer_approval(session_id, approval["id"], decision="allow").ok()
    write = api.wait_for_run(session_id, only_run(api, session_id)["run_id"], "completed")
    assert notes.read_text() == "written\n"
    assert {name for name, _ in requests_to_model} == {"two"}

    read = api.say(session_id, "read notes.txt")
    for run, name, argument in ((write, "write", {"content": "written\n"}), (read, "read", {})):
        found = events(api, session_id, run["run_id"])
        [start] = [each for each in found if each["type"] == "TOOL_CALL_START"]
        [arguments] = [each for each in found if each["type"] == "TOOL_CALL_ARGS"]
        [result] = [each for each in found if each["type"] == "TOOL_CALL_RESULT"]
        assert start["toolCallName"] == name
        assert json.loads(arguments["delta"]) == {"filePath": "notes.txt", **argument}
        assert start["toolCallId"] == arguments["toolCallId"] == result["toolCallId"]
        assert "The tool says:" in reply(api, session_id, run["run_id"])
    messages = api.output(session_id, run_id=read["run_id"]).ok()["messages"]
    [call] = [call for message in messages for call in message.get("tool_calls", [])]
    assert (call["name"], call["status"], call["result"]) == ("read", "completed", "written")
    api.delete_session(session_id).ok()


def test_its_work_on_a_local_repository_is_applied_and_pushed(stage: EmbeddedStage, tmp_path: Path) -> None:
    source = stage.directory.parent / "src" / "shop"
    make_repository(source.parent, source.name, README="shop\n")
    git(source.parent, "clone", "--quiet", "--bare", source.as_uri(), "shop.git")
    git(source, "remote", "add", "origin", str(source.parent / "shop.git"))
    environment = {"AMBIENT_URL": stage.url, "AMBIENT_KEY": stage.token("demo", Role.ADMIN)}
    options = ("--dir", str(source), "--approve", "allow", "--apply", "--json")

    done = invoke(tmp_path, "run", "write notes.txt", *options, **environment)

    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["outcome"], report["applied"]) == ("done", True)
    assert "The tool says:" in report["run"]["answer"]
    assert (source / "notes.txt").read_text() == "written\n"
    pushed = invoke(tmp_path, "sessions", "push", report["session_id"], "--branch", "notes", **environment)
    assert pushed.exit_code == 0, pushed.stderr
    assert git(source.parent / "shop.git", "show", "notes:notes.txt") == "written\n"
    assert invoke(tmp_path, "sessions", "delete", report["session_id"], **environment).exit_code == 0
