"""The built-in agent: what it does on request, and its bounds."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from app.agents import demo
from app.agents.demo import DemoAgent
from app.agents.demo_workspace import MAX_ENTRIES, list_workspace
from tests.support.agents.turns import checked, events_of, text_of, turn, types_of

ASSISTANT = {"id": "a1", "role": "assistant", "content": "I answered."}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "WORD_SECONDS", 0)
    monkeypatch.setattr(demo, "TICK_SECONDS", 0)


async def test_it_says_what_it_can_do_when_no_word_is_known() -> None:
    events = await events_of(DemoAgent(), turn("hello"))
    assert types_of(events) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert text_of(events).startswith('You said: "hello". I am the demo agent')
    assert len(events) > 40, "one event for each word"
    assert events[-1] == {
        "type": "RUN_FINISHED",
        "threadId": "thread-1",
        "runId": "run-1",
        "outcome": {"type": "success"},
    }


@pytest.mark.parametrize("messages", [(), (ASSISTANT,), ({"id": "u1", "role": "user", "content": None},)])
async def test_it_replies_when_there_is_no_user_message(messages: tuple[dict[str, str], ...]) -> None:
    assert 'You said: "".' in text_of(await events_of(DemoAgent(), turn(*messages)))


async def test_text_parts_are_read_when_content_is_a_list() -> None:
    content = [{"type": "text", "text": "good "}, {"type": "image", "source": {}}, {"type": "text", "text": "day"}]
    events = await events_of(DemoAgent(), turn({"id": "u1", "role": "user", "content": content}))
    assert text_of(events).startswith('You said: "good day".')


async def test_a_tool_lists_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "api" / ".git").mkdir(parents=True)
    (tmp_path / "api" / ".git" / "config").touch()
    (tmp_path / "api" / "main.py").touch()
    (tmp_path / "README.md").touch()
    events = await events_of(DemoAgent(), turn("List the files, please", workspace=tmp_path))
    assert types_of(events)[1:5] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
    assert events[1]["toolCallName"] == "list_workspace"
    assert {event["toolCallId"] for event in events[1:5]} == {events[1]["toolCallId"]}
    assert events[4]["content"] == "api/\nREADME.md\napi/main.py"
    assert text_of(events) == "The workspace contains:\napi/\nREADME.md\napi/main.py"


async def test_files_are_written_and_changed_on_request(tmp_path: Path) -> None:
    events = await events_of(DemoAgent(), turn("Write docs/list.md delete this\nfail", workspace=tmp_path))
    assert types_of(events)[1:5] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
    assert (events[1]["toolCallName"], events[4]["content"]) == ("write_file", "Wrote docs/list.md.")
    assert (tmp_path / "docs" / "list.md").read_text() == "delete this\nfail\n"
    events = await events_of(DemoAgent(), turn("append docs/list.md more", workspace=tmp_path))
    assert (events[1]["toolCallName"], text_of(events)) == ("append_file", "Changed docs/list.md.")
    assert (tmp_path / "docs" / "list.md").read_text() == "delete this\nfail\nmore\n"


@pytest.mark.parametrize("path", ["../x", "/etc/x", ".git/hooks/x", "out", "up/x"])
async def test_nothing_is_written_outside(tmp_path: Path, path: str) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "out").symlink_to(tmp_path / "secret")
    (workspace / "up").symlink_to(tmp_path)
    events = await events_of(DemoAgent(), turn(f"write {path} x", workspace=workspace))
    assert text_of(events) == "That is not a file in the workspace."
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["workspace"]


async def test_an_empty_workspace_is_called_empty(tmp_path: Path) -> None:
    assert text_of(await events_of(DemoAgent(), turn("list", workspace=tmp_path))) == "The workspace is empty."


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    outside, workspace = tmp_path / "outside", tmp_path / "workspace"
    outside.mkdir()
    (outside / "secret").touch()
    workspace.mkdir()
    (workspace / "link").symlink_to(outside)
    (workspace / "circle").symlink_to(workspace)
    assert list_workspace(workspace) == (["circle", "link"], False)


def test_the_list_is_bounded(tmp_path: Path) -> None:
    for number in range(MAX_ENTRIES):
        (tmp_path / f"{number:04}").touch()
    names = [f"{number:04}" for number in range(MAX_ENTRIES)]
    assert list_workspace(tmp_path) == (names, False)
    (tmp_path / "last").touch()
    assert list_workspace(tmp_path) == (names, True)


async def test_a_name_that_is_not_utf8_is_listed(tmp_path: Path) -> None:
    (tmp_path / "\udcff").touch()
    events = await events_of(DemoAgent(), turn("list", workspace=tmp_path))
    assert text_of(events) == "The workspace contains:\n\N{REPLACEMENT CHARACTER}"


async def test_it_ticks_as_often_as_requested() -> None:
    events = await events_of(DemoAgent(), turn("slow 5"))
    assert text_of(events) == "".join(f"tick {number} of 5\n" for number in range(1, 6))


async def test_ticks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "MAX_TICKS", 3)
    assert text_of(await events_of(DemoAgent(), turn("slow " + "9" * 5000))).endswith("tick 3 of 3\n")


async def test_a_slow_turn_ends_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TICK_SECONDS", 3600)
    async with aclosing(DemoAgent().run(turn("slow 50"))) as stream:
        assert [checked(await anext(stream))["type"] for _ in range(2)] == ["RUN_STARTED", "TEXT_MESSAGE_START"]
        tick = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait({tick}, timeout=0)
        assert not done
        tick.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tick
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_run_that_is_to_fail_ends_with_an_error_after_some_text() -> None:
    events = await events_of(DemoAgent(), turn("please fail"))
    assert text_of(events)
    assert types_of(events)[-2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]
    assert events[-1]["code"] == "demo_failure"


async def test_it_recalls_the_conversation() -> None:
    events = await events_of(DemoAgent(), turn("my name is Ada", ASSISTANT, "I like trains", "What did I say?"))
    assert text_of(events) == 'You said: "my name is Ada", then "I like trains".'


async def test_it_recalls_nothing_before_the_first_message() -> None:
    assert text_of(await events_of(DemoAgent(), turn("what did I say?"))) == "This is your first message."


async def test_a_long_message_is_quoted_in_part() -> None:
    assert len(text_of(await events_of(DemoAgent(), turn("x" * 100_000)))) < 2000
