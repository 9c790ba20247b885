"""Runs on the platform: sent, listed, and read from its log."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from app.backends.ambient import pending_runs
from app.backends.ambient.backend import AmbientBackend
from app.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    Forbidden,
    NotRunning,
    NotSupported,
    RunExists,
    RunNotFound,
    SessionNotFound,
)
from app.models.output import OutputFormat
from app.models.runs import AcceptedRun, MessageCreate, RunCreate, RunMessage, RunStatus, RunSummary, Usage
from app.results import Idempotent
from tests.support import platform_failures as failures
from tests.support.output import stored_events, transcript
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, OTHER_PROJECT, connected
from tests.support.platform_recordings import session_log, streamed_sessions

TOOL = {"name": "t", "description": "t", "parameters": {"type": "object", "properties": {}}}
"""A tool with all members that the platform's runner requires."""

HELLO = MessageCreate(content="hello")


def run(**more: Any) -> RunCreate:
    return RunCreate(messages=[RunMessage(role="user", content="hello")], **more)


async def runs(backend: AmbientBackend, status: RunStatus | None = None) -> list[RunSummary]:
    return (await backend.runs.list_runs(CALLER, "s1", status=status)).runs


async def events(
    backend: AmbientBackend, run_id: str | None = None, format: OutputFormat = OutputFormat.EVENTS
) -> list[bytes]:
    return [bytes(event) for event in await stored_events(backend, CALLER, "s1", format, run_id)]


async def conversation(backend: AmbientBackend, run_id: str | None = None) -> list[tuple[str, str | None]]:
    return [(message.role, message.content) for message in await transcript(backend, CALLER, "s1", run_id)]


