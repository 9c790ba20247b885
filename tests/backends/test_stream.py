"""The event stream of a session on every backend."""

import itertools
import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests
from aiohttp import web

from tests.support.api import UNKNOWN_CURSORS, Api, Stream, StreamFrame
from tests.support.stage import PlatformStage, Stage


@pytest.fixture
def session_id(stage: Stage, api: Api) -> str:
    return stage.session(api, "running")


def log_of(api: Api, session_id: str, **query: Any) -> bytes:
    """The events of a log as the output has them, byte for byte."""
    content = api.output(session_id, **({"format": "events"} | query)).content
    return content.partition(b'"events":[')[2].removesuffix(b"]}")


def joined(frames: list[StreamFrame]) -> bytes:
    return b",".join(frame.data for frame in frames)


def first(stream: Stream, count: int) -> list[StreamFrame]:
    return list(itertools.islice(stream, count))


def until(stream: Iterator[StreamFrame], type_: str, run_id: str) -> list[StreamFrame]:
    """The frames up to an event of that type in a run."""
    frames: list[StreamFrame] = []
    for frame in stream:
        frames.append(frame)
        if (frame.event["type"], frame.event.get("runId")) == (type_, run_id):
            return frames
    raise AssertionError(f"the stream ended without {type_}")


class TestReplay:
    def test_what_is_stored_comes_byte_for_byte_with_its_cursors(self, api: Api, session_id: str) -> None:
        log = log_of(api, session_id)
        count = len(api.output(session_id, format="events").ok()["events"])
        with api.stream(session_id) as stream:
            frames = first(stream, count)
        assert joined(frames) == log
        assert len({frame.id for frame in frames if frame.id}) == count
        assert stream.response.headers["Cache-Control"] == "no-cache"

    def test_it_goes_on_after_every_cursor(self, api: Api, session_id: str) -> None:
        run_id = api.list_runs(session_id).ok()["runs"][0]["run_id"]
        with api.stream(session_id, run_id=run_id) as stream:
            whole = list(stream)
        for number, frame in enumerate(whole, 1):
            with api.stream(session_id, run_id=run_id, after=frame.id) as stream:
                assert list(stream) == whole[number:]
            with api.stream(session_id, run_id=run_id, after=whole[0].id, last_event_id=frame.id) as stream:
                assert list(stream) == whole[number:]

    def test_compact_frames_are_the_compact_output_at_the_cursors_of_their_last_deltas(
        self, api: Api, session_id: str
    ) -> None:
        run_id = api.say(session_id, "list the files")["run_id"]
        query = {"run_id": run_id, "format": "compact"}
        with api.stream(session_id, **query) as stream:
            whole = list(stream)
        assert joined(whole) == log_of(api, session_id, **query)
        for number, frame in enumerate(whole):
            assert frame.id is not None
            with api.stream(session_id, last_event_id=frame.id, **query) as stream:
                assert list(stream) == whole[number + 1 :]
        with api.stream(session_id, run_id=run_id) as stream:
            stored = {frame.id: frame.event["type"] for frame in stream}
        assert [stored[frame.id] for frame in whole] == [frame.event["type"] for frame in whole]

    def test_a_run_s_stream_has_its_events_alone(self, api: Api, session_id: str) -> None:
        runs = [api.say(session_id, text)["run_id"] for text in ("First", "Second")]
        for run_id in runs:
            with api.stream(session_id, run_id=run_id.upper()) as stream:
                assert joined(list(stream)) == log_of(api, session_id, run_id=run_id)


