"""The output of a session on every backend: transcript, compact events, events."""

from collections.abc import Callable
from itertools import groupby, islice
from typing import Any
from unittest.mock import ANY
from uuid import UUID, uuid4

import pytest

from tests.support.api import UNKNOWN_CURSORS, Api
from tests.support.stage import PlatformStage, Stage

FORMATS = ("transcript", "compact", "events")
SPELLINGS: list[Callable[[str], str]] = [str, str.upper, lambda run_id: UUID(run_id).hex, "{{{}}}".format]


@pytest.fixture
def session_id(stage: Stage, api: Api) -> str:
    return stage.session(api, "running")


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


class TestTranscript:
    def test_it_is_the_default(self, api: Api, session_id: str) -> None:
        answer = api.output(session_id)
        assert answer.status == 200
        assert answer.body == api.output(session_id, format="transcript").ok()
        assert answer.body == {"session_id": session_id, "format": "transcript", "messages": ANY}

    def test_it_holds_what_was_said_in_order(self, stage: Stage, api: Api, session_id: str) -> None:
        runs = [api.say(session_id, text) for text in ("First", "Second")]
        messages = api.output(session_id).ok()["messages"]
        said = [message["content"] for message in messages if message["role"] == "user"]
        assert said == [stage.task, "First", "Second"]
        for run, text in zip(runs, ("First", "Second"), strict=True):
            own = api.output(session_id, run_id=run["run_id"]).ok()["messages"]
            assert own[0] | {"timestamp": ANY} == {"id": ANY, "role": "user", "content": text, "timestamp": ANY}
            assert own[-1]["role"] in {"assistant", "tool"}
            assert [message for message in messages if message in own] == own

    def test_a_tool_call_shows_arguments_result_and_time(self, api: Api, session_id: str) -> None:
        run = api.say(session_id, "list the files")
        messages = api.output(session_id, run_id=run["run_id"]).ok()["messages"]
        [call] = [call for message in messages for call in message.get("tool_calls", [])]
        assert call == {
            "id": ANY,
            "name": ANY,
            "args": ANY,
            "result": ANY,
            "status": "completed",
            "duration": ANY,
        }
        [result] = [message for message in messages if message["role"] == "tool"]
        assert result["tool_call_id"] == call["id"]
        assert result["content"] == call["result"]
        assert "assistant" in {message["role"] for message in messages if message.get("content")}

    def test_a_run_that_is_under_way_is_there(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = stage.begin_run(api, session_id)
        messages = api.output(session_id, run_id=run_id).ok()["messages"]
        assert messages[0]["role"] == "user"


class TestEvents:
    def test_a_run_is_whole_and_in_order(self, api: Api, session_id: str) -> None:
        run = api.say(session_id, "list the files")
        answer = api.output(session_id, format="events", run_id=run["run_id"])
        assert answer.body == {"session_id": session_id, "format": "events", "events": ANY}
        events = answer.body["events"]
        assert (events[0]["type"], events[-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
        assert {event["runId"] for event in events} == {run["run_id"]}
        assert {event["threadId"] for event in events if "threadId" in event} == {session_id}
        assert len(events) == run["event_count"]
        assert None not in [value for event in events for value in event.values()]

    def test_all_runs_follow_one_another(self, api: Api, session_id: str) -> None:
        runs = [api.say(session_id, text)["run_id"] for text in ("First", "Second")]
        events = api.output(session_id, format="events").ok()["events"]
        order = [run_id for run_id, _ in groupby(event["runId"] for event in events if "runId" in event)]
        assert order[-2:] == runs

    def test_numbers_keep_their_digits(self, api: Api, session_id: str) -> None:
        state = '{"big":123456789012345678901234567890,"small":-0.10,"exact":1.0E+2}'
        body = '{"messages":[{"role":"user","content":"Hello"}],"state":' + state + "}"
        answer = api.call("create_run", session_id, data=body.encode())
        run = api.wait_for_run(session_id, answer.ok()["run_id"])
        assert run["status"] == "completed"
        shown = api.output(session_id, format="events", run_id=run["run_id"])
        assert shown.body["events"][0]["input"]["state"] == {
            "big": 123456789012345678901234567890,
            "small": -0.1,
            "exact": 100.0,
        }

    def test_unknown_events_pass_through_byte_for_byte(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        run_id = str(uuid4())
        strange = b'{"zz" : 12345678901234567890, "type":"NEVER_SEEN","runId":"%b","x":1.50e3,"a":"\\u00e9/"}' % (
            run_id.encode()
        )
        ambient.platform.runner.append(session_id, strange, b"17", b'"text"', b"null")
        for format in ("events", "compact"):
            assert strange in ambient_api.output(session_id, format=format).content
            only = ambient_api.output(session_id, format=format, run_id=run_id)
            assert only.content.endswith(b'"events":[%b]}' % strange)


class TestCompact:
    def test_the_deltas_of_a_message_are_joined(self, api: Api, session_id: str) -> None:
        run = api.say(session_id, "list the files")
        query = {"run_id": run["run_id"]}
        events = api.output(session_id, format="events", **query).ok()["events"]
        answer = api.output(session_id, format="compact", **query)
        assert answer.body == {"session_id": session_id, "format": "compact", "events": ANY}
        compact = answer.body["events"]
        types = [event["type"] for event in compact]
        assert text_of(compact) == text_of(events)
        assert types == [type_ for type_, _ in groupby(event["type"] for event in events)]
        assert [event for event in compact if "delta" not in event] == [
            event for event in events if "delta" not in event
        ]


class TestPages:
    @pytest.mark.parametrize("format", ["events", "compact"])
    @pytest.mark.parametrize("limit", [1, 2, 7, 10_000])
    @pytest.mark.parametrize("narrowed", [False, True])
    def test_pages_put_together_are_the_whole(
        self, api: Api, session_id: str, format: str, limit: int, narrowed: bool
    ) -> None:
        first, second = (api.say(session_id, text)["run_id"] for text in ("list the files", "Second"))
        query: dict[str, Any] = {"format": format} | ({"run_id": first} if narrowed else {})
        whole = api.output(session_id, **query).ok()
        assert "next_after" not in whole
        pages = [api.output(session_id, limit=limit, **query).ok()]
        while after := pages[-1].get("next_after"):
            pages.append(api.output(session_id, limit=limit, after=after, **query).ok())
        assert [len(page["events"]) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert 1 <= len(pages[-1]["events"]) <= limit
        assert [event for page in pages for event in page["events"]] == whole["events"]
        assert narrowed is not (second in {event.get("runId") for event in whole["events"]})

    def test_a_cursor_belongs_to_the_session_s_log_whatever_is_asked(self, api: Api, session_id: str) -> None:
        run_id = api.say(session_id, "Second")["run_id"]
        own = api.output(session_id, format="events", run_id=run_id).ok()["events"]
        page = api.output(session_id, format="events", run_id=run_id, limit=1).ok()
        with api.stream(session_id, run_id=run_id) as stream:
            assert page["next_after"] == next(iter(stream)).id
        whole = api.output(session_id, format="events").ok()["events"]
        for query in ({}, {"run_id": run_id}):
            after = api.output(session_id, format="events", after=page["next_after"], **query).ok()
            assert (after["events"], "next_after" in after) == (own[1:], False)
        assert whole[-len(own) :] == own

    def test_cursors_of_the_embedded_backend_are_positions_in_decimal(self, embedded_api: Api) -> None:
        session_id = embedded_api.running_session()
        with embedded_api.stream(session_id) as stream:
            assert [frame.id for frame in islice(stream, 3)] == ["1", "2", "3"]
        pages = [embedded_api.output(session_id, format="events", limit=1, after=after).ok() for after in ("0", "1")]
        assert [page["next_after"] for page in pages] == ["1", "2"]

    def test_a_page_of_a_message_s_deltas_holds_all_of_them(self, api: Api, session_id: str) -> None:
        events = api.output(session_id, format="events").ok()["events"]
        types = [event["type"] for event in events]
        first = types.index("TEXT_MESSAGE_CONTENT")
        last = first + sum(1 for _ in next(iter(groupby(types[first:])))[1])
        with api.stream(session_id) as stream:
            cursors = [frame.id for frame in islice(stream, last)]
        page = api.output(session_id, format="compact", after=cursors[first - 1], limit=1).ok()
        assert (text_of(page["events"]), page["next_after"]) == (text_of(events[first:last]), cursors[-1])

    @pytest.mark.parametrize("format", ["events", "compact"])
    def test_the_end_of_the_log_is_an_empty_page_and_an_unknown_cursor_is_refused(
        self, stage: Stage, api: Api, session_id: str, format: str
    ) -> None:
        run_id = api.list_runs(session_id).ok()["runs"][0]["run_id"]
        with api.stream(session_id, run_id=run_id) as stream:
            *_, last = stream
        empty = api.output(session_id, format=format, after=last.id)
        assert empty.body == {"session_id": session_id, "format": format, "events": []}
        pending = stage.session(api, "pending")
        assert api.output(pending, format=format, limit=1).body == empty.body | {"session_id": pending}
        assert api.output(pending, format=format, after=last.id).error == (409, "cursor_expired")
        for cursor in UNKNOWN_CURSORS:
            refused = api.output(session_id, format=format, after=cursor, run_id=run_id)
            assert refused.error == (409, "cursor_expired")
        unknown = api.output(session_id, format=format, after="0", run_id=str(uuid4()))
        assert unknown.error == (404, "run_not_found")

    def test_a_page_ends_before_a_mebibyte_but_holds_one_event(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "stopped")
        for size in (2**20, 2**19, 2**18):
            ambient.platform.runner.append(session_id, {"type": "CUSTOM", "value": "x" * size})
        first = ambient_api.output(session_id, format="events", after="0").ok()
        second = ambient_api.output(session_id, format="events", after=first["next_after"]).ok()
        assert [len(page["events"]) for page in (first, second)] == [1, 2]
        assert "next_after" not in second
        assert len(ambient_api.output(session_id, format="events").ok()["events"]) == 3


class TestEveryFormat:
    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize(
        "spelling",
        [str, lambda run_id: run_id.upper(), lambda run_id: UUID(run_id).hex, lambda run_id: f"{{{run_id}}}"],
    )
    def test_a_run_is_found_in_every_spelling(
        self, api: Api, session_id: str, format: str, spelling: Callable[[str], str]
    ) -> None:
        run_id = api.say(session_id, "First")["run_id"]
        whole = api.output(session_id, format=format).ok()
        own = api.output(session_id, format=format, run_id=run_id).ok()
        assert own != whole
        assert api.output(session_id, format=format, run_id=spelling(run_id)).ok() == own

    @pytest.mark.parametrize("format", FORMATS)
    def test_an_unknown_run_is_not_found(self, api: Api, session_id: str, format: str) -> None:
        assert api.output(session_id, format=format, run_id=str(uuid4())).error == (404, "run_not_found")

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_session_without_events_has_an_empty_log(self, stage: Stage, api: Api, format: str) -> None:
        pending = stage.session(api, "pending")
        answer = api.output(pending, format=format)
        assert answer.status == 200
        assert answer.body == {
            "session_id": pending,
            "format": format,
            "messages" if format == "transcript" else "events": [],
        }

    @pytest.mark.parametrize("format", FORMATS)
    def test_a_stopped_session_is_still_read(self, stage: Stage, api: Api, format: str) -> None:
        session_id = stage.session(api, "running")
        before = api.output(session_id, format=format).ok()
        api.stop_session(session_id).ok()
        stage.settle(api, session_id, "stopped")
        assert api.output(session_id, format=format).ok() == before

    @pytest.mark.parametrize(
        ("query", "fault"),
        [
            ("format=markdown", "query.format"),
            ("format=", "query.format"),
            ("format=events&format=compact", "query.format"),
            ("run_id=run-1", "query.run_id"),
            ("run_id=", "query.run_id"),
            ("run_id=0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11%0A", "query.run_id"),
            ("runId=0a3f9c52-5b1e-4a57-9d0c-6a5f5f5b7c11", "query.runId"),
            ("after=1", "query.after"),
            ("limit=1&format=transcript", "query.limit"),
            ("format=events&after=1,2", "query.after"),
            ("format=events&after=", "query.after"),
            ("format=events&after=a%20b", "query.after"),
            (f"format=events&after={'a' * 65}", "query.after"),
            ("format=events&after=1&after=1", "query.after"),
            ("format=events&limit=0", "query.limit"),
            ("format=events&limit=10001", "query.limit"),
        ],
    )
    def test_a_bad_query_is_refused_and_its_fault_is_named(
        self, stage: Stage, api: Api, session_id: str, query: str, fault: str
    ) -> None:
        with stage.nothing_happens(api):
            answer = api.call("get_session_output", session_id, query=query)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), [fault])
