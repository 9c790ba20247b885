"""A hostile ACP agent and its commands in the sandbox, seen through the API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import events, reply
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.processes import working_in
from tests.support.sandboxed import needs_sandbox
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = [needs_sandbox, pytest.mark.xdist_group("acp-sandbox")]


@pytest.fixture(scope="module")
def stage(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    chosen = {"agent": scripted_acp("--load"), "agent_sandbox": "bwrap", "agent_memory_bytes": 2**28}
    with embedded_stage(loop, tmp_path_factory.mktemp("acp"), **chosen) as stage:
        yield stage


def run(api: Api, session_id: str, line: str) -> str:
    """Let the agent run a line of the shell in a terminal; return what it has printed."""
    run_id = api.say(session_id, f"run {line}")["run_id"]
    [result] = [each for each in events(api, session_id, run_id) if each["type"] == "TOOL_CALL_RESULT"]
    return str(result["content"]).strip()


def test_the_store_and_other_workspaces_are_out_of_reach(stage: EmbeddedStage, api: Api, session_id: str) -> None:
    victim = stage.session(api, "running", task="hello", environment_variables={"TOKEN": "hunter22"})
    (stage.directory / "workspaces" / str(api.project) / victim / "secret.txt").write_text("hunter22")
    found = run(api, session_id, f"cd ../../..; find . -type f; cat ambient.db workspaces/*/{victim}/secret.txt 2>&1")
    assert "hunter22" not in found
    assert found.count("No such file") == 2
    assert (stage.directory / "ambient.db").exists()


def test_a_command_that_detaches_itself_ends_with_its_turn(api: Api, session_id: str) -> None:
    run(api, session_id, "setsid sh -c '(setsid sleep 600 &) ; sleep 601' >/dev/null 2>&1 & sleep 0.1; echo $!")
    eventually(lambda: len(working_in(session_id)) == 1)


@pytest.mark.parametrize("end", ["stop_session", "delete_session"])
@pytest.mark.parametrize("how", ["orphan apart", "leave hanging"])
def test_nothing_outlives_a_session(api: Api, session_id: str, how: str, end: str) -> None:
    api.send_message(session_id, how).ok()
    eventually(lambda: working_in(session_id))
    getattr(api, end)(session_id).ok()
    eventually(lambda: not working_in(session_id))


def test_agent_and_commands_share_tmp_and_a_home_that_lasts(stage: EmbeddedStage, api: Api, session_id: str) -> None:
    home = stage.directory / "homes" / str(api.project) / session_id
    assert reply(api, session_id, "env HOME") == str(home)
    run(api, session_id, "echo x > /tmp/x; echo kept > ~/.settings")
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    api.start_session(session_id).ok()
    api.wait_for_status(session_id, "running")
    assert run(api, session_id, "cat ~/.settings; ls /tmp | grep -x x") == "kept"
    api.delete_session(session_id).ok()
    eventually(lambda: not home.exists())


def test_too_much_memory_fails_the_run_and_the_next_one_works(api: Api, session_id: str) -> None:
    eats = r"head -c 100M /dev/zero > /tmp/x; held=$(head -c 200M /dev/zero | tr '\0' x); sleep 60"
    answer = api.say(session_id, f"run {eats}")
    assert answer["status"] == "error"
    assert answer["error"] == "The agent and its commands used too much memory and were ended."
    assert any("used too much memory" in line for line in api.logs(session_id))
    assert api.say(session_id, "hello")["status"] == "completed"


def test_the_list_of_agents_says_that_it_is_confined(api: Api) -> None:
    assert [agent["sandboxed"] for agent in api.list_agents().ok()["items"]] == [True]
    assert "sandbox" in api.whoami().ok()["capabilities"]


def test_the_files_of_a_workspace_are_the_servers_user_s(stage: EmbeddedStage, api: Api, session_id: str) -> None:
    run(api, session_id, "mkdir -p deep; echo x > deep/file")
    path = stage.directory / "workspaces" / str(api.project) / session_id / "deep" / "file"
    assert path.read_text() == "x\n"
    assert path.stat().st_uid == Path.home().stat().st_uid
