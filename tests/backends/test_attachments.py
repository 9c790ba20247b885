"""Attachments of messages: files of the workspace or content, as parts of the log that refer to them."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.repositories import make_repository
from tests.support.stage import EmbeddedStage, PlatformStage, Stage

DATA = base64.b64encode(b"\x89PNG picture").decode()
PICTURE = {"data": DATA, "media_type": "image/png", "name": "shot.png"}


@pytest.fixture
def session_id(embedded: EmbeddedStage, embedded_api: Api) -> str:
    return embedded.session(embedded_api, "running")


def user_message(api: Api, session_id: str, run_id: str) -> dict[str, Any]:
    messages = api.output(session_id, run_id=run_id).ok()["messages"]
    [found] = [message for message in messages if message["role"] == "user"]
    assert isinstance(found, dict)
    return found


def test_the_log_has_a_file_of_the_workspace_by_its_path(embedded_api: Api, session_id: str) -> None:
    embedded_api.write_file(session_id, "a/x ü.png", b"x")
    accepted = embedded_api.send_message(session_id, "Look", attachments=[{"path": "a/x ü.png"}]).ok()
    run = embedded_api.wait_for_run(session_id, accepted["run_id"])
    assert (run["user_message"], "You attached x ü.png (image/png)." in run["answer"]) == ("Look", True)
    message = user_message(embedded_api, session_id, run["run_id"])
    assert (message["content"], message["attachments"]) == (
        "Look",
        [{"media_type": "image/png", "name": "x ü.png", "path": "a/x ü.png"}],
    )


def test_content_is_saved_in_the_workspace_where_git_ignores_it(embedded_api: Api, session_id: str) -> None:
    run = embedded_api.send_message(session_id, "Look", attachments=[PICTURE]).ok()["run_id"]
    embedded_api.wait_for_run(session_id, run)
    [attachment] = user_message(embedded_api, session_id, run)["attachments"]
    assert embedded_api.read_file(session_id, attachment["path"]).content == b"\x89PNG picture"
    assert embedded_api.diff(session_id).ok()["files"] == []
    for format in ("events", "transcript", "compact"):
        assert DATA not in embedded_api.output(session_id, format=format).content.decode()


def test_no_attachments_are_an_empty_list_too(stage: Stage, api: Api) -> None:
    api.send_message(stage.session(api, "running"), "Look", attachments=[]).ok()


def test_a_run_has_attachments_of_each_message(embedded_api: Api, session_id: str) -> None:
    embedded_api.write_file(session_id, "notes.txt", b"x")
    messages = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Look", "attachments": [{"path": "notes.txt", "media_type": "Text/X-Notes"}]},
    ]
    run = embedded_api.create_run(session_id, messages=messages).ok()["run_id"]
    embedded_api.wait_for_run(session_id, run)
    assert user_message(embedded_api, session_id, run)["attachments"] == [
        {"media_type": "text/x-notes", "name": "notes.txt", "path": "notes.txt"}
    ]


@pytest.mark.parametrize(
    ("attachment", "fault"),
    [
        ({}, "[0]"),
        ({"path": "x", **PICTURE}, "[0]"),
        ({"path": "x", "name": "y"}, "[0].name"),
        ({"data": DATA}, "[0].media_type"),
        ({"data": "abcde", "media_type": "image/png"}, "[0].data"),
        ({**PICTURE, "name": ".."}, "[0].name"),
        ({**PICTURE, "name": ".Git"}, "[0].name"),
        ({**PICTURE, "name": "ü" * 200}, "[0].name"),
    ],
)
def test_an_attachment_that_makes_no_sense_is_refused_by_its_place(
    embedded_api: Api, session_id: str, attachment: dict[str, Any], fault: str
) -> None:
    sent = embedded_api.send_message(session_id, "Look", attachments=[attachment])
    assert (sent.error, sent.faults) == ((422, "attachment_not_usable"), [f"body.attachments{fault}"])
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Look", "attachments": [attachment]}]
    run = embedded_api.create_run(session_id, messages=messages)
    assert (run.error, run.faults) == ((422, "attachment_not_usable"), [f"body.messages[1].attachments{fault}"])


@pytest.mark.parametrize(
    ("attachment", "fault"),
    [
        ({"data": "not base64!", "media_type": "image/png"}, "[0].data"),
        ({**PICTURE, "name": "a/b"}, "[0].name"),
        ({"path": "x", "media_type": "image"}, "[0].media_type"),
        ({"path": "x", "size": 3}, "[0].size"),
    ],
)
def test_an_attachment_that_the_document_does_not_allow_is_refused(
    embedded_api: Api, session_id: str, attachment: dict[str, Any], fault: str
) -> None:
    sent = embedded_api.send_message(session_id, "Look", attachments=[attachment])
    assert (sent.error, sent.faults) == ((400, "invalid_request"), [f"body.attachments{fault}"])


@pytest.mark.parametrize("path", ["none", "..", "../x", "/etc/passwd", ".git/config", "directory", "link"])
def test_a_path_to_no_file_of_the_workspace_is_refused_by_its_place(
    embedded: EmbeddedStage, embedded_api: Api, session_id: str, path: str
) -> None:
    workspace = embedded.directory / "workspaces" / str(embedded_api.project) / session_id
    (workspace / "directory").mkdir()
    (workspace / "link").symlink_to("/etc/passwd")
    sent = embedded_api.send_message(session_id, "Look", attachments=[{"path": path}])
    assert (sent.error, sent.faults) == ((422, "attachment_not_usable"), ["body.attachments[0].path"])
    assert "/etc" not in sent.body["error"]
    assert "body.attachments[0].path" in sent.body["error"]


def test_only_a_user_attaches_files(embedded_api: Api, session_id: str) -> None:
    messages = [{"role": "system", "content": "Look", "attachments": [PICTURE]}]
    assert embedded_api.create_run(session_id, messages=messages).faults == ["body.messages[0].attachments"]


def test_a_repeated_request_gets_the_first_answer_whatever_has_become_of_the_file(
    embedded_api: Api, session_id: str, embedded: EmbeddedStage
) -> None:
    embedded_api.write_file(session_id, "notes.txt", b"x")

    def send(path: str) -> Any:
        body = {"content": "Look", "attachments": [{"path": path}]}
        return embedded_api.call("send_message", session_id, body=body, headers={"Idempotency-Key": "k"})

    first = send("notes.txt").ok()
    (embedded.directory / "workspaces" / str(embedded_api.project) / session_id / "notes.txt").unlink()
    assert send("notes.txt").ok() == first
    assert send("other.txt").error == (409, "idempotency_key_reused")


def test_nothing_is_saved_for_a_session_that_does_not_run(embedded: EmbeddedStage, embedded_api: Api) -> None:
    stopped = embedded.session(embedded_api, "stopped")
    sent = embedded_api.send_message(stopped, "Look", attachments=[PICTURE])
    assert sent.error == (422, "session_not_running")
    assert embedded_api.files(stopped).ok()["items"] == []


class TestOfTheTask:
    def run_of(self, api: Api, created: dict[str, Any]) -> dict[str, Any]:
        return api.wait_for_run(created["id"], created["run_id"])

    def test_they_are_in_the_workspace_when_the_run_begins(self, embedded_api: Api) -> None:
        created = embedded_api.create_session(task="Look", attachments=[PICTURE]).ok()
        run = self.run_of(embedded_api, created)
        assert (run["user_message"], "You attached shot.png (image/png)." in run["answer"]) == ("Look", True)
        [attachment] = user_message(embedded_api, created["id"], run["run_id"])["attachments"]
        assert embedded_api.read_file(created["id"], attachment["path"]).content == b"\x89PNG picture"
        assert embedded_api.diff(created["id"]).ok()["files"] == []
        assert "attachments" not in embedded_api.get_session(created["id"]).ok()
        assert DATA not in embedded_api.output(created["id"], format="events").content.decode()

    def test_a_path_is_one_of_a_repository(self, embedded_api: Api, tmp_path: Path) -> None:
        repos = [{"url": make_repository(tmp_path, "shop", README="shop\n")}]
        attachments = [{"path": "shop/README"}, {"path": "none.png"}]
        created = embedded_api.create_session(task="Look", repos=repos, attachments=attachments).ok()
        run = self.run_of(embedded_api, created)
        assert "You attached README" in run["answer"]

    @pytest.mark.parametrize(
        ("attachment", "fault"),
        [
            ({}, "[0]"),
            ({"data": DATA}, "[0].media_type"),
            ({"path": "none.png"}, "[0].path"),
            ({"path": "../x"}, "[0].path"),
        ],
    )
    def test_what_cannot_be_used_is_refused_by_its_place(
        self, embedded_api: Api, attachment: dict[str, Any], fault: str
    ) -> None:
        refused = embedded_api.create_session(task="Look", attachments=[attachment])
        assert (refused.error, refused.faults) == ((422, "attachment_not_usable"), [f"body.attachments{fault}"])
        assert embedded_api.list_sessions().ok()["items"] == []

    def test_a_place_that_is_taken_fails_the_session_with_the_reason(self, local_api: Api, roots: Path) -> None:
        (roots / "taken").mkdir()
        (roots / "taken" / ".ambient").write_text("mine\n")
        workspace = {"path": str(roots / "taken"), "mode": "in_place"}
        created = local_api.create_session(task="Look", workspace=workspace, attachments=[PICTURE]).ok()
        failed = local_api.wait_for_status(created["id"], "failed")
        assert failed["error"].startswith("The attachments could not be saved: ")

    def test_a_repeated_request_gets_the_first_answer(self, embedded_api: Api) -> None:
        body = {"task": "Look", "attachments": [PICTURE]}
        headers = {"Idempotency-Key": "task"}
        first = embedded_api.call("create_session", body=body, headers=headers).ok()
        assert embedded_api.call("create_session", body=body, headers=headers).ok() == first

    def test_the_platform_refuses_them_by_their_place(self, ambient_api: Api) -> None:
        refused = ambient_api.create_session(task="Look", attachments=[PICTURE])
        assert (refused.error, refused.faults) == ((422, "not_supported"), ["body.attachments[0]"])


class TestPlatform:
    def test_what_the_platform_drops_is_refused_by_its_place(self, ambient: PlatformStage, ambient_api: Api) -> None:
        session_id = ambient.session(ambient_api, "running")
        sent = ambient_api.send_message(session_id, "Look", attachments=[PICTURE])
        assert (sent.error, sent.faults) == ((422, "not_supported"), ["body.attachments[0]"])
        content = [{"type": "text", "text": "Look"}, {"type": "image", "source": {"type": "data", "value": DATA}}]
        body = {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": content}]}
        refused = ambient_api.call("run_agent", session_id, body=body)
        assert (refused.error, refused.faults) == ((422, "not_supported"), ["body.messages[0].content[1]"])


def agui_input(content: list[Any]) -> dict[str, Any]:
    message = {"id": "m", "role": "user", "content": content}
    return {
        "threadId": "t",
        "runId": "r",
        "messages": [message],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }


FILE_PART = {"type": "binary", "mimeType": "image/png", "data": DATA}


@pytest.mark.parametrize(
    ("content", "location"),
    [([{"type": "text", "text": "a"}] * 1001, "content"), ([FILE_PART] * 101, "content[100]")],
)
def test_no_request_has_files_or_parts_without_end(
    embedded_api: Api, session_id: str, content: list[Any], location: str
) -> None:
    answer = embedded_api.call("run_agent", session_id, body=agui_input(content))
    assert answer.error == (422, "attachment_not_usable")
    [detail] = answer.body["details"]
    assert detail["location"] == f"body.messages[0].{location}"
