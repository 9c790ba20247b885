"""The conversation that an AG-UI agent is given: open calls are closed, a snapshot replaces what it restates."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.agents.port import Turn
from app.models.runs import RunCreate, RunMessage
from tests.support.scripted import CALLER, STARTED, Harness, event, open_backend

FINISHED = event("RUN_FINISHED", outcome={"type": "success"})


async def started(harness: Harness, task: str) -> str:
    """Return a session whose task is done."""
    session_id = await harness.running(task)
    [run] = await harness.runs(session_id)
    await harness.ended(session_id, run.run_id)
    return session_id


async def told(harness: Harness, session_id: str, content: str) -> None:
    """Send a message and wait for the end of its run."""
    await harness.ended(session_id, await harness.say(session_id, content))


async def test_an_open_call_is_closed_once_a_later_message_follows(tmp_path: Path) -> None:
    given: list[list[dict[str, Any]]] = []

    async def call(turn: Turn) -> AsyncIterator[bytes]:
        given.append(turn.input["messages"])
        yield STARTED
        yield event("TOOL_CALL_START", toolCallId="call_0", toolCallName="find")
        yield event("TOOL_CALL_END", toolCallId="call_0")
        yield FINISHED

    async with open_backend(tmp_path, call) as harness:
        session_id = await started(harness, "one")
        await told(harness, session_id, "two")
        await told(harness, session_id, "three")
    assert [message["role"] for message in given[-1]] == [
        "user",
        "assistant",
        "tool",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    calls = [each["id"] for message in given[-1] for each in message.get("toolCalls", [])]
    assert [message["toolCallId"] for message in given[-1] if message["role"] == "tool"] == calls
    assert len(set(calls)) == 2


@pytest.mark.parametrize("text", [None, "the same"])
async def test_a_snapshot_with_new_ids_replaces_the_conversation(tmp_path: Path, text: str | None) -> None:
    counts: list[int] = []

    async def restate(turn: Turn) -> AsyncIterator[bytes]:
        messages = turn.input["messages"]
        counts.append(len(messages))
        renamed = [{**message, "id": f"{len(counts)}-{index}"} for index, message in enumerate(messages)]
        answer = {"id": f"{len(counts)}-answer", "role": "assistant", "content": "yes"}
        yield STARTED
        yield event("MESSAGES_SNAPSHOT", messages=[*renamed, answer])
        yield FINISHED

    async with open_backend(tmp_path, restate) as harness:
        session_id = await started(harness, text or "0")
        for number in range(1, 4):
            await told(harness, session_id, text or str(number))
    assert counts == [1, 3, 5, 7]


async def test_a_snapshot_that_shortens_the_conversation_replaces_it(tmp_path: Path) -> None:
    given: list[list[Any]] = []

    async def shorten(turn: Turn) -> AsyncIterator[bytes]:
        messages = turn.input["messages"]
        given.append([message["content"] for message in messages])
        summary = {"id": f"s{len(given)}", "role": "system", "content": "In short"}
        yield STARTED
        yield event("MESSAGES_SNAPSHOT", messages=[summary, messages[-1]])
        yield FINISHED

    async with open_backend(tmp_path, shorten) as harness:
        session_id = await started(harness, "one")
        await told(harness, session_id, "two")
        await told(harness, session_id, "three")
    assert given[-1] == ["In short", "two", "three"]


async def test_a_snapshot_of_its_run_alone_adds_to_the_conversation(tmp_path: Path) -> None:
    given: list[list[Any]] = []

    async def partly(turn: Turn) -> AsyncIterator[bytes]:
        messages = turn.input["messages"]
        given.append([message["content"] for message in messages])
        answer = {"id": f"a{len(given)}", "role": "assistant", "content": f"yes {len(given)}"}
        yield STARTED
        yield event("MESSAGES_SNAPSHOT", messages=[messages[-1], answer])
        yield FINISHED

    async with open_backend(tmp_path, partly) as harness:
        session_id = await started(harness, "one")
        await told(harness, session_id, "two")
        await told(harness, session_id, "three")
    assert given[-1] == ["one", "yes 1", "two", "yes 2", "three"]


@pytest.mark.parametrize("said", [["one", "two", "three", "four"], ["one", "again", "again", "again"]])
async def test_a_snapshot_of_what_was_before_the_run_keeps_its_new_message(tmp_path: Path, said: list[str]) -> None:
    given: list[list[Any]] = []

    async def before(turn: Turn) -> AsyncIterator[bytes]:
        messages = turn.input["messages"]
        given.append([message["content"] for message in messages])
        renamed = [{**message, "id": f"{len(given)}-{index}"} for index, message in enumerate(messages[:-1])]
        yield STARTED
        yield event("MESSAGES_SNAPSHOT", messages=renamed)
        yield event("TEXT_MESSAGE_START", messageId="answer", role="assistant")
        yield event("TEXT_MESSAGE_CONTENT", messageId="answer", delta=f"yes {len(given)}")
        yield event("TEXT_MESSAGE_END", messageId="answer")
        yield FINISHED

    async with open_backend(tmp_path, before) as harness:
        session_id = await started(harness, said[0])
        for content in said[1:]:
            await told(harness, session_id, content)
    assert given[-1] == [said[0], "yes 1", said[1], "yes 2", said[2], "yes 3", said[3]]


async def test_a_snapshot_that_has_a_message_with_other_spaces_has_it(tmp_path: Path) -> None:
    given: list[list[Any]] = []

    async def tidy(turn: Turn) -> AsyncIterator[bytes]:
        messages = turn.input["messages"]
        given.append([message["content"] for message in messages])
        last = {**messages[-1], "id": f"m{len(given)}", "content": messages[-1]["content"].strip()}
        yield STARTED
        yield event(
            "MESSAGES_SNAPSHOT", messages=[last, {"id": f"a{len(given)}", "role": "assistant", "content": "yes"}]
        )
        yield FINISHED

    async with open_backend(tmp_path, tidy) as harness:
        session_id = await started(harness, "one")
        await told(harness, session_id, "  two\n")
        await told(harness, session_id, "three")
    assert given[-1] == ["one", "yes", "two", "yes", "three"]


@pytest.mark.parametrize("messages", [[], [{"id": "s", "role": "system", "content": "Be brief"}]])
async def test_a_snapshot_without_the_conversation_replaces_nothing(
    tmp_path: Path, messages: list[dict[str, Any]]
) -> None:
    given: list[list[Any]] = []

    async def empty(turn: Turn) -> AsyncIterator[bytes]:
        given.append([message["content"] for message in turn.input["messages"] if message["role"] == "user"])
        yield STARTED
        yield event("MESSAGES_SNAPSHOT", messages=messages)
        yield FINISHED

    async with open_backend(tmp_path, empty) as harness:
        session_id = await started(harness, "one")
        await told(harness, session_id, "two")
    assert given[-1] == ["one", "two"]


async def test_the_state_of_the_thread_is_given_unless_the_request_brings_one(tmp_path: Path) -> None:
    given: list[Any] = []

    async def count(turn: Turn) -> AsyncIterator[bytes]:
        given.append(turn.input["state"])
        yield STARTED
        if len(given) == 1:
            yield event("STATE_SNAPSHOT", snapshot={"count": 1})
        else:
            yield event("STATE_DELTA", delta=[{"op": "replace", "path": "/count", "value": len(given)}])
        yield FINISHED

    async with open_backend(tmp_path, count) as harness:
        session_id = await started(harness, "one")
        await told(harness, session_id, "two")
        await told(harness, session_id, "three")
        brought = RunCreate(messages=[RunMessage(role="user", content="four")], state={"count": 40})
        accepted = (await harness.backend.runs.create_run(CALLER, session_id, brought)).value
        await harness.ended(session_id, accepted.run_id)
        await told(harness, session_id, "five")
    assert given == [{}, {"count": 1}, {"count": 2}, {"count": 40}, {"count": 4}]


async def test_threads_have_states_of_their_own(tmp_path: Path) -> None:
    given: list[Any] = []

    async def note(turn: Turn) -> AsyncIterator[bytes]:
        given.append(turn.input["state"])
        yield STARTED
        yield event("STATE_SNAPSHOT", snapshot={"thread": turn.input["threadId"]})
        yield FINISHED

    async with open_backend(tmp_path, note) as harness:
        session_id = await started(harness, "one")
        for _ in range(2):
            run = RunCreate(messages=[RunMessage(role="user", content="hi")], thread_id="other")
            accepted = (await harness.backend.runs.create_run(CALLER, session_id, run)).value
            await harness.ended(session_id, accepted.run_id)
    assert given == [{}, {}, {"thread": "other"}]