class TestSendMessage:
    async def test_message_is_a_run_on_the_sessions_thread_with_new_ids(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        accepted = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
        sent = platform.last("run").json()
        assert accepted == AcceptedRun(run_id=sent["runId"], thread_id="s1")
        assert UUID(sent["runId"]) != UUID(sent["messages"][0]["id"])
        assert sent == {
            "threadId": "s1",
            "runId": accepted.run_id,
            "messages": [{"id": sent["messages"][0]["id"], "role": "user", "content": "hello"}],
            "state": {},
            "tools": [],
            "context": [],
            "forwardedProps": {},
        }
        assert platform.operations() == ["get", "run"]

    @pytest.mark.parametrize("phase", [None, "Pending", "Creating", "Stopping", "Stopped", "Failed", "Hibernating"])
    async def test_message_and_run_are_refused_unless_the_session_is_running(
        self, platform: FakePlatform, backend: AmbientBackend, phase: str | None
    ) -> None:
        platform.add_session("demo", "s1", phase=phase)
        with pytest.raises(NotRunning):
            await backend.runs.send_message(CALLER, "s1", HELLO)
        with pytest.raises(NotRunning):
            await backend.runs.create_run(CALLER, "s1", run(run_id=str(uuid4())))
        assert platform.operations() == ["get", "get"]

    @pytest.mark.parametrize("reply", [{}, {"runId": None, "threadId": 7}, {"runId": "", "threadId": ""}])
    async def test_ids_are_ours_when_the_platform_returns_none(
        self, platform: FakePlatform, backend: AmbientBackend, reply: Any
    ) -> None:
        platform.always("run", failures.respond(200, reply))
        accepted = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
        assert accepted == AcceptedRun(run_id=platform.last("run").json()["runId"], thread_id="s1")

    @pytest.mark.parametrize("reply", [{"runId": "r9", "threadId": "t9"}, {"run_id": "r9", "thread_id": "t9"}])
    async def test_ids_are_the_platforms_when_it_returns_others(
        self, platform: FakePlatform, backend: AmbientBackend, reply: Any
    ) -> None:
        platform.always("run", failures.respond(202, reply))
        assert (await backend.runs.send_message(CALLER, "s1", HELLO)).value == AcceptedRun(run_id="r9", thread_id="t9")
        assert [one.run_id for one in await runs(backend)] == ["r9"]

    @pytest.mark.parametrize(
        "reaction", [failures.html, failures.redirect, failures.disconnect, failures.respond(200, None)]
    )
    async def test_run_is_a_502_and_forgotten_when_the_platform_does_not_accept_it(
        self, platform: FakePlatform, backend: AmbientBackend, reaction: failures.Reaction
    ) -> None:
        platform.next("run", reaction)
        with pytest.raises(BackendUnavailable):
            await backend.runs.send_message(CALLER, "s1", HELLO)
        assert await runs(backend) == []


class TestCreateRun:
    async def test_run_is_passed_on_with_all_that_is_for_the_agent_in_its_last_message(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        run_id = str(uuid4())
        new = RunCreate(
            messages=[RunMessage(role="system", content="Be kind", id="m1"), RunMessage(role="user", content="hi")],
            run_id=run_id,
            thread_id="other",
            state={"a": 1},
            tools=[{"name": "t"}],
            context=[{"value": "c"}],
            forwarded_props={"p": 2},
        )
        assert (await backend.runs.create_run(CALLER, "s1", new)).value == AcceptedRun(run_id=run_id, thread_id="other")
        sent = platform.last("run").json()
        assert sent["messages"][0] == {"id": "m1", "role": "system", "content": "Be kind"}
        made = str(UUID(sent["messages"][1]["id"]))
        assert sent["messages"][1] == {"id": made, "role": "user", "content": "Be kind\n\nhi"}
        assert (sent["threadId"], sent["state"], sent["tools"]) == ("other", {"a": 1}, [TOOL])
        assert (sent["context"], sent["forwardedProps"]) == ([{"value": "c"}], {"p": 2})

    @pytest.mark.parametrize("state", [[1], "text", 7, True])
    async def test_state_that_is_no_object_is_not_supported(
        self, platform: FakePlatform, backend: AmbientBackend, state: Any
    ) -> None:
        with pytest.raises(NotSupported):
            await backend.runs.create_run(CALLER, "s1", run(state=state))
        assert "run" not in platform.operations()

    async def test_tool_keeps_what_it_has(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        whole = {"name": "t", "description": "does", "parameters": {"type": "object"}}
        await backend.runs.create_run(
            CALLER, "s1", run(tools=[whole, {"name": "t", "description": "", "parameters": {}}])
        )
        assert platform.last("run").json()["tools"] == [whole, TOOL]

    async def test_known_run_id_is_refused_in_any_spelling(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        run_id = str(uuid4())
        await backend.runs.create_run(CALLER, "s1", run(run_id=run_id))
        for spelling in (run_id, run_id.upper(), UUID(run_id).hex, f"urn:uuid:{run_id}"):
            with pytest.raises(RunExists):
                await backend.runs.create_run(CALLER, "s1", run(run_id=spelling))
        assert platform.operations().count("run") == 1

    async def test_id_of_a_pending_run_is_refused(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        platform.runner.pace = "wait"
        run_id = str(uuid4())
        results = await asyncio.gather(
            *(backend.runs.create_run(CALLER, "s1", run(run_id=run_id)) for _ in range(5)), return_exceptions=True
        )
        assert [type(result) for result in results].count(Idempotent) == 1
        assert [type(result) for result in results].count(RunExists) == 4
        assert platform.operations().count("run") == 1

    async def test_id_is_free_again_when_the_platform_has_refused_the_run(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.next("run", failures.error(400, "invalid input"), failures.error(403, "Unauthorized"))
        new = run(run_id=str(uuid4()))
        for refusal in (BackendError, Forbidden):
            with pytest.raises(refusal):
                await backend.runs.create_run(CALLER, "s1", new)
        assert (await backend.runs.create_run(CALLER, "s1", new)).value.run_id == new.run_id


class TestListRuns:
    async def test_run_is_summarized_from_the_log(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        accepted = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
        (summary,) = await runs(backend)
        assert summary.started_at is not None
        assert summary.finished_at is not None
        assert summary.started_at <= summary.finished_at
        assert summary == RunSummary(
            run_id=accepted.run_id,
            status=RunStatus.COMPLETED,
            event_count=len(platform.runner.logs["s1"] or []),
            thread_id="s1",
            started_at=summary.started_at,
            finished_at=summary.finished_at,
            user_message="hello",
            usage=Usage(input_tokens=3, output_tokens=71, total_tokens=74, cached_input_tokens=12, cost_usd=0.06),
        )
        run = await backend.runs.get_run(CALLER, "s1", accepted.run_id)
        assert run.answer
        assert msgspec.structs.replace(run, answer=None) == summary

    async def test_run_is_queued_until_its_first_event_is_in_the_log(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.runner.pace = "open"
        first = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
        second = (await backend.runs.send_message(CALLER, "s1", MessageCreate(content="again"))).value
        queued = RunSummary(
            run_id=second.run_id, status=RunStatus.QUEUED, event_count=1, thread_id="s1", user_message="again"
        )
        listed = await runs(backend)
        assert [one.run_id for one in listed] == [first.run_id, second.run_id]
        assert listed[1] == queued
        assert await backend.runs.get_run(CALLER, "s1", second.run_id) == queued
        assert await runs(backend, RunStatus.QUEUED) == [queued]
        assert [json.loads(event)["type"] for event in await events(backend, second.run_id)] == ["MESSAGES_SNAPSHOT"]
        platform.runner.finish("s1")
        assert [one.status for one in await runs(backend)] == [RunStatus.COMPLETED, RunStatus.RUNNING]
        assert await runs(backend, RunStatus.QUEUED) == []

    async def test_run_is_queued_as_long_as_another_one_is_active(
        self, platform: FakePlatform, backend: AmbientBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platform.runner.pace = "open"
        await backend.runs.send_message(CALLER, "s1", HELLO)
        second = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
        stream = await backend.output.stream_session_events(
            CALLER, "s1", after=None, run_id=second.run_id, format=OutputFormat.EVENTS
        )
        monkeypatch.setattr(pending_runs, "GRACE_SECONDS", 0.0)
        assert [run.status for run in await runs(backend)] == [RunStatus.RUNNING, RunStatus.QUEUED]
        platform.runner.finish("s1")
        platform.runner.finish("s1")
        types = [json.loads(bytes(frame.event))["type"] async for page in stream.pages for frame in page]
        assert (types[0], types[-1]) == ("MESSAGES_SNAPSHOT", "RUN_FINISHED")

    async def test_run_that_does_not_start_is_given_up_when_none_is_active(
        self, platform: FakePlatform, backend: AmbientBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platform.runner.pace = "wait"
        lost = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
        stream = await backend.output.stream_session_events(
            CALLER, "s1", after=None, run_id=lost.run_id, format=OutputFormat.EVENTS
        )
        monkeypatch.setattr(pending_runs, "GRACE_SECONDS", 0.0)
        types = [json.loads(bytes(frame.event))["type"] async for page in stream.pages for frame in page]
        assert types[-1:] == ["RUN_ERROR"]
        assert [run.status for run in await runs(backend)] == [RunStatus.ERROR]

    async def test_cost_of_a_run_is_the_increase_of_its_process_total(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        for _ in range(2):
            for _ in range(3):
                await backend.runs.send_message(CALLER, "s1", HELLO)
            platform.runner.kill("s1")
        assert [run.usage and run.usage.cost_usd for run in await runs(backend)] == [0.06] * 6

    async def test_runs_are_filtered_by_status(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        await backend.runs.send_message(CALLER, "s1", HELLO)
        platform.runner.append("s1", {"type": "RUN_ERROR", "message": "No", "runId": "r2", "threadId": "s1"})
        assert [one.run_id for one in await runs(backend, RunStatus.ERROR)] == ["r2"]
        assert len(await runs(backend)) == 2

    async def test_run_without_an_end_is_an_error_unless_the_session_is_running(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.runner.pace = "open"
        await backend.runs.send_message(CALLER, "s1", HELLO)
        assert [one.status for one in await runs(backend)] == [RunStatus.RUNNING]
        platform.set_phase("demo", "s1", "Stopping")
        platform.settle()
        assert [one.status for one in await runs(backend)] == [RunStatus.ERROR]

    async def test_error_of_a_run_reveals_no_internals(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        ids = {"runId": "r1", "threadId": "s1"}
        platform.runner.append("s1", {"type": "RUN_STARTED"} | ids)
        platform.runner.append("s1", {"type": "RUN_ERROR", "message": "dial tcp 10.0.0.1:8001"} | ids)
        ids = {"runId": "r2", "threadId": "s1"}
        platform.runner.append("s1", {"type": "RUN_ERROR", "message": "Runner is not available"} | ids)
        assert [(one.status, one.error) for one in await runs(backend)] == [
            (RunStatus.ERROR, "Run failed"),
            (RunStatus.ERROR, "Runner is not available"),
        ]

    async def test_textual_times_of_an_old_log_become_milliseconds(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        started = {"type": "RUN_STARTED", "timestamp": "2026-03-09T13:00:00.389Z", "run_id": "r1", "thread_id": "s1"}
        platform.runner.append("s1", started)
        (summary,) = await runs(backend)
        assert (summary.run_id, summary.started_at) == ("r1", 1773061200389)

    async def test_run_is_not_found_when_the_log_does_not_have_it(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        await backend.runs.send_message(CALLER, "s1", HELLO)
        with pytest.raises(RunNotFound):
            await backend.runs.get_run(CALLER, "s1", "r1")
        with pytest.raises(RunNotFound):
            await events(backend, str(uuid4()))
        platform.runner.append("s1", {"type": "RUN_STARTED", "runId": "not a uuid / at all"})
        assert (await backend.runs.get_run(CALLER, "s1", "not a uuid / at all")).event_count == 1


class TestErrors:
    async def test_run_that_failed_in_its_turn_has_the_agent_s_words_as_error(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        [session] = streamed_sessions("08")
        platform.add_session("demo", session)
        for line in session_log("08", session):
            platform.runner.play(session, line.stored, line.live)
        runs = (await backend.runs.list_runs(CALLER, session, status=RunStatus.ERROR)).runs
        assert [run.error for run in runs] == [
            "API Error: 529 overloaded",
            "partial ",
            "Runner error: HTTP 500",
            "SDK message reader died",
        ]

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            (
                "Credential refresh failed. Ask an administrator. See http://10.0.0.7:80/x",
                "Credential refresh failed. Ask an administrator.",
            ),
            ("x" * 400, "x" * 299 + "…"),
            ("Post http://10.0.0.7/: connection refused", "Run failed"),
        ],
    )
    async def test_long_error_is_told_as_far_as_it_may_be(
        self, platform: FakePlatform, backend: AmbientBackend, message: str, error: str
    ) -> None:
        failed = {"type": "RUN_ERROR", "message": message, "runId": "r"}
        platform.runner.append("s1", {"type": "RUN_STARTED", "runId": "r"}, failed)
        assert (await backend.runs.get_run(CALLER, "s1", "r")).error == error


class TestOutput:
    async def test_events_are_the_stored_bytes(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        stored = [
            b'{"z":12345678901234567890,"a":1.10,"type":"X_NEW","runId":"r1","text":"\\u00e9\\/ \xc3\xa9"}',
            b'{"type":"RAW","event":{"type":"message_metadata", "n":1e400}}',
        ]
        platform.runner.append("s1", *stored)
        assert await events(backend) == stored
        assert await events(backend, format=OutputFormat.COMPACT) == stored

    async def test_entries_that_are_not_objects_are_dropped(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.runner.append("s1", b"null", b'"x"', b"[1]", b'{"type":"A"}', b"7")
        assert await events(backend) == [b'{"type":"A"}']

    async def test_deltas_are_joined_when_the_format_is_compact(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.runner.rewrites = False
        await backend.runs.send_message(CALLER, "s1", HELLO)
        deltas = [json.loads(event) for event in await events(backend, format=OutputFormat.COMPACT)]
        assert [event["delta"] for event in deltas if event["type"] == "TEXT_MESSAGE_CONTENT"] == ["Hello!"]

    async def test_transcript_has_the_messages_of_all_runs(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        await backend.runs.send_message(CALLER, "s1", HELLO)
        platform.runner.reply = "Bye!"
        await backend.runs.send_message(CALLER, "s1", MessageCreate(content="bye"))
        spoken = [turn for turn in await conversation(backend) if turn[0] in {"user", "assistant"} and turn[1]]
        assert spoken == [("user", "hello"), ("assistant", "Hello!"), ("user", "bye"), ("assistant", "Bye!")]

    async def test_transcript_has_complete_tool_calls(self, backend: AmbientBackend) -> None:
        await backend.runs.send_message(CALLER, "s1", HELLO)
        messages = await transcript(backend, CALLER, "s1")
        (call,) = [call for message in messages for call in message.tool_calls or []]
        assert (call.name, call.args, call.status) == ("Bash", '{"command":"ls"}', "completed")
        assert call.result is not None

    async def test_output_is_one_run_when_its_id_is_given_in_any_spelling(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        first = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
        mine = list(platform.runner.logs["s1"] or [])
        await backend.runs.send_message(CALLER, "s1", MessageCreate(content="bye"))
        for spelling in (first.run_id, first.run_id.upper(), UUID(first.run_id).hex, f"urn:uuid:{first.run_id}"):
            assert await events(backend, spelling) == mine
        assert ("user", "bye") not in await conversation(backend, first.run_id)

    async def test_output_is_empty_when_nothing_has_run_yet(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        assert await events(backend) == []
        assert await conversation(backend) == []
        assert await runs(backend) == []
        platform.runner.logs["s1"] = None
        assert await events(backend) == []
        assert await runs(backend) == []

    @pytest.mark.parametrize("body", [{}, {"aguiEvents": "x"}, {"aguiEvents": {"a": 1}}, {"aguiEvents": 7}])
    async def test_output_is_empty_when_the_export_has_no_list(
        self, platform: FakePlatform, backend: AmbientBackend, body: Any
    ) -> None:
        platform.always("export", failures.respond(200, body))
        assert await events(backend) == []

    @pytest.mark.parametrize(
        "reaction",
        [
            failures.html,
            failures.redirect,
            failures.disconnect,
            failures.truncate,
            failures.respond(200, None),
            failures.respond(200, []),
            failures.respond(200, b'{"aguiEvents":[{"type":"\xff"}]}'),
            failures.respond(200, b'{"aguiEvents":[{"type":"A"}'),
        ],
    )
    async def test_output_is_a_502_when_the_export_cannot_be_read(
        self, platform: FakePlatform, backend: AmbientBackend, reaction: failures.Reaction
    ) -> None:
        platform.always("export", reaction)
        with pytest.raises(BackendUnavailable):
            await events(backend)
        with pytest.raises(BackendUnavailable):
            await runs(backend)

    async def test_output_is_the_platforms_error_when_it_cannot_read_its_log(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        platform.always("export", failures.error(500, "Failed to read session events"))
        with pytest.raises(BackendError, match="Failed to read session events"):
            await events(backend)

    async def test_output_is_a_504_when_the_export_does_not_arrive(self, platform: FakePlatform) -> None:
        platform.always("export", failures.hang)
        async with connected(platform.url, timeout=0.2) as backend:
            with pytest.raises(BackendTimeout):
                await events(backend)


async def test_session_of_the_same_name_in_another_project_is_out_of_reach(
    platform: FakePlatform, backend: AmbientBackend
) -> None:
    await backend.runs.send_message(CALLER, "s1", HELLO)
    (summary,) = await runs(backend)
    platform.requests.clear()
    for call in (
        backend.output.get_session_output(OTHER_PROJECT, "s1", format=OutputFormat.EVENTS, run_id=None),
        backend.runs.list_runs(OTHER_PROJECT, "s1", status=None),
        backend.runs.get_run(OTHER_PROJECT, "s1", summary.run_id),
        backend.runs.send_message(OTHER_PROJECT, "s1", HELLO),
        backend.runs.create_run(OTHER_PROJECT, "s1", run(run_id=str(uuid4()))),
        backend.runs.interrupt_session(OTHER_PROJECT, "s1"),
    ):
        with pytest.raises(SessionNotFound):
            await call
    assert platform.operations() == ["get"] * 6


async def test_log_of_a_deleted_session_is_not_read(platform: FakePlatform, backend: AmbientBackend) -> None:
    platform.runner.pace = "wait"
    accepted = (await backend.runs.send_message(CALLER, "s1", HELLO)).value
    await backend.sessions.delete_session(CALLER, "s1")
    with pytest.raises(SessionNotFound):
        await events(backend)
    platform.add_session("demo", "s1")
    platform.runner.logs.clear()
    with pytest.raises(RunNotFound):
        await backend.runs.get_run(CALLER, "s1", accepted.run_id)
