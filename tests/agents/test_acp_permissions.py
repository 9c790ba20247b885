"""What an ACP agent, a real process, asks within its turn: shown, answered, and closed with its run."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("acp")
SCRIPT = Path(__file__).parents[1] / "support" / "agents" / "acp_agent.py"
AGENT = "acp:" + shlex.join([sys.executable, str(SCRIPT)])


@pytest.fixture(scope="module")
def acp(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    with embedded_stage(loop, tmp_path_factory.mktemp("acp"), agent=AGENT) as stage:
        yield stage


@pytest.fixture
def api(acp: EmbeddedStage) -> Iterator[Api]:
    with acp.api() as api:
        yield api


@pytest.fixture
def session_id(acp: EmbeddedStage, api: Api) -> str:
    return acp.session(api, "running", task="Say hello")


def ask(api: Api, session_id: str, message: str = "careful") -> tuple[str, dict[str, Any]]:
    """The run that asks, and what it asks."""
    run_id: str = api.send_message(session_id, message).ok()["run_id"]
    [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
    return run_id, approval


def said(api: Api, session_id: str, run_id: str) -> str:
    events = api.output(session_id, format="events", run_id=run_id).ok()["events"]
    return "".join(each["delta"] for each in events if each["type"] == "TEXT_MESSAGE_CONTENT")


def chosen(api: Api, session_id: str, run_id: str) -> str:
    """The option that the agent was told, once its run has ended."""
    api.wait_for_run(session_id, run_id, "completed")
    return said(api, session_id, run_id).split()[-1]


def test_the_question_says_what_the_agent_has_said_of_its_tool_call(api: Api, session_id: str) -> None:
    run_id, approval = ask(api, session_id)
    assert approval == {
        "id": approval["id"],
        "run_id": run_id,
        "status": "pending",
        "message": "Edit notes.txt",
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
    events = api.output(session_id, format="events", run_id=run_id).ok()["events"]
    names = [each.get("name") or each["type"] for each in events]
    assert names.index("TOOL_CALL_START") < names.index("approval.requested"), "as the agent said it"
    assert events[names.index("approval.requested")]["value"] == approval
    api.interrupt_session(session_id).ok()


@pytest.mark.parametrize(
    ("decision", "more", "option"),
    [
        ("allow", {}, "yes"),
        ("deny", {}, "no"),
        ("allow", {"payload": {"option_id": "ever"}}, "ever"),
    ],
)
def test_the_agent_goes_on_with_the_answer(
    api: Api, session_id: str, decision: str, more: dict[str, Any], option: str
) -> None:
    run_id, approval = ask(api, session_id)
    answered = api.answer_approval(session_id, approval["id"], decision, **more).ok()
    assert answered == {**approval, "status": {"allow": "allowed", "deny": "denied"}[decision]}
    assert chosen(api, session_id, run_id) == option
    assert len(api.list_runs(session_id).ok()["runs"]) == 2, "no run of its own carries the answer"
    assert "waiting_for" not in api.get_session(session_id).ok()
    assert api.answer_approval(session_id, approval["id"], decision).error == (409, "approval_closed")


def test_an_option_that_the_agent_does_not_offer_is_refused(api: Api, session_id: str) -> None:
    run_id, approval = ask(api, session_id)
    answer = api.answer_approval(session_id, approval["id"], "allow", payload={"option_id": "maybe"})
    assert (answer.error, answer.faults) == ((400, "invalid_request"), ["body.payload.option_id"])
    assert b"maybe" not in answer.content
    api.answer_approval(session_id, approval["id"], "deny").ok()
    assert chosen(api, session_id, run_id) == "no"


def test_a_change_that_is_only_shown_is_in_the_question(api: Api, session_id: str) -> None:
    run_id, approval = ask(api, session_id, "show")
    assert approval["args"] == {"content": [{"type": "diff", "path": "/a", "newText": "new"}]}
    api.answer_approval(session_id, approval["id"], "deny").ok()
    assert chosen(api, session_id, run_id) == "cancelled", "it offers no way to say no"


@pytest.mark.parametrize(("policy", "option"), [("allow", "yes"), ("deny", "no")])
def test_a_policy_answers_in_the_clients_place(acp: EmbeddedStage, api: Api, policy: str, option: str) -> None:
    session_id = acp.session(api, "running", approval_policy=policy)
    run_id = api.say(session_id, "careful 3")["run_id"]
    assert chosen(api, session_id, run_id) == option


def test_the_agent_is_told_no_when_nobody_answers_in_time(loop: Background, tmp_path: Path) -> None:
    with embedded_stage(loop, tmp_path, agent=AGENT, approval_timeout="50ms") as acp, acp.api() as api:
        session_id = acp.session(api, "running", task="careful")
        [run] = api.list_runs(session_id).ok()["runs"]
        assert chosen(api, session_id, run["run_id"]) == "no"


def test_an_agent_is_told_of_an_interrupt_while_it_waits_and_lives_on(api: Api, session_id: str) -> None:
    run_id, approval = ask(api, session_id)
    assert api.interrupt_session(session_id).ok()["interrupted"] is True
    assert api.get_run(session_id, run_id).ok()["status"] == "interrupted"
    assert api.answer_approval(session_id, approval["id"], "allow").error == (409, "approval_closed")
    next_run = api.say(session_id, "and now")
    assert said(api, session_id, next_run["run_id"]) == "3: and now"


def test_a_stop_ends_the_agent_and_its_question(api: Api, session_id: str) -> None:
    run_id, approval = ask(api, session_id)
    api.stop_session(session_id).ok()
    api.wait_for_status(session_id, "stopped")
    assert api.get_run(session_id, run_id).ok()["status"] == "interrupted"
    assert api.list_approvals(session_id).ok() == {"items": []}
    assert api.answer_approval(session_id, approval["id"], "allow").error == (409, "approval_closed")


def test_a_session_is_deleted_while_its_agent_waits(api: Api, session_id: str) -> None:
    _, approval = ask(api, session_id)
    api.delete_session(session_id).ok()
    assert api.answer_approval(session_id, approval["id"], "allow").error == (404, "session_not_found")


def test_the_question_of_an_agent_that_dies_is_closed(api: Api, session_id: str) -> None:
    run_id, approval = ask(api, session_id)
    os.kill(int(said(api, session_id, run_id)), signal.SIGKILL)
    api.wait_for_run(session_id, run_id, "error")
    assert api.list_approvals(session_id).ok() == {"items": []}
    assert api.answer_approval(session_id, approval["id"], "allow").error == (409, "approval_closed")
    assert api.say(session_id, "hello")["status"] == "completed"


def test_an_agent_that_asks_without_end_is_ended(acp: EmbeddedStage, api: Api) -> None:
    session_id = acp.session(api, "running", approval_policy="allow")
    run = api.say(session_id, "careful 1000000")
    assert (run["status"], run["error"]) == ("error", "The agent asked more than it may in one run.")
    assert api.say(session_id, "hello")["status"] == "completed"
