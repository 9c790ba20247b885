"""Messages and runs on every backend."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeoutError
from typing import Any
from unittest.mock import ANY
from uuid import UUID, uuid4

import pytest

from tests.support.api import Api
from tests.support.stage import STATES, EmbeddedStage, PlatformStage, Stage

MESSAGES = [{"role": "user", "content": "Say hello"}]


@pytest.fixture
def session_id(stage: Stage, api: Api) -> str:
    return stage.session(api, "running")


def said_last(api: Api, session_id: str, run_id: str) -> str:
    """The text of the last message of the assistant in a run's transcript."""
    messages = api.output(session_id, run_id=run_id).ok()["messages"]
    texts: list[str] = [one["content"] for one in messages if one["role"] == "assistant" and one.get("content")]
    return texts[-1]


def listed(run: dict[str, Any]) -> dict[str, Any]:
    """A run as the list of runs shows it."""
    return {name: value for name, value in run.items() if name != "answer"}


class TestSendMessage:
    def test_a_run_is_accepted_and_reaches_its_end(self, stage: Stage, api: Api, session_id: str) -> None:
        answer = api.send_message(session_id, "Say hello")
        run_id = answer.body["run_id"]
        assert answer.status == 202
        assert answer.body == {"run_id": str(UUID(run_id)), "thread_id": session_id}
        assert answer.headers["Location"] == f"/v1/sessions/{session_id}/runs/{run_id}"
        run = api.wait_for_run(session_id, run_id)
        assert run == stage.usage | {
            "run_id": run_id,
            "thread_id": session_id,
            "status": "completed",
            "event_count": ANY,
            "started_at": ANY,
            "finished_at": ANY,
            "user_message": "Say hello",
            "answer": said_last(api, session_id, run_id),
        }
        assert run["event_count"] >= 2
        assert run["started_at"] <= run["finished_at"]

    @pytest.mark.parametrize("status", [status for status in STATES if status != "running"])
    def test_a_session_that_is_not_running_takes_none(self, stage: Stage, api: Api, status: str) -> None:
        idle = stage.session(api, status)
        before = api.list_runs(idle).ok()
        assert api.send_message(idle, "Say hello").error == (422, "session_not_running")
        assert api.create_run(idle, messages=MESSAGES).error == (422, "session_not_running")
        assert api.list_runs(idle).ok() == before

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({}, "body.content"),
            ({"content": None}, "body.content"),
            ({"content": ""}, "body.content"),
            ({"content": " \n"}, "body.content"),
            ({"content": ["text"]}, "body.content"),
            ({"content": "x" * 1_000_001}, "body.content"),
            ({"content": "x", "on_busy": "drop"}, "body.on_busy"),
            ({"content": "x", "onBusy": "reject"}, "body.onBusy"),
            ([], "body"),
            ("text", "body"),
        ],
    )
    def test_a_bad_body_is_refused_whatever_the_state(self, stage: Stage, api: Api, body: Any, fault: str) -> None:
        stopped = stage.session(api, "stopped")
        with stage.nothing_happens(api):
            answer = api.call("send_message", stopped, body=body)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), [fault])

    def test_content_comes_back_as_it_was_sent(self, api: Api, session_id: str) -> None:
        content = '  Grüße 👋 \t"quoted" \\ <b>\r\n\u2028end  '
        run = api.say(session_id, content)
        assert run["user_message"] == content
        assert content in [message.get("content") for message in api.output(session_id).ok()["messages"]]

    def test_a_failure_of_the_agent_is_told(self, stage: Stage, api: Api, session_id: str) -> None:
        run = stage.fail_run(api, session_id)
        assert run["status"] == "error"
        assert run["error"]
        assert api.get_session(session_id).ok()["status"] == "running"


