"""An agent made with the official ACP SDK: what its agent side puts on the wire works here."""

from collections.abc import Iterator

import pytest

from tests.support.agents.process import sdk_acp
from tests.support.agents.runs import events, reply, text
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("acp")


@pytest.fixture(scope="module")
def stage(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    with embedded_stage(loop, tmp_path_factory.mktemp("acp-sdk"), agent=sdk_acp()) as stage:
        yield stage


def test_it_works_with_permission_on_files_and_in_terminals(stage: EmbeddedStage, api: Api) -> None:
    session_id: str = api.create_session(task="work").ok()["id"]
    [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
    path = stage.directory / "workspaces" / str(api.project) / session_id / "notes.txt"
    assert (approval["message"], approval["tool_name"]) == ("Edit notes.txt", "edit")
    assert approval["args"] == {"path": str(path)}
    api.answer_approval(session_id, approval["id"], "allow").ok()
    run = api.wait_for_run(session_id, approval["run_id"], "completed")
    assert path.read_text() == "written"
    log = events(api, session_id, run["run_id"])
    assert [event["type"] for event in log if event["type"] != "CUSTOM"] == [
        "RUN_STARTED",
        *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END"),
        "REASONING_END",
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
        "ACTIVITY_SNAPSHOT",
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        "RUN_FINISHED",
    ]
    results = [event["content"] for event in log if event["type"] == "TOOL_CALL_RESULT"]
    assert results == ["yes: written", "written"]
    assert run["usage"] == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "cost_usd": 0.25}


def test_it_is_interrupted_and_resumes_its_conversation_with_its_model(stage: EmbeddedStage, api: Api) -> None:
    session_id = stage.session(api, "running", task="hello", model="large")
    run_id = api.send_message(session_id, "hang").ok()["run_id"]
    eventually(lambda: text(api, session_id, run_id) == "Waiting")
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert reply(api, session_id, "and now") == "3: and now"
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    api.start_session(session_id).ok()
    api.wait_for_status(session_id, "running")
    assert reply(api, session_id, "again") == "4: again"
    assert reply(api, session_id, "model") == "maker/large"
