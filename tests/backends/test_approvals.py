"""Approvals: listed, decided once, durable; refused by a backend without them."""

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.stage import EmbeddedStage, PlatformStage


def ask(api: Api, session_id: str, content: str = "ask") -> dict[str, Any]:
    """The approval that the agent asks for when told so."""
    run = api.say(session_id, content)
    assert run["status"] == "waiting"
    approval: dict[str, Any] = api.list_approvals(session_id).ok()["items"][-1]
    assert approval["run_id"] == run["run_id"]
    return approval


def last_run(api: Api, session_id: str, number: int) -> dict[str, Any]:
    """The last of that many runs, once it has ended."""
    runs = eventually(lambda: api.list_runs(session_id).ok()["runs"], lambda runs: len(runs) == number)
    return api.wait_for_run(session_id, runs[-1]["run_id"])


def sayings(api: Api, session_id: str) -> list[tuple[str, str]]:
    messages = api.output(session_id).ok()["messages"]
    return [(message["role"], message["content"]) for message in messages if message.get("content")]


@pytest.fixture
def session_id(embedded: EmbeddedStage, embedded_api: Api) -> str:
    return embedded.session(embedded_api, "running")


class TestAnAgentThatEndsItsRunWithAQuestion:
    def test_the_session_shows_what_it_waits_for(self, embedded_api: Api, session_id: str) -> None:
        assert "waiting_for" not in embedded_api.get_session(session_id).ok()
        approval = ask(embedded_api, session_id, "delete notes.txt")
        assert approval == {
            "id": approval["id"],
            "run_id": approval["run_id"],
            "status": "pending",
            "message": "Delete notes.txt?",
            "tool_call_id": approval["tool_call_id"],
            "tool_name": "delete_file",
            "args": {"path": "notes.txt"},
            "response_schema": approval["response_schema"],
            "created_at": approval["created_at"],
        }
        assert approval["response_schema"]["required"] == ["approved"]
        calls = embedded_api.output(session_id).ok()["messages"][-2]["tool_calls"]
        assert approval["tool_call_id"] in [call["id"] for call in calls]
        waiting = {"approvals": [approval["id"]]}
        assert embedded_api.get_session(session_id).ok()["waiting_for"] == waiting
        [listed] = [one for one in embedded_api.list_sessions().ok()["items"] if one["id"] == session_id]
        assert listed["waiting_for"] == waiting

    @pytest.mark.parametrize(
        ("decision", "status", "said"),
        [("allow", "allowed", "Thank you, I will continue."), ("deny", "denied", "All right, I will stop here.")],
    )
    def test_the_answer_is_taken_up_by_a_new_run(
        self, embedded_api: Api, session_id: str, decision: str, status: str, said: str
    ) -> None:
        approval = ask(embedded_api, session_id)
        answered = embedded_api.answer_approval(session_id, approval["id"], decision).ok()
        assert answered == {**approval, "status": status}
        run = last_run(embedded_api, session_id, 3)
        assert (run["status"], "user_message" in run) == ("completed", False)
        assert sayings(embedded_api, session_id)[-1] == ("assistant", said)
        assert embedded_api.list_approvals(session_id).ok() == {"items": []}
        assert "waiting_for" not in embedded_api.get_session(session_id).ok()

    def test_a_file_is_deleted_only_when_that_is_allowed(
        self, embedded: EmbeddedStage, embedded_api: Api, session_id: str
    ) -> None:
        file = embedded.directory / "workspaces" / str(embedded_api.project) / session_id / "notes.txt"
        file.write_text("x")
        for number, decision in ((3, "deny"), (5, "allow")):
            approval = ask(embedded_api, session_id, "delete notes.txt")
            assert file.exists()
            embedded_api.answer_approval(session_id, approval["id"], decision).ok()
            last_run(embedded_api, session_id, number)
            assert file.exists() is (decision == "deny")
        calls = [
            call
            for message in embedded_api.output(session_id).ok()["messages"]
            for call in message.get("tool_calls", [])
        ]
        assert [call["result"] for call in calls] == ["The user denied it.", "Deleted notes.txt."]

    def test_an_answer_is_taken_once(self, embedded_api: Api, session_id: str) -> None:
        approval = ask(embedded_api, session_id)
        embedded_api.answer_approval(session_id, approval["id"], "deny").ok()
        for decision in ("deny", "allow"):
            again = embedded_api.answer_approval(session_id, approval["id"], decision)
            assert again.error == (409, "approval_closed")
        last_run(embedded_api, session_id, 3)

    def test_an_unknown_approval_is_not_found(
        self, embedded: EmbeddedStage, embedded_api: Api, session_id: str
    ) -> None:
        approval = ask(embedded_api, session_id)
        other = embedded.session(embedded_api, "running")
        for where, which in ((session_id, "a1"), (session_id, "ü 1"), (other, approval["id"])):
            assert embedded_api.answer_approval(where, which, "allow").error == (404, "approval_not_found")

    def test_a_stop_closes_the_question_and_the_next_run_continues(self, embedded_api: Api, session_id: str) -> None:
        approval = ask(embedded_api, session_id)
        embedded_api.stop_session(session_id).ok()
        embedded_api.wait_for_status(session_id, "stopped")
        waited = embedded_api.get_run(session_id, approval["run_id"]).ok()
        assert (waited["status"], "continued_by" in waited) == ("interrupted", False)
        assert embedded_api.list_approvals(session_id).ok() == {"items": []}
        refused = embedded_api.answer_approval(session_id, approval["id"], "allow")
        assert refused.error == (409, "approval_closed")
        embedded_api.start_session(session_id).ok()
        embedded_api.wait_for_status(session_id, "running")
        run = embedded_api.say(session_id, "what did I say?")
        assert run["status"] == "completed"
        waited = embedded_api.get_run(session_id, approval["run_id"]).ok()
        assert (waited["status"], waited["continued_by"]) == ("interrupted", run["run_id"])

    def test_the_run_waits_until_it_is_continued(self, embedded_api: Api, session_id: str) -> None:
        approval = ask(embedded_api, session_id)
        waiting = embedded_api.get_run(session_id, approval["run_id"], wait=60).ok()
        assert (waiting["status"], "continued_by" in waiting) == ("waiting", False)
        [listed] = embedded_api.list_runs(session_id, status="waiting").ok()["runs"]
        assert listed["run_id"] == approval["run_id"]
        with embedded_api.stream(session_id, run_id=approval["run_id"]) as stream:
            assert list(stream)[-1].event["type"] == "RUN_FINISHED"
        embedded_api.answer_approval(session_id, approval["id"], "allow").ok()
        answered = embedded_api.get_run(session_id, approval["run_id"]).ok()
        assert answered == waiting | {"status": "completed", "continued_by": answered["continued_by"]}
        continuation = embedded_api.wait_for_run(session_id, answered["continued_by"])
        assert (continuation["status"], continuation["answer"]) == ("completed", "Thank you, I will continue.")

    def test_the_answer_goes_before_the_queue(self, embedded_api: Api, session_id: str) -> None:
        approval = ask(embedded_api, session_id)
        slow = [{"role": "user", "content": "slow 3000"}]
        busy = embedded_api.create_run(session_id, messages=slow, thread_id="other").ok()
        embedded_api.wait_for_run(session_id, busy["run_id"], "running")
        queued = embedded_api.send_message(session_id, "list").ok()["run_id"]
        embedded_api.answer_approval(session_id, approval["id"], "allow").ok()
        continuation = embedded_api.get_run(session_id, approval["run_id"]).ok()["continued_by"]
        runs = embedded_api.list_runs(session_id, status="queued").ok()["runs"]
        assert [run["run_id"] for run in runs] == [continuation, queued]
        embedded_api.interrupt_session(session_id).ok()
        assert embedded_api.wait_for_run(session_id, queued)["status"] == "completed"

    def test_a_message_instead_of_an_answer_drops_the_question(self, embedded_api: Api, session_id: str) -> None:
        approval = ask(embedded_api, session_id)
        run = embedded_api.say(session_id, "what did I say?")
        waited = embedded_api.get_run(session_id, approval["run_id"]).ok()
        assert (waited["status"], waited["continued_by"]) == ("completed", run["run_id"])
        assert embedded_api.list_approvals(session_id).ok() == {"items": []}
        late = embedded_api.answer_approval(session_id, approval["id"], "allow")
        assert late.error == (409, "approval_closed")
        said = [text for role, text in sayings(embedded_api, session_id) if role == "assistant"]
        assert said[-2:] == ["All right, I will stop here.", 'You said: "Say hello", then "ask".']

    def test_a_run_may_carry_the_answer_itself(self, embedded_api: Api, session_id: str) -> None:
        approval = ask(embedded_api, session_id)
        events = embedded_api.output(session_id, format="events", run_id=approval["run_id"]).ok()["events"]
        [interrupt] = events[-1]["outcome"]["interrupts"]
        resume = [{"interrupt_id": interrupt["id"], "status": "resolved", "payload": {"approved": True}}]
        messages = [{"role": "user", "content": "list"}]
        run = embedded_api.create_run(session_id, messages=messages, resume=resume).ok()
        embedded_api.wait_for_run(session_id, run["run_id"], "completed")
        assert ("assistant", "Thank you, I will continue.") in sayings(embedded_api, session_id)
        assert embedded_api.answer_approval(session_id, approval["id"], "deny").error == (409, "approval_closed")

    @pytest.mark.parametrize(
        ("policy", "said"), [("allow", "Thank you, I will continue."), ("deny", "All right, I will stop here.")]
    )
    def test_a_policy_answers_in_the_clients_place(
        self, embedded: EmbeddedStage, embedded_api: Api, policy: str, said: str
    ) -> None:
        session_id = embedded.session(embedded_api, "running", approval_policy=policy)
        assert embedded_api.get_session(session_id).ok()["approval_policy"] == policy
        asking = embedded_api.say(session_id, "ask")
        continuation = last_run(embedded_api, session_id, 3)["run_id"]
        assert (asking["status"], asking["continued_by"]) == ("completed", continuation)
        assert sayings(embedded_api, session_id)[-1] == ("assistant", said)
        assert embedded_api.list_approvals(session_id).ok() == {"items": []}

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({}, "body.decision"),
            ({"decision": "maybe"}, "body.decision"),
            ({"decision": "allow", "payload": []}, "body.payload"),
            ({"decision": "allow", "reason": "x"}, "body.reason"),
        ],
    )
    def test_a_malformed_answer_is_refused(
        self, embedded_api: Api, session_id: str, body: dict[str, Any], fault: str
    ) -> None:
        answer = embedded_api.call("answer_approval", session_id, "a1", body=body)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), [fault])


