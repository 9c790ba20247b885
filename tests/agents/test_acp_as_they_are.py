"""ACP agents as they are: cut texts, deaths, late updates and values that the protocol does not have."""

import msgspec
import pytest

from tests.support.agents.runs import events, reply, text
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.processes import alive

pytestmark = pytest.mark.xdist_group("acp")


LINE = '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"$S","update":UPDATE}}'


def chunk(text_: str, kind: str = "agent_message_chunk") -> str:
    """Return an update as a line; `text_` is JSON."""
    update = '{"sessionUpdate":"KIND","content":{"type":"text","text":TEXT}}'.replace("KIND", kind)
    return LINE.replace("UPDATE", update.replace("TEXT", text_))


class TestTexts:
    @pytest.mark.parametrize(
        ("chunks", "expected"),
        [
            ([r'"party \ud83c"', r'"\udf89 time"'], "party \U0001f389 time"),
            ([r'"a"', r'"\ud83c"', r'"\udf89"', r'"b"'], "a\U0001f389b"),
            ([r'"party \ud83c"', r'" time"'], "party \ufffd time"),
            ([r'"\udf89 time"'], "\ufffd time"),
            ([r'"cut \ud83c"'], "cut \ufffd"),
            ([r'"a\ud83c\ud83c"', r'"\udf89"'], "a\ufffd\U0001f389"),
        ],
    )
    def test_halves_of_a_character_are_joined(
        self, api: Api, session_id: str, chunks: list[str], expected: str
    ) -> None:
        run = api.say(session_id, "wire " + "¦".join(map(chunk, chunks)))
        assert run["status"] == "completed"
        assert text(api, session_id, run["run_id"]) == expected
        [message] = api.output(session_id, run_id=run["run_id"]).ok()["messages"][1:]
        assert message["content"] == expected

    def test_half_a_character_of_a_thought_stays_with_it(self, api: Api, session_id: str) -> None:
        lines = chunk(r'"hm \ud83c"', "agent_thought_chunk"), chunk(r'"\udf89 time"')
        run = api.say(session_id, "wire " + "¦".join(lines))
        found = [each["delta"] for each in events(api, session_id, run["run_id"]) if "delta" in each]
        assert found == ["hm ", "\ufffd", "\ufffd time"]

    def test_half_a_character_elsewhere_is_replaced(self, api: Api, session_id: str) -> None:
        call = r'{"sessionUpdate":"tool_call","toolCallId":"c","title":"cut \ud83c","rawInput":{"n":NaN,"t":"\udf89"}}'
        run = api.say(session_id, f"wire {LINE.replace('UPDATE', call)}")
        started, args = [each for each in events(api, session_id, run["run_id"]) if "toolCallId" in each][:2]
        assert started["toolCallName"] == "cut \ufffd"
        assert msgspec.json.decode(args["delta"]) == {"n": None, "t": "\ufffd"}

    def test_a_question_with_half_a_character_is_put(self, api: Api, session_id: str) -> None:
        option = r'{"optionId":"y","name":"\ud83c","kind":"allow_once"}'
        params = r'{"toolCall":{"toolCallId":"q","title":"cut \ud83c"},"options":[OPTION]}'.replace("OPTION", option)
        run_id = api.send_message(session_id, f"ask {params}").ok()["run_id"]
        [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
        assert (approval["message"], approval["options"][0]["name"]) == ("cut \ufffd", "\ufffd")
        api.answer_approval(session_id, approval["id"], "allow").ok()
        eventually(lambda: "'y'" in text(api, session_id, run_id))


class TestDeaths:
    @pytest.mark.parametrize("how", ["orphan", "orphan apart"])
    def test_a_run_ends_when_its_agent_exits_and_leaves_a_child(self, api: Api, session_id: str, how: str) -> None:
        run = api.say(session_id, how)
        assert (run["status"], run["error"]) == (
            "error",
            "The agent exited with status 3. The session log has what it wrote.",
        )
        assert any("agent: exited with status 3" in line for line in api.logs(session_id))
        assert api.say(session_id, "hello")["status"] == "completed"

    def test_an_agent_that_exits_between_turns_is_started_again(self, api: Api, session_id: str) -> None:
        pid = int(reply(api, session_id, "widow"))
        eventually(lambda: not alive(pid, session_id))
        run = api.say(session_id, "hello")
        assert text(api, session_id, run["run_id"]).startswith("1: Our conversation so far:")


def updates(session: str, *updates: str) -> str:
    """Return session updates as the scripted agent writes them."""
    head = f'{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":"{session}","update":'
    return "¦".join(f"{head}{update}}}}}" for update in updates)


OF_NO_TEXT = (
    '{"sessionUpdate":"tool_call","toolCallId":"c","title":"Tidy up","status":"completed"}',
    '{"sessionUpdate":"plan","entries":[{"content":"Rest","priority":"low","status":"pending"}]}',
    '{"sessionUpdate":"usage_update","used":10,"size":100,"cost":{"amount":0.5,"currency":"USD"}}',
)


def kinds_of_no_text(api: Api, session_id: str, run_id: str) -> list[str]:
    """Return what of OF_NO_TEXT is in a run."""
    found = {
        event.get("toolCallName", event.get("activityType", event.get("name")))
        for event in events(api, session_id, run_id)
    }
    return sorted(map(str, found & {"Tidy up", "PLAN", "acp.usage_update"}))


class TestLateUpdates:
    def test_those_of_no_text_belong_to_the_run_that_they_follow(
        self, api: Api, session_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.agents.acp.agent.LATE_SECONDS", 1.0)
        run = api.say(session_id, f"later 0.1 {updates('$S', *OF_NO_TEXT)}")
        assert kinds_of_no_text(api, session_id, run["run_id"]) == ["PLAN", "Tidy up", "acp.usage_update"]
        assert run["usage"]["cost_usd"] == 0.5

    def test_still_later_ones_of_no_text_begin_the_next_run(
        self, api: Api, session_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.agents.acp.agent.LATE_SECONDS", 0.0)
        late = api.say(session_id, f"later 1 {updates('$S', *OF_NO_TEXT)}")["run_id"]
        found: list[str] = []

        def next_run() -> list[str]:
            found.extend(kinds_of_no_text(api, session_id, api.say(session_id, "x")["run_id"]))
            return sorted(found)

        assert eventually(next_run, lambda kinds: len(kinds) > 2) == ["PLAN", "Tidy up", "acp.usage_update"]
        assert kinds_of_no_text(api, session_id, late) == []

    def test_those_of_a_child_session_are_dropped_with_a_line(self, api: Api, session_id: str) -> None:
        run_id = api.say(session_id, f"wire {updates('a-child', *OF_NO_TEXT)}")["run_id"]
        eventually(lambda: sum("a-child" in line for line in api.logs(session_id)), lambda count: count == 1)
        assert kinds_of_no_text(api, session_id, run_id) == []

    def test_a_permission_that_is_requested_between_two_turns_is_denied_with_a_line(
        self, api: Api, session_id: str
    ) -> None:
        call = '"toolCall":{"toolCallId":"q","title":"Delete all"}'
        options = '"options":[{"optionId":"y","name":"Yes","kind":"allow_once"}]'
        method = '"jsonrpc":"2.0","id":77,"method":"session/request_permission"'
        ask = f'{{{method},"params":{{"sessionId":"$S",{call},{options}}}}}'
        assert reply(api, session_id, f"later 1 {ask}") == "On time"
        eventually(
            lambda: any("outside of a turn, which was denied: Delete all" in line for line in api.logs(session_id))
        )
        assert api.list_approvals(session_id).ok()["items"] == []
        assert reply(api, session_id, "hello") == "3: hello"

    def test_they_belong_to_the_run_that_they_follow(
        self, api: Api, session_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.agents.acp.agent.LATE_SECONDS", 1.0)
        assert reply(api, session_id, "late 0.15  and more") == "On time and more"

    def test_still_later_ones_begin_the_next_run(
        self, api: Api, session_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.agents.acp.agent.LATE_SECONDS", 0.0)
        assert reply(api, session_id, "late 1 too late") == "On time"
        assert eventually(lambda: reply(api, session_id, "x"), lambda found: "too late" in found)

    def test_none_of_a_cancelled_turn_come_with_the_next(self, api: Api, session_id: str) -> None:
        run_id = api.send_message(session_id, "flood 10000000").ok()["run_id"]
        eventually(lambda: api.get_run(session_id, run_id).ok()["event_count"], lambda count: count > 100)
        api.interrupt_session(session_id).ok()
        assert reply(api, session_id, "and now") == "3: and now"


class TestUnknownValues:
    @pytest.mark.parametrize(("reason", "told"), [('"pause_turn"', "pause_turn"), ("7", "unknown"), ("[1]", "unknown")])
    def test_a_stop_reason_is_told(self, api: Api, session_id: str, reason: str, told: str) -> None:
        run = api.say(session_id, f"stop {reason}")
        assert run["status"] == "completed"
        assert events(api, session_id, run["run_id"])[-1]["result"] == {"stopReason": told}
        assert reply(api, session_id, "hello") == "3: hello", "the process lives on"

    def test_an_error_as_the_stop_reason_fails_the_run(self, api: Api, session_id: str) -> None:
        run = api.say(session_id, 'stop "error"')
        assert (run["status"], run["error"]) == ("error", 'The agent ended the turn with the stop reason "error".')
        assert reply(api, session_id, "hello") == "3: hello"

    @pytest.mark.parametrize(
        ("kind", "id_", "decision"),
        [("allow_session", "s", "allow"), ("approved", "a", "allow"), ("abort", "n", "deny"), ("custom", "c", "deny")],
    )
    def test_a_kind_of_option_is_read_by_its_words(
        self, api: Api, session_id: str, kind: str, id_: str, decision: str
    ) -> None:
        option = {"optionId": id_, "name": "Z", "kind": kind}
        params = msgspec.json.encode({"toolCall": {"toolCallId": "q"}, "options": [option]}).decode()
        run_id = api.send_message(session_id, f"ask {params}").ok()["run_id"]
        [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
        api.answer_approval(session_id, approval["id"], decision).ok()
        eventually(lambda: f"'{id_}'" in text(api, session_id, run_id))

    def test_a_permission_of_a_child_session_is_an_approval(self, api: Api, session_id: str) -> None:
        run_id = api.send_message(session_id, "child").ok()["run_id"]
        [approval] = eventually(lambda: api.list_approvals(session_id).ok()["items"])
        assert approval["message"] == "Of a child"
        api.answer_approval(session_id, approval["id"], "allow").ok()
        eventually(lambda: text(api, session_id, run_id) == "yes")


def test_calls_with_one_id_are_calls_of_their_own(api: Api, session_id: str) -> None:
    steps = [
        r'{"sessionUpdate":"tool_call","toolCallId":"c","title":"one","rawInput":{"n":1},"status":"completed"}',
        r'{"sessionUpdate":"tool_call","toolCallId":"c","title":"two","rawInput":{"n":2},"status":"in_progress"}',
        r'{"sessionUpdate":"tool_call_update","toolCallId":"c","rawOutput":"second","status":"completed"}',
    ]
    run = api.say(session_id, "wire " + "¦".join(LINE.replace("UPDATE", step) for step in steps))
    messages = api.output(session_id, run_id=run["run_id"]).ok()["messages"]
    calls = [call for message in messages for call in message.get("tool_calls", [])]
    assert [(call["name"], call["args"], call["result"]) for call in calls] == [
        ("one", '{"n":1}', ""),
        ("two", '{"n":2}', "second"),
    ]
