"""Permissions that an ACP agent, a real process, requests within its turn: listed, decided, and closed with the run."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import events, reply, text
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.processes import working_in
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("acp")


def pending_approval(api: Api, session_id: str, message: str = "careful") -> tuple[str, dict[str, Any]]:
    """Send a message that makes the agent request a permission; return the run's id and the approval."""
    run_id: str = api.send_message(session_id, message).ok()["run_id"]
    [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
    return run_id, approval


def chosen(api: Api, session_id: str, run_id: str) -> str:
    """Wait for the run to complete and return the option that the agent got, which is the last word of its text."""
    api.wait_for_run(session_id, run_id, "completed")
    return text(api, session_id, run_id).split()[-1]


def test_the_approval_has_the_details_of_the_tool_call_from_earlier_updates(api: Api, session_id: str) -> None:
    run_id, approval = pending_approval(api, session_id)
    assert approval == {
        "id": approval["id"],
        "run_id": run_id,
        "status": "pending",
        "message": "Edit notes.txt",
        "tool_call_id": "c3",
        "tool_name": "edit",
        "args": {"path": "notes.txt"},
        "options": [
            {"id": "ever", "name": "Always", "kind": "allow_always"},
            {"id": "yes", "name": "Yes", "kind": "allow_once"},
            {"id": "no", "name": "No", "kind": "reject_once"},
        ],
        "created_at": approval["created_at"],
        "expires_at": approval["expires_at"],
    }
    assert api.get_session(session_id).ok()["waiting_for"] == {"approvals": [approval["id"]]}
    log = events(api, session_id, run_id)
    names = [each.get("name") or each["type"] for each in log]
    assert names.index("TOOL_CALL_START") < names.index("approval.requested"), "in the order of the agent"
    assert log[names.index("TOOL_CALL_START")]["toolCallId"] == approval["tool_call_id"]
    assert log[names.index("approval.requested")]["value"] == approval
    api.interrupt_session(session_id).ok()


@pytest.mark.parametrize(
    ("decision", "more", "option"),
    [
        ("allow", {}, "yes"),
        ("deny", {}, "no"),
        ("allow", {"payload": {"option_id": "ever"}}, "ever"),
    ],
)
def test_the_agent_goes_on_with_the_decision(
    api: Api, session_id: str, decision: str, more: dict[str, Any], option: str
) -> None:
    run_id, approval = pending_approval(api, session_id)
    decided = api.answer_approval(session_id, approval["id"], decision, **more).ok()
    assert decided == {**approval, "status": {"allow": "allowed", "deny": "denied"}[decision]}
    assert chosen(api, session_id, run_id) == option
    assert len(api.list_runs(session_id).ok()["runs"]) == 2, "the decision needs no run of its own"
    assert "waiting_for" not in api.get_session(session_id).ok()
    assert api.answer_approval(session_id, approval["id"], decision).error == (409, "approval_closed")


def test_an_option_that_the_agent_does_not_offer_is_refused(api: Api, session_id: str) -> None:
    run_id, approval = pending_approval(api, session_id)
    response = api.answer_approval(session_id, approval["id"], "allow", payload={"option_id": "maybe"})
    assert (response.error, response.faults) == ((400, "invalid_request"), ["body.payload.option_id"])
    assert b"maybe" not in response.content
    api.answer_approval(session_id, approval["id"], "deny").ok()
    assert chosen(api, session_id, run_id) == "no"


def test_a_diff_is_the_approvals_args_when_there_is_no_input(api: Api, session_id: str) -> None:
    run_id, approval = pending_approval(api, session_id, "show")
    assert approval["args"] == {"content": [{"type": "diff", "path": "/a", "newText": "new"}]}
    api.answer_approval(session_id, approval["id"], "deny").ok()
    assert chosen(api, session_id, run_id) == "cancelled", "it offers no way to say no"


@pytest.mark.parametrize(("policy", "option"), [("allow", "yes"), ("deny", "no")])
def test_a_policy_decides_without_a_client(stage: EmbeddedStage, api: Api, policy: str, option: str) -> None:
    session_id = stage.session(api, "running", approval_policy=policy)
    run_id = api.say(session_id, "careful 3")["run_id"]
    assert chosen(api, session_id, run_id) == option


def test_an_approval_that_expires_is_denied(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=scripted_acp(), approval_timeout="50ms") as stage, stage.api() as api:
        session_id = stage.session(api, "running", task="careful")
        [run] = api.list_runs(session_id).ok()["runs"]
        assert chosen(api, session_id, run["run_id"]) == "no"


def test_an_agent_that_waits_is_interrupted_and_stays(api: Api, session_id: str) -> None:
    run_id, approval = pending_approval(api, session_id)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert api.get_run(session_id, run_id).ok()["status"] == "interrupted"
    assert api.answer_approval(session_id, approval["id"], "allow").error == (409, "approval_closed")
    assert reply(api, session_id, "and now") == "3: and now"


def test_a_stop_closes_the_approval(api: Api, session_id: str) -> None:
    run_id, approval = pending_approval(api, session_id)
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    assert api.get_run(session_id, run_id).ok()["status"] == "interrupted"
    assert api.list_approvals(session_id).ok() == {"items": []}
    assert api.answer_approval(session_id, approval["id"], "allow").error == (409, "approval_closed")


def test_a_session_is_deleted_while_its_agent_waits(api: Api, session_id: str) -> None:
    _, approval = pending_approval(api, session_id)
    api.delete_session(session_id).ok()
    assert api.answer_approval(session_id, approval["id"], "allow").error == (404, "session_not_found")


def test_the_approval_of_an_agent_that_is_killed_is_closed(api: Api, session_id: str) -> None:
    run_id, approval = pending_approval(api, session_id)
    os.kill(working_in(session_id)[int(text(api, session_id, run_id))], signal.SIGKILL)
    api.wait_for_run(session_id, run_id, "error")
    assert api.list_approvals(session_id).ok() == {"items": []}
    assert api.answer_approval(session_id, approval["id"], "allow").error == (409, "approval_closed")
    assert api.say(session_id, "hello")["status"] == "completed"


def test_an_agent_that_requests_permission_endlessly_is_stopped(stage: EmbeddedStage, api: Api) -> None:
    session_id = stage.session(api, "running", approval_policy="allow")
    run = api.say(session_id, "careful 1000000")
    assert (run["status"], run["error"]) == ("error", "The agent requested more approvals than it may in one run.")
    assert api.say(session_id, "hello")["status"] == "completed"