class TestAnAgentThatAsksWithinItsRun:
    def test_the_run_goes_on_with_the_answer(self, embedded_api: Api, session_id: str) -> None:
        run_id = embedded_api.send_message(session_id, "ask now").ok()["run_id"]
        [approval] = eventually(lambda: embedded_api.list_approvals(session_id).ok()["items"])
        assert (approval["message"], [option["id"] for option in approval["options"]]) == (
            "May I continue?",
            ["once", "always", "no"],
        )
        said = {"payload": {"option_id": "always"}}
        answered = embedded_api.answer_approval(session_id, approval["id"], "allow", **said).ok()
        assert answered == {**approval, "status": "allowed"}
        embedded_api.wait_for_run(session_id, run_id, "completed")
        assert sayings(embedded_api, session_id)[-1] == ("assistant", "Thank you, I will continue. (always)")
        assert len(embedded_api.list_runs(session_id).ok()["runs"]) == 2

    def test_an_agui_client_sees_the_question_and_then_the_rest_of_the_run(
        self, embedded_api: Api, session_id: str
    ) -> None:
        message = {"id": "u1", "role": "user", "content": "ask now"}
        types: list[str] = []
        with embedded_api.run_agent(session_id, messages=[message]) as stream:
            for frame in stream:
                types.append(frame.event.get("name") or frame.event["type"])
                if types[-1] == "approval.requested":
                    embedded_api.answer_approval(session_id, frame.event["value"]["id"], "deny").ok()
        assert types[:3] == ["RUN_STARTED", "approval.requested", "approval.resolved"]
        assert types[-1] == "RUN_FINISHED"

    def test_a_message_waits_behind_the_question_or_ends_it(self, embedded_api: Api, session_id: str) -> None:
        asking = embedded_api.send_message(session_id, "ask now").ok()["run_id"]
        eventually(lambda: embedded_api.list_approvals(session_id).ok()["items"])
        waiting = embedded_api.send_message(session_id, "list").ok()["run_id"]
        assert embedded_api.get_run(session_id, waiting).ok()["status"] == "queued"
        now = embedded_api.call("send_message", session_id, body={"content": "list", "on_busy": "interrupt"}).ok()
        for run_id, status in ((asking, "interrupted"), (now["run_id"], "completed"), (waiting, "completed")):
            embedded_api.wait_for_run(session_id, run_id, status)
        assert embedded_api.list_approvals(session_id).ok() == {"items": []}


