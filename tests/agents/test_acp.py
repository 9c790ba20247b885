"""Agents over the Agent Client Protocol, each a real process: what they say, and how they are ended."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.agents import process_group
from app.agents.acp import transport
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.processes import alive
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("acp")
SCRIPT = Path(__file__).parents[1] / "support" / "agents" / "acp_agent.py"
AGENT = "acp:" + shlex.join([sys.executable, str(SCRIPT)])


@pytest.fixture(scope="module")
def acp(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PASSED_ON", "by the operator")
        patch.setenv("SECRET_OF_THE_SERVICE", "not for agents")
        with embedded_stage(loop, tmp_path_factory.mktemp("acp"), agent=AGENT, agent_env="PASSED_ON") as stage:
            yield stage


@pytest.fixture
def api(acp: EmbeddedStage) -> Iterator[Api]:
    with acp.api() as api:
        yield api


@pytest.fixture
def session_id(acp: EmbeddedStage, api: Api) -> str:
    return acp.session(api, "running", task="Say hello", environment_variables={"OWN": "of the session"})


def events(api: Api, session_id: str, run: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.output(session_id, format="events", run_id=run["run_id"]).ok()["events"]
    return found


def said(api: Api, session_id: str, run: dict[str, Any]) -> str:
    return "".join(each["delta"] for each in events(api, session_id, run) if each["type"] == "TEXT_MESSAGE_CONTENT")


def test_text_is_streamed_as_one_message(api: Api, session_id: str) -> None:
    run = api.say(session_id, "one|two|three")
    assert [each["type"] for each in events(api, session_id, run)] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * 3,
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert said(api, session_id, run) == "2: onetwothree", "the agent remembers the session's first prompt"
    end = events(api, session_id, run)[-1]
    assert end["usage"] == [{"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}]
    assert end["outcome"] == {"type": "success"}


def test_thoughts_are_reasoning(api: Api, session_id: str) -> None:
    run = api.say(session_id, "think aloud")
    types = [each["type"] for each in events(api, session_id, run)]
    assert types[1:7] == [
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
    ]


@pytest.mark.parametrize(("request_", "status"), [("tool", "completed"), ("tool failed", "error")])
def test_a_tool_call_is_in_the_transcript(api: Api, session_id: str, request_: str, status: str) -> None:
    run = api.say(session_id, request_)
    messages = api.output(session_id, run_id=run["run_id"]).ok()["messages"]
    [call] = [call for message in messages for call in message.get("tool_calls", [])]
    assert (call["name"], call["args"], call["result"]) == ("Read file", '{"path":"a"}', "the text")
    assert call["status"] == status


def test_plans_and_usage_are_kept(api: Api, session_id: str) -> None:
    _, plan, usage, _ = events(api, session_id, api.say(session_id, "plan"))
    entry = {"content": "First", "priority": "high", "status": "pending"}
    assert (plan["type"], plan["content"]) == ("ACTIVITY_SNAPSHOT", {"entries": [entry]})
    assert (usage["type"], usage["name"], usage["value"]["used"]) == ("CUSTOM", "acp.usage_update", 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PASSED_ON", "by the operator"), ("OWN", "of the session"), ("SECRET_OF_THE_SERVICE", "unset")],
)
def test_the_agent_sees_only_its_own_environment(api: Api, session_id: str, name: str, value: str) -> None:
    assert said(api, session_id, api.say(session_id, f"env {name}")) == value


def test_the_agent_works_on_files_of_its_workspace_through_us(acp: EmbeddedStage, api: Api, session_id: str) -> None:
    workspace = acp.database.parent / "workspaces" / str(api.project) / session_id
    assert said(api, session_id, api.say(session_id, f"write {workspace}/sub/a.txt some text")) == "written"
    assert (workspace / "sub" / "a.txt").read_text() == "some text"
    assert said(api, session_id, api.say(session_id, f"read {workspace}/sub/a.txt")) == "some text"
    refused = said(api, session_id, api.say(session_id, f"read {acp.database}"))
    assert refused == "refused: The path must be absolute and lie in the workspace"


def test_what_a_command_prints_is_the_result_of_its_tool_call(api: Api, session_id: str) -> None:
    run = api.say(session_id, "run echo $OWN; echo ${SECRET_OF_THE_SERVICE:-unset}")
    [result] = [each for each in events(api, session_id, run) if each["type"] == "TOOL_CALL_RESULT"]
    assert result["content"] == "of the session\nunset\n"


def test_a_command_that_is_left_running_ends_with_its_turn(api: Api, session_id: str) -> None:
    pid = int(said(api, session_id, api.say(session_id, "leave")))
    eventually(lambda: not alive(pid))


@pytest.mark.parametrize("end", ["interrupt_session", "stop_session", "delete_session"])
def test_a_command_that_is_left_running_ends_with_its_session(api: Api, session_id: str, end: str) -> None:
    run_id = api.send_message(session_id, "leave hanging").ok()["run_id"]
    [pid] = eventually(lambda: said(api, session_id, {"run_id": run_id}).split())
    assert alive(int(pid))
    getattr(api, end)(session_id).ok()
    eventually(lambda: not alive(int(pid)))


def test_a_flood_arrives_whole_and_in_order(api: Api, session_id: str) -> None:
    run = api.say(session_id, "flood 5000")
    assert said(api, session_id, run).split() == [str(number) for number in range(5000)]


def test_a_flood_is_interrupted_and_the_agent_lives_on(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "flood 10000000").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2000)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert said(api, session_id, api.say(session_id, "and now")) == "3: and now"


def test_a_message_that_is_too_large_ends_the_run(api: Api, session_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_LINE", 1_000_000)
    assert len(said(api, session_id, api.say(session_id, "overflow 900000"))) == 900_000
    run = api.say(session_id, "overflow 3000000")
    assert (run["status"], run["error"]) == ("error", "The agent sent a message that is too large.")
    assert api.say(session_id, "hello")["status"] == "completed"


def test_lines_for_people_are_in_the_log_and_harm_nothing(api: Api, session_id: str) -> None:
    assert said(api, session_id, api.say(session_id, "babble")) == "Sorry"
    told = [line for line in api.logs(session_id) if "not of the protocol: a line for people" in line]
    assert len(told) == transport.MAX_COMPLAINTS


def test_what_an_agent_refuses_is_an_error_and_the_details_are_in_the_log(api: Api, session_id: str) -> None:
    run = api.say(session_id, "refuse")
    assert (run["status"], run["error"]) == ("error", "The agent refused: No credit")
    told = [line.split(" ", 1)[1] for line in api.logs(session_id)]
    assert 'agent: refused: No credit: {"balance":"0 dollars"}' in told


def test_an_agent_of_another_version_is_refused(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=f"{AGENT} --future") as stage, stage.api() as api:
        session_id = stage.session(api, "running")
        [run] = api.list_runs(session_id).ok()["runs"]
    assert (run["status"], run["error"]) == ("error", "The agent speaks another version of the protocol.")


def test_an_agent_that_obeys_is_interrupted_and_lives_on(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "hang").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert api.get_run(session_id, run_id).ok()["status"] == "interrupted"
    assert said(api, session_id, api.say(session_id, "and now")) == "3: and now"


def test_an_agent_that_does_not_is_ended_with_all_its_processes(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "deaf").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2)
    pids = [int(pid) for pid in said(api, session_id, {"run_id": run_id}).split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    eventually(lambda: not any(alive(pid) for pid in pids))
    answer = said(api, session_id, api.say(session_id, "hello"))
    assert answer.startswith("1: Our conversation so far:"), "a new process is told what was said"
    assert "user: Say hello" in answer
    assert answer.endswith("hello")


def test_a_stop_ends_the_process(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "deaf").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2)
    pids = [int(pid) for pid in said(api, session_id, {"run_id": run_id}).split()]
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_an_agent_that_dies_ends_its_run_and_is_started_again(api: Api, session_id: str) -> None:
    run = api.say(session_id, "die")
    assert (run["status"], run["error"]) == ("error", "The agent ended or broke the protocol.")
    assert api.say(session_id, "hello")["status"] == "completed"


def test_an_agent_that_has_left_between_turns_is_started_again(api: Api, session_id: str) -> None:
    pid = int(said(api, session_id, api.say(session_id, "quit")))
    eventually(lambda: not alive(pid))
    run = api.say(session_id, "hello")
    assert run["status"] == "completed"
    assert said(api, session_id, run).startswith("1: Our conversation so far:")


def test_nothing_is_left_when_the_server_ends(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=AGENT) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        run_id = api.send_message(session_id, "leave hanging").ok()["run_id"]
        eventually(lambda: said(api, session_id, {"run_id": run_id}))
        pids = [int(path.name) for path in (tmp_path / "agents").iterdir()]
        assert len(pids) == 2, "the agent and its command, written down in case the server is killed"
        assert all(alive(pid) for pid in pids)
    eventually(lambda: not any(alive(pid) for pid in pids))
    assert list((tmp_path / "agents").iterdir()) == []


def group() -> "subprocess.Popen[bytes]":
    """A process that leads a group of its own, which has one more member."""
    return subprocess.Popen(["/bin/sh", "-c", "sleep 600 & wait"], start_new_session=True)


def test_what_a_killed_server_has_left_is_ended_at_the_next_start(loop: Background, tmp_path: Path) -> None:
    left, other = group(), group()
    try:
        process_group.record(tmp_path / "agents", left.pid)
        process_group.record(tmp_path / "agents", other.pid).write_text("another-boot 1")
        with embedded_stage(loop, tmp_path, agent=AGENT):
            assert left.wait(timeout=30) == -signal.SIGKILL
            assert other.poll() is None
        assert list((tmp_path / "agents").iterdir()) == []
    finally:
        for each in (left, other):
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def test_an_agent_that_is_not_there_is_an_error(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent="acp:/nonexistent/agent --acp") as stage, stage.api() as api:
        session_id = stage.session(api, "running")
        [run] = api.list_runs(session_id).ok()["runs"]
    assert (run["status"], run["error"]) == ("error", "The agent could not be started.")
