"""Attachments of an ACP agent's prompts: images as such where the agent takes them, other files as links."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents.process import scripted_acp
from tests.support.agents.runs import text
from tests.support.api import Api
from tests.support.server import Background
from tests.support.stage import EmbeddedStage, embedded_stage

PNG = b"\x89PNG picture"
BASE64 = base64.b64encode(PNG).decode()


@pytest.fixture(scope="module")
def image_stage(loop: Background, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStage]:
    directory = tmp_path_factory.mktemp("images")
    agents = f"blind={scripted_acp()}"
    with embedded_stage(
        loop, directory, agent=scripted_acp("--images"), agents=agents, max_attachment_bytes=1000
    ) as stage:
        yield stage


@pytest.fixture
def stage(image_stage: EmbeddedStage) -> EmbeddedStage:
    return image_stage


@pytest.fixture
def workspace(stage: EmbeddedStage, api: Api, session_id: str) -> Path:
    return stage.directory.resolve() / "workspaces" / str(api.project) / session_id


def blocks(api: Api, session_id: str, *attachments: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a message with attachments and return what the agent got."""
    run_id = api.send_message(session_id, "blocks", attachments=list(attachments)).ok()["run_id"]
    assert api.wait_for_run(session_id, run_id)["status"] == "completed"
    found: list[dict[str, Any]] = json.loads(text(api, session_id, run_id))
    assert found[0] == {"type": "text", "text": "blocks"}
    return found[1:]


def test_an_image_comes_as_one_and_any_other_file_as_a_link(api: Api, session_id: str, workspace: Path) -> None:
    api.write_file(session_id, "shots/a b.png", PNG)
    api.write_file(session_id, "log.txt", b"text")
    assert blocks(api, session_id, {"path": "shots/a b.png"}, {"path": "log.txt"}) == [
        {
            "type": "image",
            "data": BASE64,
            "mimeType": "image/png",
            "uri": (workspace / "shots" / "a b.png").as_uri(),
        },
        {
            "type": "resource_link",
            "name": "log.txt",
            "uri": (workspace / "log.txt").as_uri(),
            "mimeType": "text/plain",
        },
    ]


def test_a_saved_image_that_the_agent_does_not_take_is_a_link(stage: EmbeddedStage, api: Api) -> None:
    blind = stage.session(api, "running", agent="blind")
    [link] = blocks(api, blind, {"data": BASE64, "media_type": "image/png", "name": "shot.png"})
    path = Path(link["uri"].removeprefix("file://"))
    assert (link["type"], link["name"], path.read_bytes()) == ("resource_link", "shot.png", PNG)
    assert path.is_relative_to(stage.directory.resolve() / "workspaces" / str(api.project) / blind)


def test_an_image_beyond_the_bound_is_a_link(api: Api, session_id: str) -> None:
    api.write_file(session_id, "large.png", bytes(1001))
    api.write_file(session_id, "half.png", bytes(600))
    found = blocks(api, session_id, *({"path": path} for path in ("large.png", "half.png", "half.png")))
    assert [block["type"] for block in found] == ["resource_link", "image", "resource_link"]


def test_a_vector_image_is_a_link_since_models_do_not_read_it(api: Api, session_id: str) -> None:
    api.write_file(session_id, "logo.svg", b"<svg/>")
    assert [block["type"] for block in blocks(api, session_id, {"path": "logo.svg"})] == ["resource_link"]


def test_the_parts_of_an_agui_client_come_too(api: Api, session_id: str) -> None:
    content = [
        {"type": "text", "text": "blocks"},
        {"type": "image", "source": {"type": "data", "value": BASE64, "mimeType": "image/png"}},
        {"type": "binary", "mimeType": "image/gif", "url": f"data:image/gif;base64,{BASE64}"},
        {"type": "document", "source": {"type": "url", "value": "https://example.com/guide.pdf"}},
    ]
    with api.run_agent(session_id, messages=[{"id": "mine", "role": "user", "content": content}]) as stream:
        events = [frame.event for frame in stream]
    found = json.loads("".join(each.get("delta", "") for each in events))
    assert [(each["type"], each.get("mimeType")) for each in found[1:]] == [
        ("image", "image/png"),
        ("image", "image/gif"),
        ("resource_link", None),
    ]
    assert (found[1]["data"], found[3]["uri"], found[3]["name"]) == (
        BASE64,
        "https://example.com/guide.pdf",
        "guide.pdf",
    )
    [begun] = [each for each in events if each["type"] == "RUN_STARTED"]
    assert BASE64 not in json.dumps(begun)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "hologram", "data": "x"},
        {"type": "image", "source": {"type": "file", "value": "file-1"}},
        {"type": "binary", "mimeType": "image/png", "id": "file-1"},
        "bare",
    ],
)
def test_a_part_that_the_agent_cannot_take_is_refused_by_its_place(api: Api, session_id: str, part: Any) -> None:
    message = {"id": "mine", "role": "user", "content": [{"type": "text", "text": "Look"}, part]}
    body = {"threadId": "t", "runId": "r", "messages": [message]}
    refused = api.call("run_agent", session_id, body=body)
    assert (refused.error, refused.faults) == ((422, "attachment_not_usable"), ["body.messages[0].content[1]"])


def test_a_new_agent_process_reads_of_earlier_attachments(api: Api, session_id: str) -> None:
    api.write_file(session_id, "log.txt", b"text")
    blocks(api, session_id, {"path": "log.txt"})
    api.say(session_id, "die")
    assert "(attached: log.txt)" in text(api, session_id, api.say(session_id, "What was it?")["run_id"])