class TestAPlatformWhoseAgentAsks:
    def test_the_run_waits_until_another_one_begins(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        run_id = ambient.begin_run(ambient_api, session_id)
        ids = {"threadId": session_id, "runId": run_id}
        outcome = {"type": "interrupt", "interrupts": [{"id": "i1", "reason": "r"}]}
        ambient.platform.runner.append(session_id, {"type": "RUN_FINISHED", "outcome": outcome} | ids)
        ambient.platform.runner.kill(session_id)
        assert ambient_api.get_run(session_id, run_id, wait=60).ok()["status"] == "waiting"
        following = ambient_api.say(session_id, "Go on")
        run = ambient_api.get_run(session_id, run_id).ok()
        assert (run["status"], run["continued_by"]) == ("completed", following["run_id"])


class TestAPlatformThatKnowsOnlyQuestions:
    def test_it_refuses_what_it_cannot_do(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        resume = [{"interrupt_id": "i1", "status": "cancelled"}]
        messages = [{"role": "user", "content": "Say hello"}]
        refusals = [
            ambient_api.create_run(session_id, messages=messages, resume=resume),
        ]
        assert {refusal.error for refusal in refusals} == {(422, "not_supported")}
        assert ambient_api.list_approvals(session_id).ok() == {"items": []}
        assert ambient_api.answer_approval(session_id, "a1", "allow").error == (404, "approval_not_found")
        with ambient.nothing_happens(ambient_api):
            refused = ambient_api.create_session(task="x", approval_policy="allow")
        assert refused.error == (422, "not_supported")