class TestCreateRun:
    def test_the_given_ids_are_used(self, api: Api, session_id: str) -> None:
        run_id = str(uuid4())
        answer = api.create_run(session_id, run_id=run_id, thread_id=session_id, messages=MESSAGES)
        assert (answer.status, answer.body) == (202, {"run_id": run_id, "thread_id": session_id})
        assert answer.headers["Location"] == f"/v1/sessions/{session_id}/runs/{run_id}"
        assert api.wait_for_run(session_id, run_id)["status"] == "completed"

    def test_the_server_makes_ids_where_none_are_given(self, api: Api, session_id: str) -> None:
        answer = api.create_run(session_id, run_id="", thread_id=None, messages=[MESSAGES[0] | {"id": ""}])
        assert answer.status == 202
        assert answer.body == {"run_id": str(UUID(answer.body["run_id"])), "thread_id": session_id}
        api.wait_for_run(session_id, answer.body["run_id"])

    def test_another_thread_is_another_conversation(self, api: Api, session_id: str) -> None:
        answer = api.create_run(session_id, thread_id="side", messages=MESSAGES)
        assert answer.body == {"run_id": ANY, "thread_id": "side"}
        assert api.wait_for_run(session_id, answer.body["run_id"])["thread_id"] == "side"

    @pytest.mark.parametrize(
        "spelling", [str, lambda id: id.upper(), lambda id: f"urn:uuid:{id}", lambda id: f"{{{id}}}"]
    )
    def test_a_known_run_id_is_refused_in_every_spelling(
        self, api: Api, session_id: str, spelling: Callable[[str], str]
    ) -> None:
        run_id = api.say(session_id, "Say hello")["run_id"]
        again = api.create_run(session_id, run_id=spelling(run_id), messages=MESSAGES)
        assert again.error == (409, "run_exists")
        assert [run["run_id"] for run in api.list_runs(session_id).ok()["runs"]].count(run_id) == 1

    def test_everything_that_an_agent_takes_is_accepted(self, api: Api, session_id: str) -> None:
        answer = api.create_run(
            session_id,
            messages=[{"role": "system", "content": "Be brief"}, *MESSAGES],
            state={"step": 1},
            tools=[{"name": "confirm", "description": "Ask", "parameters": {"type": "object"}}],
            context=[{"description": "zone", "value": "UTC"}],
            forwarded_props={"trace": True},
        )
        assert api.wait_for_run(session_id, answer.ok()["run_id"])["status"] == "completed"

    def test_nulls_read_as_absent(self, api: Api, session_id: str) -> None:
        nulls = dict.fromkeys(("run_id", "thread_id", "state", "tools", "context", "forwarded_props", "on_busy"))
        answer = api.create_run(session_id, messages=MESSAGES, **nulls)
        assert answer.body == {"run_id": ANY, "thread_id": session_id}
        api.wait_for_run(session_id, answer.body["run_id"])

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({}, "body.messages"),
            ({"messages": []}, "body.messages"),
            ({"messages": [{"role": "user"}]}, "body.messages[0].content"),
            ({"messages": [{"role": "wizard", "content": "x"}]}, "body.messages[0].role"),
            ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "body.messages[0].content"),
            ({"messages": [*MESSAGES, {"role": "user", "content": " "}]}, "body.messages[1].content"),
            ({"messages": [MESSAGES[0] | {"name": "me"}]}, "body.messages[0].name"),
            ({"messages": MESSAGES, "run_id": "run-1"}, "body.run_id"),
            ({"messages": MESSAGES, "thread_id": "a\nb"}, "body.thread_id"),
            ({"messages": MESSAGES, "runId": str(uuid4())}, "body.runId"),
            ({"messages": MESSAGES, "tools": [1]}, "body.tools[0]"),
            ({"messages": MESSAGES, "on_busy": "now"}, "body.on_busy"),
            ({"messages": MESSAGES, "forwarded_props": []}, "body.forwarded_props"),
        ],
    )
    def test_a_bad_body_is_refused_and_its_fault_is_named(
        self, stage: Stage, api: Api, session_id: str, body: dict[str, Any], fault: str
    ) -> None:
        with stage.nothing_happens(api):
            answer = api.create_run(session_id, **body)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), [fault])


