"""Agents over the Agent Client Protocol, each a real process: what they send, and how they end."""

from pathlib import Path

import pytest

from app.agents.acp import transport
from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import events, reply, text
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.processes import alive
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("acp")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the server, one of which AGENT_ENV names."""
    monkeypatch.setenv("PASSED_ON", "by the operator")
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "not for agents")


def test_text_is_streamed_as_one_message(api: Api, session_id: str) -> None:
    run = api.say(session_id, "one|two|three")
    assert [each["type"] for each in events(api, session_id, run["run_id"])] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * 3,
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert text(api, session_id, run["run_id"]) == "2: onetwothree", "the agent remembers the session's first prompt"
    end = events(api, session_id, run["run_id"])[-1]
    assert end["usage"] == [{"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}]
    assert end["outcome"] == {"type": "success"}


def test_thoughts_are_reasoning(api: Api, session_id: str) -> None:
    run = api.say(session_id, "think aloud")
    types = [each["type"] for each in events(api, session_id, run["run_id"])]
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


def test_plans_and_usage_are_events(api: Api, session_id: str) -> None:
    run = api.say(session_id, "plan")
    _, plan, usage, _ = events(api, session_id, run["run_id"])
    entry = {"content": "First", "priority": "high", "status": "pending"}
    assert (plan["type"], plan["content"]) == ("ACTIVITY_SNAPSHOT", {"entries": [entry]})
    assert (usage["type"], usage["name"], usage["value"]["used"]) == ("CUSTOM", "acp.usage_update", 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PASSED_ON", "by the operator"), ("OWN", "of the session"), ("SECRET_OF_THE_SERVICE", "unset")],
)
def test_the_agent_sees_only_its_own_environment(api: Api, session_id: str, name: str, value: str) -> None:
    assert reply(api, session_id, f"env {name}") == value


def test_files_of_the_workspace_are_read_and_written_through_us(
    stage: EmbeddedStage, api: Api, session_id: str
) -> None:
    workspace = stage.directory / "workspaces" / str(api.project) / session_id
    assert reply(api, session_id, f"write {workspace}/sub/a.txt some text") == "written"
    assert (workspace / "sub" / "a.txt").read_text() == "some text"
    assert reply(api, session_id, f"read {workspace}/sub/a.txt") == "some text"
    refused = reply(api, session_id, f"read {stage.directory / 'ambient.db'}")
    assert refused == "refused: The path must be absolute and lie in the workspace"


@pytest.mark.parametrize(
    ("services", "file", "command"),
    [("off", False, False), ("fs", True, False), ("terminal", False, True)],
)
def test_services_that_are_not_offered_are_refused(
    loop: Background, tmp_path: Path, services: str, file: bool, command: bool
) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp(), agent_services=services) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="Say hello")
        [directory] = (tmp_path / "workspaces").glob(f"*/{session_id}")
        (directory / "a.txt").write_text("some text")
        assert (reply(api, session_id, f"read {directory}/a.txt") == "some text") is file
        run = api.say(session_id, "run touch ran")
        assert (run["status"] == "completed") is command
        assert (directory / "ran").exists() is command


def test_the_output_of_a_command_is_the_result_of_its_tool_call(api: Api, session_id: str) -> None:
    run = api.say(session_id, "run echo $OWN; echo ${SECRET_OF_THE_SERVICE:-unset}")
    [result] = [each for each in events(api, session_id, run["run_id"]) if each["type"] == "TOOL_CALL_RESULT"]
    assert result["content"] == "of the session\nunset\n"


def test_a_command_left_running_ends_with_its_turn(api: Api, session_id: str) -> None:
    pid = int(reply(api, session_id, "leave"))
    eventually(lambda: not alive(pid, session_id))


@pytest.mark.parametrize("end", ["interrupt_session", "stop_session", "delete_session"])
def test_a_command_left_running_ends_with_its_session(api: Api, session_id: str, end: str) -> None:
    run_id = api.send_message(session_id, "leave hanging").ok()["run_id"]
    [pid] = eventually(lambda: text(api, session_id, run_id).split())
    assert alive(int(pid), session_id)
    getattr(api, end)(session_id).ok()
    eventually(lambda: not alive(int(pid), session_id))


def test_a_flood_arrives_whole_and_in_order(api: Api, session_id: str) -> None:
    run = api.say(session_id, "flood 5000")
    assert text(api, session_id, run["run_id"]).split() == [str(number) for number in range(5000)]


def test_a_flood_is_interrupted_and_the_agent_stays(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "flood 10000000").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2000)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert reply(api, session_id, "and now") == "3: and now"


def test_a_message_that_is_too_large_ends_the_run(api: Api, session_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_LINE", 1_000_000)
    assert len(reply(api, session_id, "overflow 900000")) == 900_000
    run = api.say(session_id, "overflow 3000000")
    assert (run["status"], run["error"]) == ("error", "The agent sent a message that is too large.")
    assert api.say(session_id, "hello")["status"] == "completed"


def test_lines_that_are_not_json_rpc_are_logged_and_skipped(api: Api, session_id: str) -> None:
    assert reply(api, session_id, "babble") == "Sorry"
    logged = [line for line in api.logs(session_id) if "not a JSON-RPC message: a line for people" in line]
    assert len(logged) == transport.MAX_LOGGED_LINES


def test_an_agents_error_ends_the_run_and_its_details_are_logged(api: Api, session_id: str) -> None:
    run = api.say(session_id, "refuse")
    assert (run["status"], run["error"]) == ("error", "The agent returned an error: No credit")
    logged = [line.split(" ", 1)[1] for line in api.logs(session_id)]
    assert 'agent: returned an error: No credit: {"balance":"0 dollars"}' in logged


def test_an_agent_that_speaks_another_version_is_refused(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp("--future")) as stage, stage.api() as api:
        session_id = stage.session(api, "running")
        [run] = api.list_runs(session_id).ok()["runs"]
    assert (run["status"], run["error"]) == ("error", "The agent speaks another version of the protocol.")


def test_an_agent_that_stops_when_cancelled_is_used_for_the_next_turn(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "hang").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert api.get_run(session_id, run_id).ok()["status"] == "interrupted"
    assert reply(api, session_id, "and now") == "3: and now"


def test_an_agent_that_ignores_a_cancellation_is_killed_with_its_children(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "deaf").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2)
    pids = [int(pid) for pid in text(api, session_id, run_id).split()]
    assert len(pids) == 2
    assert all(alive(pid, session_id) for pid in pids)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    eventually(lambda: not any(alive(pid, session_id) for pid in pids))
    prompt = reply(api, session_id, "hello")
    assert prompt.startswith("1: Our conversation so far:"), "a new process gets the conversation as text"
    assert "user: Say hello" in prompt
    assert prompt.endswith("hello")


def test_a_stop_kills_the_agent_and_its_children(api: Api, session_id: str) -> None:
    run_id = api.send_message(session_id, "deaf").ok()["run_id"]
    eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 2)
    pids = [int(pid) for pid in text(api, session_id, run_id).split()]
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    eventually(lambda: not any(alive(pid, session_id) for pid in pids))


def test_an_agent_that_exits_fails_its_run_and_is_started_again(api: Api, session_id: str) -> None:
    run = api.say(session_id, "die")
    assert (run["status"], run["error"]) == (
        "error",
        "The agent exited with status 3. The session log has what it wrote.",
    )
    assert api.say(session_id, "hello")["status"] == "completed"


def test_an_agent_that_has_exited_between_turns_is_started_again(api: Api, session_id: str) -> None:
    pid = int(reply(api, session_id, "quit"))
    eventually(lambda: not alive(pid, session_id))
    run = api.say(session_id, "hello")
    assert run["status"] == "completed"
    assert text(api, session_id, run["run_id"]).startswith("1: Our conversation so far:")


def test_no_process_outlives_a_server_that_stops(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp()) as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        run_id = api.send_message(session_id, "leave hanging").ok()["run_id"]
        eventually(lambda: text(api, session_id, run_id))
        [pid] = text(api, session_id, run_id).split()
        assert alive(int(pid), session_id)
    eventually(lambda: not alive(int(pid), session_id))


def test_an_agent_that_cannot_be_started_fails_the_run(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent="acp:/nonexistent/agent --acp") as stage, stage.api() as api:
        session_id = stage.session(api, "running")
        [run] = api.list_runs(session_id).ok()["runs"]
        why = "is not installed. (default: /nonexistent/agent --acp)"
        log = eventually(lambda: api.logs(session_id), lambda lines: any(line.endswith(why) for line in lines))
    assert run["status"] == "error"
    assert run["error"] == "The agent could not be started: the command agent is not installed."
    assert any("could not be started: /nonexistent/agent --acp: No such file or directory" in line for line in log)


def test_an_agent_that_does_not_get_ready_in_time_fails_the_run_and_the_log_has_what_it_wrote(
    loop: Background, tmp_path: Path
) -> None:
    agent = 'acp:/bin/sh -c "echo downloading it >&2; exec sleep 600"'
    with embedded_stage(loop, tmp_path, agent=agent, agent_start_timeout="2s") as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="hello")
        [run] = api.list_runs(session_id).ok()["runs"]
        assert (run["status"], run["error"]) == ("error", "The agent did not start in time.")
        log = eventually(lambda: "\n".join(api.logs(session_id)), lambda log: "downloading it" in log)
    assert "error: The agent did not start in time. (" in log
