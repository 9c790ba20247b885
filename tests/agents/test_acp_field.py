"""ACP agents off the protocol's path, as users of other clients have reported them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import events, reply, text
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

pytestmark = pytest.mark.xdist_group("acp")

ODD = {
    "noisy": ("--noise",),
    "texts": ("--string-ids",),
    "banner": ("--banner",),
    "lost": ("--load", "--lost"),
    "either": ("--load", "--resume", "--no-resume"),
    "broken": ("--broken",),
}


@pytest.fixture(scope="module")
def odd_stage(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    directory = tmp_path_factory.mktemp("odd")
    agents = ",".join(f"{name}={scripted_acp(*flags)}" for name, flags in ODD.items())
    with embedded_stage(loop, directory, agent="demo", agents=agents) as stage:
        yield stage


class TestStarts:
    @pytest.fixture
    def stage(self, odd_stage: EmbeddedStage) -> EmbeddedStage:
        return odd_stage

    @pytest.mark.parametrize("agent", ["noisy", "texts"])
    def test_a_message_is_read_whatever_is_around_it(self, stage: EmbeddedStage, api: Api, agent: str) -> None:
        session_id = stage.session(api, "running", agent=agent)
        assert reply(api, session_id, "hello") == "2: hello"

    def test_what_comes_before_the_first_prompt_belongs_to_the_first_run(self, stage: EmbeddedStage, api: Api) -> None:
        session_id = stage.session(api, "running", agent="banner")
        [run] = api.list_runs(session_id).ok()["runs"]
        assert text(api, session_id, run["run_id"]) == "Welcome1: Say hello"
        assert [each["name"] for each in events(api, session_id, run["run_id"]) if each["type"] == "CUSTOM"] == [
            "acp.available_commands_update"
        ]

    def test_a_session_that_is_loaded_and_unknown_to_the_prompt_is_replaced(
        self, stage: EmbeddedStage, api: Api
    ) -> None:
        session_id = stage.session(api, "running", agent="lost")
        api.say(session_id, "die")
        assert text(api, session_id, api.say(session_id, "hello")["run_id"]).endswith("This is new:\n\nhello")
        assert reply(api, session_id, "again") == "2: again"

    def test_a_session_is_loaded_where_resuming_it_fails(self, stage: EmbeddedStage, api: Api) -> None:
        session_id = stage.session(api, "running", agent="either")
        api.say(session_id, "die")
        assert reply(api, session_id, "hello") == "3: hello"

    def test_the_error_of_an_agent_that_exits_at_once_says_so(self, api: Api) -> None:
        session_id = api.create_session(task="hello", agent="broken").ok()["id"]
        [run] = eventually(lambda: api.list_runs(session_id).ok()["runs"])
        error = api.wait_for_run(session_id, run["run_id"])["error"]
        assert error == "The agent exited with status 1. The session log has what it wrote."
        assert any("agent: Error: node 22 is required" in line for line in api.logs(session_id))


def update(kind_: str, **fields: Any) -> str:
    params = {"sessionId": "$S", "update": {"sessionUpdate": kind_, **fields}}
    return json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params})


def sent(api: Api, session_id: str, *lines: str) -> list[dict[str, Any]]:
    """Let the agent send these lines, and return the events of the run but for its beginning and end."""
    run = api.say(session_id, "wire " + "¦".join(lines))
    assert run["status"] == "completed", run
    return events(api, session_id, run["run_id"])[1:-1]


HI = {"type": "text", "text": "hi"}


class TestUpdates:
    @pytest.mark.parametrize("content", ["hi", [HI], [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]])
    def test_a_text_is_read_in_any_shape(self, api: Api, session_id: str, content: Any) -> None:
        found = sent(api, session_id, update("agent_message_chunk", content=content))
        assert "".join(each.get("delta", "") for each in found) == "hi"

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            ("warp", {"speed": 9}),
            ("agent_message_chunk", {"content": {"type": "hologram", "data": "x"}}),
            ("usage_update", {"used": 1.5}),
            ("current_mode_update", {"modeId": 7}),
            ("tool_call_update", {"status": "completed"}),
        ],
    )
    def test_what_cannot_be_read_is_passed_on(
        self, api: Api, session_id: str, kind: str, fields: dict[str, Any]
    ) -> None:
        [found] = sent(api, session_id, update(kind, **fields))
        assert (found["type"], found["name"], found["value"]) == ("CUSTOM", f"acp.{kind}", fields)

    @pytest.mark.parametrize(
        ("status", "is_error"),
        [("done", None), ("success", None), ("cancelled", True), ("error", True), ("rejected", True)],
    )
    def test_an_unknown_status_ends_a_call_as_its_word_says(
        self, api: Api, session_id: str, status: str, is_error: bool | None
    ) -> None:
        found = sent(
            api,
            session_id,
            update("tool_call", toolCallId="c", title="T", status="executing", rawInput={"x": 1}),
            update("tool_call_update", toolCallId="c", status=status, content="out"),
        )
        result = found[-1]
        assert (result["type"], result["content"], result.get("isError")) == ("TOOL_CALL_RESULT", "out", is_error)

    @pytest.mark.parametrize(
        "content", ["out", {"type": "text", "text": "out"}, [{"type": "text", "text": "out"}], ["out"]]
    )
    def test_the_output_of_a_call_is_read_in_any_shape(self, api: Api, session_id: str, content: Any) -> None:
        found = sent(
            api, session_id, update("tool_call", toolCallId=7, title=None, status="completed", content=content)
        )
        assert (found[0]["toolCallId"], found[0]["toolCallName"]) == ("7", "tool")
        assert found[-1]["content"] == "out"

    def test_an_update_that_is_a_request_is_read_and_answered(self, api: Api, session_id: str) -> None:
        line = update("agent_message_chunk", content=HI).replace('{"jsonrpc"', '{"id":"u1","jsonrpc"')
        found = sent(api, session_id, line)
        assert "".join(each.get("delta", "") for each in found) == "hi"
        assert reply(api, session_id, "hello") == "3: hello"

    def test_messages_in_one_line_or_in_an_array_are_read(self, api: Api, session_id: str) -> None:
        first, second = (update("agent_message_chunk", content={"type": "text", "text": each}) for each in "ab")
        found = sent(api, session_id, first + second, f"[{first},{second}]", "\ufeff" + first + "\r")
        assert "".join(each.get("delta", "") for each in found) == "ababa"

    def test_a_response_that_nobody_waits_for_is_passed_over(self, api: Api, session_id: str) -> None:
        found = sent(
            api,
            session_id,
            '{"jsonrpc":"2.0","id":2,"result":{"stopReason":"cancelled"}}',
            '{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"no"}}',
            update("agent_message_chunk", content=HI),
        )
        assert "".join(each.get("delta", "") for each in found) == "hi"


class TestCalls:
    def test_a_call_has_the_title_that_comes_later(self, api: Api, session_id: str) -> None:
        found = sent(
            api,
            session_id,
            update("tool_call_update", toolCallId="c", status="pending"),
            update("tool_call", toolCallId="c", title="Edit notes.txt", kind="edit", status="in_progress"),
            update("tool_call_update", toolCallId="c", status="completed"),
        )
        types = [each["type"] for each in found if each["type"] != "CUSTOM"]
        assert types == ["TOOL_CALL_START", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
        assert found[0]["toolCallName"] == "Edit notes.txt"

    def test_a_call_whose_title_never_comes_has_its_kind(self, api: Api, session_id: str) -> None:
        found = sent(api, session_id, update("tool_call_update", toolCallId="c", kind="edit", status="completed"))
        assert found[0]["toolCallName"] == "edit"

    def test_an_id_that_begins_again_is_another_call(self, api: Api, session_id: str) -> None:
        found = sent(
            api,
            session_id,
            update("tool_call", toolCallId="c", title="Read a", rawInput={"path": "a"}, status="in_progress"),
            update("tool_call", toolCallId="c", title="Read b", rawInput={"path": "b"}, status="in_progress"),
            update(
                "tool_call_update", toolCallId="c", status="completed", content=[{"type": "content", "content": HI}]
            ),
        )
        calls = [(each["toolCallId"], each["toolCallName"]) for each in found if each["type"] == "TOOL_CALL_START"]
        assert calls == [("c", "Read a"), ("c-2", "Read b")]
        assert [each["toolCallId"] for each in found if each["type"] == "TOOL_CALL_RESULT"] == ["c-2"]

    def test_a_call_that_is_stated_again_is_the_same_one(self, api: Api, session_id: str) -> None:
        found = sent(
            api,
            session_id,
            update("tool_call", toolCallId="c", title="Read", rawInput={}, status="pending"),
            update("tool_call", toolCallId="c", title="Read", rawInput={"path": "a"}, status="in_progress"),
            update("tool_call", toolCallId="c", title="Read", rawInput={"path": "a"}, status="completed"),
        )
        assert [each["toolCallId"] for each in found if each["type"] == "TOOL_CALL_START"] == ["c"]
        assert [each["delta"] for each in found if each["type"] == "TOOL_CALL_ARGS"] == ['{"path":"a"}']


class TestPermissions:
    def test_a_request_shows_the_input_that_an_update_has_told(self, api: Api, session_id: str) -> None:
        call = update("tool_call_update", toolCallId="q", rawInput={"command": "rm x"}, status="in_progress")
        params = {"toolCall": {"toolCallId": "q", "title": "bash", "rawInput": {}}, "options": []}
        run_id = api.send_message(
            session_id, f"tell {json.dumps([json.loads(call)['params']['update'], params])}"
        ).ok()["run_id"]
        [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
        assert approval["args"] == {"command": "rm x"}
        api.answer_approval(session_id, approval["id"], "deny").ok()
        api.wait_for_run(session_id, run_id)

    @pytest.mark.parametrize("order", [("cancel", "decline"), ("decline", "cancel")])
    def test_a_denial_does_not_end_the_turn_where_the_agent_offers_both(
        self, api: Api, session_id: str, order: tuple[str, ...]
    ) -> None:
        names = {"decline": "No, continue without running it", "cancel": "No, and tell Codex what to do differently"}
        options = [{"optionId": each, "name": names[each], "kind": "reject_once"} for each in order]
        params = {"toolCall": {"toolCallId": "q"}, "options": options}
        run_id = api.send_message(session_id, f"ask {json.dumps(params)}").ok()["run_id"]
        [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
        api.answer_approval(session_id, approval["id"], "deny").ok()
        api.wait_for_run(session_id, run_id)
        assert "'decline'" in text(api, session_id, run_id)


class TestEnds:
    def test_a_refusal_fails_the_run_with_its_reason(self, api: Api, session_id: str) -> None:
        run = api.say(session_id, 'stop "refusal"')
        assert (run["status"], run["error"]) == ("error", "The agent refused to go on.")
        assert reply(api, session_id, "hello") == "3: hello"

    @pytest.mark.parametrize("reason", ["max_tokens", "max_turn_requests"])
    def test_a_limit_of_the_agents_is_told(self, api: Api, session_id: str, reason: str) -> None:
        run = api.say(session_id, f'stop "{reason}"')
        assert run["status"] == "completed"
        assert events(api, session_id, run["run_id"])[-1]["result"] == {"stopReason": reason}