class TestLive:
    @pytest.mark.parametrize("format", ["events", "compact"])
    def test_what_comes_joins_what_was_there(self, api: Api, session_id: str, format: str) -> None:
        with api.stream(session_id, format=format) as stream:
            run_id = api.send_message(session_id, "list the files").ok()["run_id"]
            frames = until(iter(stream), "RUN_FINISHED", run_id)
        assert joined(frames) == log_of(api, session_id, format=format)
        assert len({frame.id for frame in frames if frame.id}) == len(frames)

    def test_a_run_s_stream_ends_with_the_run(self, stage: Stage, api: Api, session_id: str) -> None:
        run_id = stage.begin_run(api, session_id)
        with api.stream(session_id, run_id=run_id) as stream:
            frames = iter(stream)
            assert next(frames).event["type"] in {"RUN_STARTED", "RAW"}
            api.interrupt_session(session_id).ok()
            rest = list(frames)
        assert rest[-1].event["type"] == "RUN_FINISHED"
        assert log_of(api, session_id, run_id=run_id).endswith(joined(rest))

    def test_a_session_s_stream_ends_when_it_is_deleted(self, stage: Stage, api: Api, session_id: str) -> None:
        stage.begin_run(api, session_id)
        with api.stream(session_id) as stream:
            frames = iter(stream)
            next(frames)
            api.delete_session(session_id).ok()
            list(frames)
        assert api.call("stream_session_events", session_id).error == (404, "session_not_found")

    def test_a_session_without_events_is_waited_for(self, stage: Stage, api: Api) -> None:
        pending = stage.session(api, "pending")
        with api.stream(pending) as stream:
            assert stream.response.status_code == 200

    def test_nothing_is_lost_or_doubled_when_the_connection_is_cut_a_hundred_times(
        self, stage: Stage, api: Api, session_id: str
    ) -> None:
        cuts, chance = 0, random.Random(7)  # noqa: S311 - where to cut is no secret
        with stage.stream_run(api, session_id, 1_000) as run_id:
            seen: list[StreamFrame] = []
            while not seen or seen[-1].event["type"] != "RUN_FINISHED":
                cursor = seen[-1].id if seen else None
                with api.stream(session_id, run_id=run_id, last_event_id=cursor) as stream:
                    seen += first(stream, chance.randint(0, 20))
                cuts += 1
            api.wait_for_run(session_id, run_id)
        assert cuts >= 50
        assert len(seen) > 1_000
        assert joined(seen) == log_of(api, session_id, run_id=run_id)


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "fault"),
        [
            ("after=1,2", "query.after"),
            ("after=a%20b", "query.after"),
            ("after=", "query.after"),
            (f"after={'a' * 65}", "query.after"),
            ("format=transcript", "query.format"),
            ("run_id=a/b", "query.run_id"),
            ("limit=1", "query.limit"),
        ],
    )
    def test_a_bad_query_is_refused(self, stage: Stage, api: Api, session_id: str, query: str, fault: str) -> None:
        with stage.nothing_happens(api):
            answer = api.call("stream_session_events", session_id, query=query)
        assert (answer.error, answer.faults) == ((400, "invalid_request"), [fault])

    @pytest.mark.parametrize("cursor", ["1,2", "a b", "a/b", "a" * 65])
    def test_a_bad_last_event_id_is_refused(self, stage: Stage, api: Api, session_id: str, cursor: str) -> None:
        with stage.nothing_happens(api):
            answer = api.call("stream_session_events", session_id, headers={"Last-Event-ID": cursor})
        assert (answer.error, answer.faults) == ((400, "invalid_request"), ["header.Last-Event-ID"])

    @pytest.mark.parametrize("cursor", UNKNOWN_CURSORS)
    def test_an_unknown_cursor_is_refused(self, api: Api, session_id: str, cursor: str) -> None:
        refused = api.call("stream_session_events", session_id, query={"after": cursor})
        assert refused.error == (409, "cursor_expired")
        refused = api.call("stream_session_events", session_id, headers={"Last-Event-ID": cursor})
        assert refused.error == (409, "cursor_expired")

    def test_a_run_whose_id_is_the_client_s_own_is_followed(self, api: Api, session_id: str) -> None:
        with api.run_agent(
            session_id, messages=[{"id": "m", "role": "user", "content": "Hello"}], runId="run 1"
        ) as run:
            assert list(run)
        with api.stream(session_id, run_id="run 1") as stream:
            frames = list(stream)
        assert {frame.event["runId"] for frame in frames} == {"run 1"}
        assert frames[-1].event["type"] == "RUN_FINISHED"

    def test_an_unknown_run_is_not_found(self, api: Api, session_id: str) -> None:
        for run_id in (str(uuid4()), "run-1"):
            answer = api.call("stream_session_events", session_id, query={"run_id": run_id})
            assert answer.error == (404, "run_not_found")

    def test_a_session_of_another_project_is_not_found(self, stage: Stage, session_id: str) -> None:
        with stage.api() as stranger:
            answer = stranger.call("stream_session_events", session_id)
        assert answer.error == (404, "session_not_found")

    def test_head_shows_the_head_and_no_stream_begins(self, api: Api, session_id: str) -> None:
        answer = api.call("stream_session_events", session_id, method="HEAD")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
        refused = api.call("stream_session_events", session_id, method="HEAD", query={"after": "never"})
        assert refused.status == 409


