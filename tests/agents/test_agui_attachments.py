"""Attachments of an AG-UI agent, which does not see the workspace: it gets the content of files."""

import base64
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from ag_ui.core import UserMessage

from app.agents.agui import AguiAgent
from tests.support.agents.raw import HEAD, raw_server
from tests.support.agents.turns import turn
from tests.support.api import Api
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

FILES = {"one.png": b"1" * 6, "two ü.png": b"2" * 5}
ONE = base64.b64encode(FILES["one.png"]).decode()
TWO = base64.b64encode(FILES["two ü.png"]).decode()


def part(path: str) -> dict[str, Any]:
    source = {"type": "url", "value": f"workspace:{path}", "mimeType": "image/png"}
    return {"type": "image", "source": source, "metadata": {"filename": path}}


async def posted(*messages: Any, bound: int = 100) -> list[Any]:
    """Return the messages that the agent gets, if it gets that many bytes of files."""

    async def read_file(path: str) -> bytes | None:
        return FILES.get(path)

    taken = msgspec.structs.replace(turn(*messages), read_file=read_file, max_attachments=bound)
    async with raw_server(HEAD) as server:
        agent = AguiAgent(server.url)
        async with aclosing(agent.run(taken)) as stream:
            assert [event async for event in stream] == []
        await agent.close()
    body = server.requests[0].partition(b"\r\n\r\n")[2]
    found: list[Any] = msgspec.json.decode(body)["messages"]
    return found


def user(*parts: Any) -> dict[str, Any]:
    return {"id": "m", "role": "user", "content": list(parts)}


async def test_files_come_with_their_content() -> None:
    content = [{"type": "text", "text": "Look"}, part("one.png"), part("two%20%C3%BC.png")]
    [message] = await posted(user(*content))
    UserMessage.model_validate(message)
    assert [each["source"] for each in message["content"][1:]] == [
        {"type": "data", "value": ONE, "mimeType": "image/png"},
        {"type": "data", "value": TWO, "mimeType": "image/png"},
    ]


async def test_an_older_part_keeps_its_shape() -> None:
    older = {"type": "binary", "mimeType": "image/png", "url": "workspace:one.png", "filename": "one.png"}
    [message] = await posted(user(older))
    assert message["content"] == [{"type": "binary", "mimeType": "image/png", "data": ONE, "filename": "one.png"}]


async def test_what_is_elsewhere_stays_as_it_is() -> None:
    elsewhere = [
        {"type": "image", "source": {"type": "url", "value": "https://example.com/x.png"}},
        {"type": "image", "source": {"type": "file", "value": "file-1"}},
    ]
    [message] = await posted(user(*elsewhere))
    assert message["content"] == elsewhere


async def test_the_latest_files_come_where_there_is_no_room_for_all() -> None:
    messages = await posted({**user(part("one.png")), "id": "m1"}, "and", user(part("one.png")), bound=10)
    assert messages[0]["content"] == [{"type": "text", "text": "(The attachment one.png is left out.)"}]
    assert messages[2]["content"][0]["source"]["value"] == ONE


async def test_a_file_that_is_gone_is_named() -> None:
    [message] = await posted(user(part("gone.png")))
    assert message["content"] == [{"type": "text", "text": "(The attachment gone.png is left out.)"}]


@pytest.fixture(scope="module")
def unreachable_stage(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    directory = tmp_path_factory.mktemp("bound")
    with embedded_stage(loop, directory, agent="agui+http://127.0.0.1:1/", max_attachment_bytes=10) as stage:
        yield stage


class TestTooLarge:
    @pytest.fixture
    def stage(self, unreachable_stage: EmbeddedStage) -> EmbeddedStage:
        return unreachable_stage

    def test_files_that_are_too_large_together_are_refused_by_the_place_of_the_first(
        self, api: Api, session_id: str
    ) -> None:
        api.write_file(session_id, "six", bytes(6))
        sent = api.send_message(session_id, "Look", attachments=[{"path": "six"}, {"path": "six"}])
        assert (sent.error, sent.faults) == ((422, "attachment_not_usable"), ["body.attachments[1]"])
        assert "MAX_ATTACHMENT_BYTES" in sent.body["error"]
        content = [part("six"), {"type": "image", "source": {"type": "data", "value": ONE, "mimeType": "image/png"}}]
        body = {"threadId": "t", "runId": "r", "messages": [user(*content)]}
        refused = api.call("run_agent", session_id, body=body)
        assert (refused.error, refused.faults) == ((422, "attachment_not_usable"), ["body.messages[0].content[1]"])
