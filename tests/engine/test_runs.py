"""Runs of the embedded backend: accepted, queued, run in order, read again."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.agents.port import Turn
from app.errors import NotRunning, RunExists, RunNotFound
from app.models.output import OutputFormat
from app.models.runs import RunCreate, RunMessage, RunStatus
from app.models.sessions import SessionStatus
from app.store import sessions
from app.store.commands.runs import claim_run
from tests.support.output import stored_events, transcript
from tests.support.scripted import (
    CALLER,
    FINISHED,
    STARTED,
    Harness,
    echo,
    endless,
    event,
    last_message,
    open_backend,
    until,
)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_backend(tmp_path) as harness:
        yield harness


def new_run(content: str = "x", **fields: Any) -> RunCreate:
    return RunCreate(messages=[RunMessage(role="user", content=content)], **fields)


async def test_runs_follow_one_another_when_they_are_sent_all_at_once(tmp_path: Path) -> None:
    begun: list[str] = []
    at_work = 0

    async def watch(turn: Turn) -> AsyncIterator[bytes]:
        nonlocal at_work
        at_work += 1
        begun.append(last_message(turn))
        async for each in echo(turn):
            await asyncio.sleep(0)
            assert at_work == 1
            yield each
        at_work -= 1

    async with open_backend(tmp_path, watch) as harness:
        session_id = await harness.running("0")
        run_ids = [await harness.say(session_id, str(n)) for n in range(1, 10)]
        for run_id in run_ids:
            assert (await harness.ended(session_id, run_id)).status is RunStatus.COMPLETED
        assert begun == [str(n) for n in range(10)]
        log = [each["runId"] for each in await harness.log(session_id)]
        assert list(dict.fromkeys(log))[1:] == run_ids
        assert log == sorted(log, key=log.index)


async def test_a_session_does_not_wait_when_another_one_is_busy(tmp_path: Path) -> None:
    both = asyncio.Barrier(2)

    async def meet(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        async with asyncio.timeout(20):
            await both.wait()
        yield FINISHED

    async with open_backend(tmp_path, meet) as harness:
        sessions = [await harness.create() for _ in range(2)]
        for session_id in sessions:
            [run] = await harness.runs(session_id)
            assert (await harness.ended(session_id, run.run_id)).status is RunStatus.COMPLETED


async def test_queued_runs_are_listed_last_and_in_order_when_one_is_active(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id)
        run_ids = [await harness.say(session_id, f"q{n}") for n in range(3)]
        runs = await harness.runs(session_id)
        assert [run.run_id for run in runs] == [task.run_id, *run_ids]
        assert [run.status for run in runs] == [RunStatus.RUNNING] + [RunStatus.QUEUED] * 3
        queued = (await harness.backend.runs.list_runs(CALLER, session_id, status=RunStatus.QUEUED)).runs
        assert [run.user_message for run in queued] == ["q0", "q1", "q2"]
        assert [(run.started_at, run.finished_at, run.event_count) for run in queued] == [(None, None, 0)] * 3


async def test_a_run_is_refused_when_its_id_is_known_in_any_spelling(harness: Harness) -> None:
    session_id, other = await harness.running(), await harness.running()
    run_id = uuid.uuid4()
    accepted = (await harness.backend.runs.create_run(CALLER, session_id, new_run(run_id=str(run_id).upper()))).value
    assert accepted.run_id == str(run_id)
    for spelling in (str(run_id), run_id.hex, f"{{{run_id}}}", run_id.urn):
        with pytest.raises(RunExists):
            await harness.backend.runs.create_run(CALLER, session_id, new_run(run_id=spelling))
        await harness.ended(session_id, spelling)
    assert (await harness.backend.runs.create_run(CALLER, other, new_run(run_id=str(run_id)))).value.run_id == str(
        run_id
    )


async def test_only_one_run_is_accepted_when_two_requests_bring_the_same_id(harness: Harness) -> None:
    session_id = await harness.running()
    run = new_run(run_id=str(uuid.uuid4()))
    attempts = [harness.backend.runs.create_run(CALLER, session_id, run) for _ in range(5)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Idempotent"] + ["RunExists"] * 4


async def test_no_run_is_claimed_when_the_session_is_not_running(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless, max_running=1) as harness:
        await harness.status(await harness.create(), SessionStatus.RUNNING)
        session_id = await harness.create()
        await harness.backend.sessions.stop_session(CALLER, session_id)
        await harness.status(session_id, SessionStatus.STOPPED)
        assert [run.status for run in await harness.runs(session_id)] == [RunStatus.QUEUED]
        row = await harness.backend._database.read_one(sessions.find, CALLER.project, session_id)
        assert await harness.backend._database.write(claim_run, row.row_id) is None


async def test_a_run_is_refused_when_the_session_is_not_running(harness: Harness) -> None:
    session_id = await harness.create()
    await harness.backend.sessions.stop_session(CALLER, session_id)
    with pytest.raises(NotRunning):
        await harness.backend.runs.create_run(CALLER, session_id, new_run())
    await harness.status(session_id, SessionStatus.STOPPED)
    with pytest.raises(NotRunning):
        await harness.say(session_id, "x")


async def test_the_run_is_unknown_when_nobody_sent_it(harness: Harness) -> None:
    session_id = await harness.running()
    for run_id in (str(uuid.uuid4()), "no-uuid"):
        with pytest.raises(RunNotFound):
            await harness.backend.runs.get_run(CALLER, session_id, run_id)
        with pytest.raises(RunNotFound):
            await harness.log(session_id, run_id)


async def test_the_agent_gets_the_whole_input_when_a_run_brings_state_and_tools(tmp_path: Path) -> None:
    inputs: list[dict[str, Any]] = []

    async def remember(turn: Turn) -> AsyncIterator[bytes]:
        inputs.append(turn.input)
        async for each in echo(turn):
            yield each

    async with open_backend(tmp_path, remember) as harness:
        session_id = await harness.running("first")
        run = RunCreate(
            messages=[
                RunMessage(role="system", content="be brief", id="s1"),
                RunMessage(role="user", content="second", id="u1"),
            ],
            state={"n": 12345678901234567890},
            tools=[{"name": "t"}],
            context=[{"description": "d", "value": "v"}],
            forwarded_props={"p": None},
        )
        accepted = (await harness.backend.runs.create_run(CALLER, session_id, run)).value
        await harness.ended(session_id, accepted.run_id)
    [first, second] = inputs
    assert first["messages"][0].keys() == {"id", "role", "content"}
    assert {**first, "messages": None} == {
        "threadId": session_id,
        "runId": first["runId"],
        "state": {},
        "messages": None,
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }
    assert second == {
        "threadId": session_id,
        "runId": accepted.run_id,
        "state": {"n": 12345678901234567890},
        "messages": [
            *first["messages"],
            {"id": f"answer-{first['runId']}", "role": "assistant", "content": "first"},
            {"id": "s1", "role": "system", "content": "be brief"},
            {"id": "u1", "role": "user", "content": "second"},
        ],
        "tools": [{"name": "t"}],
        "context": [{"description": "d", "value": "v"}],
        "forwardedProps": {"p": None},
    }


async def test_the_log_holds_each_message_once_when_the_conversation_grows(harness: Harness) -> None:
    session_id = await harness.running("the task")
    for n in range(5):
        await harness.ended(session_id, await harness.say(session_id, f"message {n}"))
    log = await harness.log(session_id)
    inputs = [each["input"]["messages"] for each in log if each["type"] == "RUN_STARTED"]
    assert [[message["content"] for message in messages] for messages in inputs] == [
        ["the task"],
        *([f"message {n}"] for n in range(5)),
    ]


async def test_another_thread_is_a_conversation_of_its_own_when_it_shares_the_queue(tmp_path: Path) -> None:
    histories: list[list[str]] = []

    async def remember(turn: Turn) -> AsyncIterator[bytes]:
        histories.append([message["content"] for message in turn.input["messages"]])
        async for each in echo(turn):
            yield each

    async with open_backend(tmp_path, remember) as harness:
        session_id = await harness.running("a1")
        for thread_id, content in (("b", "b1"), (None, "a2"), ("b", "b2")):
            accepted = (
                await harness.backend.runs.create_run(CALLER, session_id, new_run(content, thread_id=thread_id))
            ).value
            assert accepted.thread_id == (thread_id or session_id)
            assert (await harness.ended(session_id, accepted.run_id)).thread_id == accepted.thread_id
    assert histories == [["a1"], ["b1"], ["a1", "a1", "a2"], ["b1", "b1", "b2"]]


async def test_a_tool_call_is_answered_in_the_history_when_an_earlier_run_made_it(tmp_path: Path) -> None:
    histories: list[list[dict[str, Any]]] = []

    async def use_tool(turn: Turn) -> AsyncIterator[bytes]:
        histories.append(turn.input["messages"])
        yield STARTED
        if last_message(turn) in {"call", "break"}:
            yield event("TEXT_MESSAGE_START", messageId="a1", role="assistant")
            yield event("TEXT_MESSAGE_CONTENT", messageId="a1", delta="Looking")
            yield event("TEXT_MESSAGE_END", messageId="a1")
            yield event("TOOL_CALL_START", toolCallId="c1", toolCallName="ls", parentMessageId="a1")
            yield event("TOOL_CALL_ARGS", toolCallId="c1", delta='{"path":')
            yield event("TOOL_CALL_ARGS", toolCallId="c1", delta='"."}')
            yield event("TOOL_CALL_END", toolCallId="c1")
        if last_message(turn) == "break":
            yield event("RUN_ERROR", message="broke")
            return
        if last_message(turn) == "call":
            yield event("TOOL_CALL_RESULT", messageId="r1", toolCallId="c1", content="a.txt", role="tool")
        yield FINISHED

    call = {"id": "c1", "type": "function", "function": {"name": "ls", "arguments": '{"path":"."}'}}
    message = {"id": "a1", "role": "assistant", "content": "Looking", "toolCalls": [call]}
    async with open_backend(tmp_path, use_tool) as harness:
        for task, answer in (
            ("call", {"id": "r1", "role": "tool", "content": "a.txt", "toolCallId": "c1"}),
            ("break", {"id": "c1:result", "role": "tool", "content": "The tool call ended without a result."}),
        ):
            session_id = await harness.running(task)
            await harness.ended(session_id, await harness.say(session_id, "and now?"))
            assert histories[-1][1:-1] == [message, {**answer, "toolCallId": "c1"}]


async def test_an_event_of_an_unknown_type_passes_through(tmp_path: Path) -> None:
    strange = b'{ "type":"CUSTOM_X", "n": 12345678901234567890, "timestamp": 5, "u": "\\u00e4\\/", "n": 1.50 }'

    async def play(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        yield strange
        yield FINISHED

    async with open_backend(tmp_path, play) as harness:
        session_id = await harness.running()
        output = await stored_events(harness.backend, CALLER, session_id)
        stored = bytes(output[1])
        for part in (b'"n":1.50', b'"timestamp":5', b'"u":"\\u00e4\\/"'):
            assert part in stored.replace(b": ", b":")
        event_ = msgspec.json.decode(stored)
        [run] = await harness.runs(session_id)
        assert (event_["runId"], event_["threadId"]) == (run.run_id, session_id)


async def test_every_event_has_our_ids_and_a_time_when_it_is_stored(harness: Harness) -> None:
    session_id = await harness.running("hello there")
    [run] = await harness.runs(session_id)
    log = await harness.log(session_id, run.run_id)
    assert [each["type"] for each in log] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert {(each["runId"], each["threadId"]) for each in log} == {(run.run_id, session_id)}
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.started_at <= log[0]["timestamp"] <= log[-1]["timestamp"] <= run.finished_at
    assert run.event_count == 6


async def test_each_format_is_narrowed_to_one_run_when_a_run_is_named(harness: Harness) -> None:
    session_id = await harness.running("one two")
    run_id = await harness.say(session_id, "three four")
    await harness.ended(session_id, run_id)

    async def spoken(run: str | None) -> list[tuple[str, str | None]]:
        return [
            (message.role, message.content) for message in await transcript(harness.backend, CALLER, session_id, run)
        ]

    spelled = uuid.UUID(run_id).hex.upper()
    whole = await stored_events(harness.backend, CALLER, session_id)
    narrow = await stored_events(harness.backend, CALLER, session_id, run_id=spelled)
    assert [bytes(each) for each in whole[6:]] == [bytes(each) for each in narrow]
    compact = await stored_events(harness.backend, CALLER, session_id, OutputFormat.COMPACT, spelled)
    assert [msgspec.json.decode(each).get("delta") for each in compact] == [None, None, "threefour", None, None]
    assert await spoken(spelled) == [("user", "three four"), ("assistant", "threefour")]
    assert len(await spoken(None)) == 4


async def test_a_queued_run_has_no_events(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        await harness.active(session_id, task.run_id)
        assert await harness.log(session_id, await harness.say(session_id, "later")) == []


async def test_events_can_be_read_when_the_run_is_still_active(tmp_path: Path) -> None:
    async with open_backend(tmp_path, endless) as harness:
        session_id = await harness.create()
        [task] = await harness.runs(session_id)
        types = await until(lambda: harness.types(session_id, task.run_id), lambda types: len(types) == 2)
        assert types == ["RUN_STARTED", "TEXT_MESSAGE_START"]


async def test_positions_count_from_one_without_gaps_when_the_agent_is_fast(tmp_path: Path) -> None:
    async def flood(_turn: Turn) -> AsyncIterator[bytes]:
        yield STARTED
        for n in range(5000):
            yield event("CUSTOM", name="n", value=n)
        yield FINISHED

    commits = 0

    def observe(operation: str, _seconds: float, _outcome: str) -> None:
        nonlocal commits
        commits += operation == "commit"

    async with open_backend(tmp_path, flood, observe=observe) as harness:
        session_id = await harness.running()
        log = await harness.log(session_id)
        assert [each.get("value") for each in log] == [None, *range(5000), None]
        positions = await harness.backend._database.read(
            lambda connection: list(connection.exec_driver_sql("SELECT position FROM events ORDER BY 1").scalars())
        )
        assert positions == list(range(1, 5003))
        assert commits < 100


async def test_runs_and_commits_are_observed_when_somebody_measures(tmp_path: Path) -> None:
    observed: list[tuple[str, str]] = []

    def observe(operation: str, seconds: float, outcome: str) -> None:
        assert seconds >= 0
        observed.append((operation, outcome))

    async with open_backend(tmp_path, observe=observe) as harness:
        await harness.running()
    assert {("commit", "ok"), ("workspace", "ok"), ("run", "completed")} <= set(observed)