class TestListRuns:
    def test_runs_come_in_the_order_of_their_start(self, api: Api, session_id: str) -> None:
        first = [run["run_id"] for run in api.list_runs(session_id).ok()["runs"]]
        runs = [api.say(session_id, f"Say hello {number}") for number in range(3)]
        answer = api.list_runs(session_id)
        assert answer.status == 200
        assert answer.body == {"session_id": session_id, "runs": [ANY] * len(first) + [listed(run) for run in runs]}

    def test_status_keeps_the_runs_in_that_state(self, stage: Stage, api: Api, session_id: str) -> None:
        good, bad = api.say(session_id, "Say hello"), stage.fail_run(api, session_id)
        assert api.list_runs(session_id, status="error").ok()["runs"] == [listed(bad)]
        assert listed(good) in api.list_runs(session_id, status="completed").ok()["runs"]
        assert api.list_runs(session_id, status="queued").ok()["runs"] == []

    def test_the_active_run_is_running(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = stage.begin_run(api, session_id)
        [run] = api.list_runs(session_id, status="running").ok()["runs"]
        assert run["run_id"] == run_id
        assert "finished_at" not in run

    @pytest.mark.parametrize("query", ["status=done", "status=running&status=error", "status=", "limit=1"])
    def test_a_bad_query_is_refused(self, api: Api, session_id: str, query: str) -> None:
        assert api.call("list_runs", session_id, query=query).error == (400, "invalid_request")


class TestGetRun:
    def test_it_is_what_the_list_shows_and_the_answer(self, api: Api, session_id: str) -> None:
        run = api.say(session_id, "Say hello")
        assert api.get_run(session_id, run["run_id"]).ok() == run
        assert api.list_runs(session_id).ok()["runs"][-1] == listed(run)

    def test_an_active_run_has_no_answer(self, stage: Stage, api: Api, session_id: str) -> None:
        assert "answer" not in api.get_run(session_id, stage.begin_run(api, session_id)).ok()

    def test_a_session_tells_how_its_last_run_ended_and_the_last_answer(self, embedded_api: Api) -> None:
        session_id = embedded_api.running_session("Say hello")

        def end() -> tuple[str, str, str]:
            session = embedded_api.get_session(session_id).ok()
            assert embedded_api.list_sessions().ok()["items"] == [session]
            return session["activity"], session["last_run_status"], session["result"]

        idle, completed, result = end()
        assert (idle, completed) == ("idle", "completed")
        assert embedded_api.say(session_id, "fail")["status"] == "error"
        assert end() == ("idle", "error", result)
        answer = embedded_api.say(session_id, "list the files")["answer"]
        assert end() == ("idle", "completed", answer)
        assert answer != result

    @pytest.mark.parametrize("run_id", ["nothing", "legacy migration", "ü", "a:b", str(UUID(int=0)), "x" * 255])
    def test_an_unknown_run_is_not_found(self, api: Api, session_id: str, run_id: str) -> None:
        assert api.get_run(session_id, run_id, wait=60).error == (404, "run_not_found")
        assert api.get_run(session_id, run_id).error == (404, "run_not_found")

    @pytest.mark.parametrize("run_id", ["a/b", "a\nb", "a\x00", "x" * 256])
    def test_an_impossible_run_id_is_refused(self, stage: Stage, api: Api, session_id: str, run_id: str) -> None:
        with stage.nothing_happens(api):
            answer = api.get_run(session_id, run_id)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["path.run_id"])

    def test_a_run_of_another_session_is_not_found(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = api.say(session_id, "Say hello")["run_id"]
        assert api.get_run(stage.session(api, "running"), run_id).error == (404, "run_not_found")


class TestBusySessions:
    @pytest.mark.parametrize("on_busy", ["enqueue", "reject", "interrupt", None, ""])
    def test_an_idle_session_takes_every_message(self, api: Api, session_id: str, on_busy: str | None) -> None:
        [task] = api.list_runs(session_id).ok()["runs"]
        run_id = api.send_message(session_id, "Say hello", on_busy=on_busy).ok()["run_id"]
        assert api.wait_for_run(session_id, run_id)["status"] == "completed"
        run_id = api.create_run(session_id, messages=MESSAGES, on_busy=on_busy).ok()["run_id"]
        assert api.wait_for_run(session_id, run_id)["status"] == "completed"
        assert api.get_run(session_id, task["run_id"]).ok()["status"] == "completed"

    def test_a_busy_session_rejects_when_it_is_told_to(self, stage: Stage, api: Api, session_id: str) -> None:
        stage.begin_run(api, session_id)
        before = api.list_runs(session_id).ok()
        assert api.send_message(session_id, "Say hello", on_busy="reject").error == (409, "session_busy")
        assert api.create_run(session_id, messages=MESSAGES, on_busy="reject").error == (409, "session_busy")
        assert [run["run_id"] for run in api.list_runs(session_id).ok()["runs"]] == [
            run["run_id"] for run in before["runs"]
        ]

    def test_a_known_run_id_is_told_before_the_session_is_busy(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = stage.begin_run(api, session_id)
        answer = api.create_run(session_id, messages=MESSAGES, run_id=run_id, on_busy="reject")
        assert answer.error == (409, "run_exists")

    def test_a_message_interrupts_the_active_run_when_it_is_told_to(
        self, stage: Stage, api: Api, session_id: str
    ) -> None:
        active = stage.begin_run(api, session_id)
        run_id = api.send_message(session_id, "Say hello", on_busy="interrupt").ok()["run_id"]
        assert api.wait_for_run(session_id, active)["status"] == stage.interrupted
        assert api.wait_for_run(session_id, run_id)["status"] == "completed"

    @pytest.mark.parametrize("on_busy", ["reject", "interrupt"])
    @pytest.mark.parametrize("status", [status for status in STATES if status != "running"])
    def test_a_session_that_is_not_running_takes_none(self, stage: Stage, api: Api, status: str, on_busy: str) -> None:
        idle = stage.session(api, status)
        assert api.send_message(idle, "Say hello", on_busy=on_busy).error == (422, "session_not_running")


class TestCancelRunOnThePlatform:
    def test_it_is_not_supported(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        run_id = ambient.begin_run(ambient_api, session_id)
        assert ambient_api.cancel_run(session_id, run_id).error == (422, "not_supported")
        assert ambient_api.get_run(session_id, run_id).ok()["status"] == "running"


class TestCancelRun:
    @pytest.fixture
    def busy(self, embedded: EmbeddedStage, embedded_api: Api) -> str:
        session_id = embedded.session(embedded_api, "running")
        embedded.begin_run(embedded_api, session_id)
        return session_id

    def test_a_queued_run_ends_as_interrupted_and_the_others_go_on(self, embedded_api: Api, busy: str) -> None:
        api = embedded_api
        [one, two, three] = [api.send_message(busy, f"the word {n}").ok()["run_id"] for n in ("one", "two", "three")]
        answer = api.cancel_run(busy, two)
        assert (answer.status, answer.content) == (204, b"")
        run = api.get_run(busy, two).ok()
        assert (run["status"], run["user_message"], run["event_count"]) == ("interrupted", "the word two", 2)
        assert [each["run_id"] for each in api.list_runs(busy, status="queued").ok()["runs"]] == [one, three]
        events = api.output(busy, format="events", run_id=two).ok()["events"]
        assert [event["type"] for event in events] == ["RUN_STARTED", "RUN_FINISHED"]
        api.interrupt_session(busy).ok()
        for run_id in (one, three):
            assert api.wait_for_run(busy, run_id)["status"] == "completed"
        api.say(busy, "what did I say?")
        conversation = [message["content"] for message in api.output(busy).ok()["messages"]]
        assert "the word one" in conversation
        assert not any("word two" in content for content in conversation)

    def test_a_run_that_has_begun_is_refused(self, embedded_api: Api, busy: str) -> None:
        [active] = embedded_api.list_runs(busy, status="running").ok()["runs"]
        assert embedded_api.cancel_run(busy, active["run_id"]).error == (409, "run_active")
        assert embedded_api.get_run(busy, active["run_id"]).ok()["status"] == "running"

    def test_a_run_that_has_ended_is_refused(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        run = embedded_api.say(session_id, "Say hello")
        assert embedded_api.cancel_run(session_id, run["run_id"]).error == (409, "run_ended")
        assert embedded_api.get_run(session_id, run["run_id"]).ok() == run

    def test_a_second_time_is_refused(self, embedded_api: Api, busy: str) -> None:
        run_id = embedded_api.send_message(busy, "never").ok()["run_id"]
        assert embedded_api.cancel_run(busy, run_id.upper()).status == 204
        assert embedded_api.cancel_run(busy, run_id).error == (409, "run_ended")

    def test_an_unknown_run_is_not_found(self, embedded_api: Api, busy: str) -> None:
        assert embedded_api.cancel_run(busy, "nothing").error == (404, "run_not_found")

    @pytest.mark.parametrize("status", ["pending", "failed"])
    def test_a_task_that_has_not_begun_can_be_cancelled(
        self, embedded: EmbeddedStage, embedded_api: Api, status: str
    ) -> None:
        session_id = embedded.session(embedded_api, status)
        [task] = embedded_api.list_runs(session_id).ok()["runs"]
        assert embedded_api.cancel_run(session_id, task["run_id"]).status == 204
        assert embedded_api.get_run(session_id, task["run_id"]).ok()["status"] == "interrupted"


class TestWaiting:
    def test_the_answer_comes_with_the_end_of_the_run(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = stage.begin_run(api, session_id)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(stage.api(api.project).get_run, session_id, run_id, wait=60)
            with pytest.raises(FuturesTimeoutError):
                waiting.result(timeout=0.3)
            api.interrupt_session(session_id).ok()
            assert waiting.result().ok() == api.get_run(session_id, run_id).ok()
        assert api.get_run(session_id, run_id).ok()["status"] == stage.interrupted

    def test_a_queued_run_is_waited_for_too(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        embedded_api.send_message(session_id, "slow 2").ok()
        run_id = embedded_api.send_message(session_id, "Say hello").ok()["run_id"]
        assert embedded_api.get_run(session_id, run_id, wait=60).ok()["status"] == "completed"

    def test_a_run_that_goes_on_is_shown_as_it_is(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = stage.begin_run(api, session_id)
        assert api.get_run(session_id, run_id, wait=1).ok()["status"] == "running"

    def test_a_session_that_is_deleted_meanwhile_is_not_found(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = stage.begin_run(api, session_id)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(stage.api(api.project).get_run, session_id, run_id, wait=60)
            with pytest.raises(FuturesTimeoutError):
                waiting.result(timeout=0.3)
            api.delete_session(session_id).ok()
            assert waiting.result().error == (404, "session_not_found")

    @pytest.mark.parametrize("wait", ["-1", "61", "", "1.5", "true"])
    def test_a_bad_wait_is_refused(self, stage: Stage, api: Api, session_id: str, wait: str) -> None:
        run_id = api.list_runs(session_id).ok()["runs"][0]["run_id"]
        with stage.nothing_happens(api):
            answer = api.get_run(session_id, run_id, wait=wait)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["query.wait"])


class TestTheQueue:
    """Runs of one session go one after another on the embedded backend; the platform has its own lock."""

    def test_messages_wait_for_their_turn(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        active = embedded.begin_run(embedded_api, session_id)
        waiting = [embedded_api.send_message(session_id, f"Say {n}").ok()["run_id"] for n in range(2)]
        runs = embedded_api.list_runs(session_id).ok()["runs"]
        assert [(run["run_id"], run["status"]) for run in runs[-3:]] == [
            (active, "running"),
            (waiting[0], "queued"),
            (waiting[1], "queued"),
        ]
        assert embedded_api.interrupt_session(session_id).body["interrupted"] is True
        for run_id in waiting:
            assert embedded_api.wait_for_run(session_id, run_id)["status"] == "completed"

    def test_what_interrupts_goes_before_what_waits(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        active = embedded.begin_run(embedded_api, session_id)
        waiting = embedded_api.send_message(session_id, "Say wait").ok()["run_id"]
        urgent = embedded_api.send_message(session_id, "slow 3000", on_busy="interrupt").ok()["run_id"]
        assert embedded_api.wait_for_run(session_id, active)["status"] == "interrupted"
        embedded_api.wait_for_run(session_id, urgent, "running")
        assert embedded_api.get_run(session_id, waiting).ok()["status"] == "queued"
        embedded_api.interrupt_session(session_id).ok()
        assert embedded_api.wait_for_run(session_id, waiting)["status"] == "completed"

    def test_one_of_many_is_accepted_when_all_want_an_idle_session(
        self, embedded: EmbeddedStage, embedded_api: Api
    ) -> None:
        session_id = embedded.session(embedded_api, "running")

        def send(number: int) -> int:
            with embedded_api.as_(token=embedded_api.token) as client:
                return client.send_message(session_id, f"slow 3000, says {number}", on_busy="reject").status

        with ThreadPoolExecutor(50) as clients:
            assert sorted(clients.map(send, range(50))) == [202] + [409] * 49
        assert len(embedded_api.list_runs(session_id, status="running").ok()["runs"]) <= 1
        embedded_api.stop_session(session_id).ok()

    def test_a_stop_ends_the_active_run_and_those_that_wait(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running")
        runs = [embedded.begin_run(embedded_api, session_id), embedded_api.send_message(session_id, "x").ok()["run_id"]]
        embedded_api.stop_session(session_id).ok()
        embedded_api.wait_for_status(session_id, "stopped")
        for run_id in runs:
            assert embedded_api.get_run(session_id, run_id).ok()["status"] == "interrupted"

    def test_a_task_that_never_began_runs_after_the_next_start(
        self, embedded: EmbeddedStage, embedded_api: Api
    ) -> None:
        session_id = embedded.session(embedded_api, "pending", task="Say hello")
        [run] = embedded_api.list_runs(session_id).ok()["runs"]
        assert (run["status"], run["user_message"]) == ("queued", "Say hello")
        embedded_api.stop_session(session_id).ok()
        embedded_api.wait_for_status(session_id, "stopped")
        assert embedded_api.get_run(session_id, run["run_id"]).ok()["status"] == "queued"