class TestThePlatform:
    """Streams of a log that others write."""

    def test_a_run_that_broke_off_gets_its_end(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        run_id = ambient.begin_run(ambient_api, session_id)
        runner = ambient.platform.runner
        ids = {"threadId": session_id, "runId": run_id}
        runner.append(session_id, {"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"} | ids)
        with ambient_api.stream(session_id, run_id=run_id) as stream:
            frames = iter(stream)
            until(frames, "TEXT_MESSAGE_START", run_id)
            runner.kill(session_id)
            ambient.platform.set_phase(str(ambient_api.project), session_id, "Stopped")
            missing = list(frames)
        assert [(frame.id, frame.event["type"]) for frame in missing] == [
            (None, "TEXT_MESSAGE_END"),
            (None, "RUN_ERROR"),
        ]
        assert {frame.event["runId"] for frame in missing} == {run_id}
        assert ambient_api.get_run(session_id, run_id).ok()["status"] == "error"

    def test_a_run_that_another_has_overtaken_gets_its_end(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        run_id = ambient.begin_run(ambient_api, session_id)
        ambient.platform.runner.kill(session_id)
        with ambient_api.stream(session_id, run_id=run_id) as stream:
            frames = iter(stream)
            next(frames)
            ambient_api.say(session_id, "Go on")
            assert [(frame.id, frame.event["type"]) for frame in frames][-1] == (None, "RUN_ERROR")

    def test_a_run_is_followed_from_before_its_first_event(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        runner = ambient.platform.runner
        runner.pace = "wait"
        run_id = ambient_api.send_message(session_id, "Hello").ok()["run_id"]
        with ambient_api.stream(session_id, run_id=run_id) as stream:
            runner.pace = "finish"
            runner.begin(session_id)
            assert list(stream)[-1].event["type"] == "RUN_FINISHED"

    def test_a_log_that_shrank_ends_the_stream_and_its_old_cursors_are_refused(
        self, ambient: PlatformStage, ambient_api: Api
    ) -> None:
        session_id = ambient.session(ambient_api, "running")
        log = ambient.platform.runner.logs[session_id]
        assert log
        with ambient_api.stream(session_id) as stream:
            frames = iter(stream)
            seen = [next(frames) for _ in log]
            ambient.platform.runner.logs[session_id] = log[:3]
            assert list(frames) == []
        assert len(seen) == len(log)
        answer = ambient_api.call("stream_session_events", session_id, headers={"Last-Event-ID": str(seen[-1].id)})
        assert answer.error == (409, "cursor_expired")

    def test_a_log_that_was_rewritten_ends_the_stream(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        log = ambient.platform.runner.logs[session_id]
        assert log
        with ambient_api.stream(session_id) as stream:
            frames = iter(stream)
            for _ in log:
                next(frames)
            ambient.platform.runner.logs[session_id] = [b'{"type":"CUSTOM"}'] * (len(log) + 3)
            assert list(frames) == []

    def test_a_refused_token_cuts_the_connection(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        with ambient_api.stream(session_id) as stream:
            frames = iter(stream)
            next(frames)
            ambient.platform.always("get", refusing)
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(frames)


async def refusing(_request: web.Request) -> web.Response:
    return web.Response(status=401)
