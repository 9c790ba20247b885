"""Workspaces over HTTP: the files of a session on every backend, and its changes where there are any."""

import io
import os
import sys
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from app.models.caller import Role
from tests.backends.test_requests import OPERATIONS, request
from tests.support.api import Api
from tests.support.deadline import eventually
from tests.support.repositories import git
from tests.support.stage import EmbeddedStage, PlatformStage, Stage

OF_WORKSPACES = [name for name in OPERATIONS if "workspace" in name]


REFUSED = ["get_workspace_diff", "get_workspace_patch", "push_workspace"]
"""Operations that the platform lacks."""


@pytest.fixture
def session_id(stage: Stage, api: Api) -> str:
    return stage.session(api, "running")


@pytest.fixture
def workspace(stage: Stage, api: Api, session_id: str) -> Path:
    """The directory of the session."""
    return stage.workspace(api, session_id)


@pytest.fixture
def changing_id(embedded: EmbeddedStage, embedded_api: Api) -> str:
    """A session whose changes can be had."""
    return embedded.session(embedded_api, "running")


def tarred(content: bytes) -> dict[str, bytes]:
    """The files of a tar.gz by name."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive if member.isfile()]
        return {name: file.read() for name, file in files if file}


class TestFiles:
    def test_a_file_is_written_listed_and_read(self, api: Api, session_id: str, workspace: Path) -> None:
        written = api.write_file(session_id, "docs/guide ü.md", b"A guide")
        assert (written.status, written.content) == (204, b"")
        assert (workspace / "docs" / "guide ü.md").read_text() == "A guide"
        found = api.files(session_id).ok()
        items = found["items"]
        assert not found["truncated"]
        assert [(item["path"], item["type"], item.get("size")) for item in items] == [
            ("docs", "directory", None),
            ("docs/guide ü.md", "file", 7),
        ]
        read = api.read_file(session_id, items[1]["path"])
        assert (read.status, read.content) == (200, b"A guide")
        assert read.headers["ETag"] == written.headers["ETag"]
        assert read.headers["Content-Disposition"] == "attachment; filename*=UTF-8''guide%20%C3%BC.md"
        assert read.headers["X-Content-Type-Options"] == "nosniff"

    def test_a_part_is_read_and_a_file_that_the_client_has_is_not(self, api: Api, session_id: str) -> None:
        tag = api.write_file(session_id, "notes", b"0123456789").headers["ETag"]
        part = api.read_file(session_id, "notes", Range="bytes=2-4", **{"If-Range": tag})
        assert (part.status, part.content, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
        assert api.read_file(session_id, "notes", **{"If-None-Match": tag}).status == 304
        beyond = api.read_file(session_id, "notes", Range="bytes=10-")
        assert (beyond.error, beyond.headers["Content-Range"]) == ((416, "range_not_satisfiable"), "bytes */10")

    def test_a_body_may_be_larger_than_one_in_json_and_come_in_chunks(self, api: Api, session_id: str) -> None:
        data = os.urandom(3_000_000)
        assert api.write_file(session_id, "large", iter([data[:1_000_000], data[1_000_000:]])).status == 204
        assert api.read_file(session_id, "large").content == data

    @pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".git/config", "none", "a\0"])
    def test_a_path_to_nothing_or_outside_is_not_found(self, api: Api, session_id: str, path: str) -> None:
        assert api.read_file(session_id, path).error == (404, "file_not_found")

    def test_a_directory_is_no_file(self, api: Api, session_id: str) -> None:
        api.write_file(session_id, "docs/guide", b"")
        for answer in (
            api.read_file(session_id, "docs"),
            api.write_file(session_id, "docs", b"x"),
            api.files(session_id, path="docs/guide"),
        ):
            assert answer.error == (422, "wrong_file_type")

    def test_a_name_of_any_bytes_is_read_by_them(
        self, embedded: EmbeddedStage, embedded_api: Api, changing_id: str
    ) -> None:
        (embedded.workspace(embedded_api, changing_id) / os.fsdecode(b"\xff")).write_text("odd")
        [item] = embedded_api.files(changing_id).ok()["items"]
        named = {"path_base64": item["path_base64"]}
        assert embedded_api.call("read_workspace_file", changing_id, query=named).content == b"odd"

    @pytest.mark.parametrize(
        "name", [" a ", "a?b=c#d", "%41", "a+b", "a\nb", "ü", '"', "-", "a//b", "./c", "*", "a\\b"]
    )
    def test_a_name_of_any_characters_is_written_and_read(self, api: Api, session_id: str, name: str) -> None:
        assert api.write_file(session_id, f"{name}/x y", b"1").status == 204
        [item] = api.files(session_id, path=name).ok()["items"]
        assert api.read_file(session_id, item["path"]).content == b"1"

    @pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", 'a"; filename="b', "a\u202eb", "a\x1b[2Jb", "%0d%0aX-Evil: 1"])
    def test_a_name_is_one_value_of_a_header(self, api: Api, session_id: str, name: str) -> None:
        api.write_file(session_id, name, b"1").ok()
        read = api.read_file(session_id, name)
        assert read.content == b"1"
        assert read.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        assert "X-Evil" not in read.headers

    @pytest.mark.skipif(sys.platform == "darwin", reason="its disks do not tell these names apart")
    def test_names_that_look_alike_are_files_of_their_own(self, api: Api, session_id: str) -> None:
        names = ["README", "Readme", "caf\u00e9", "cafe\u0301"]
        for name in names:
            api.write_file(session_id, f"alike/{name}", name.encode()).ok()
        assert [api.read_file(session_id, f"alike/{name}").content.decode() for name in names] == names

    @pytest.mark.parametrize("path", ["n" * 256, "\u00e9" * 128, "d/" * 128 + "f"])
    def test_a_path_that_no_disk_takes_is_not_found(self, embedded_api: Api, changing_id: str, path: str) -> None:
        assert embedded_api.write_file(changing_id, path, b"1").error == (404, "file_not_found")
        assert embedded_api.read_file(changing_id, path).error == (404, "file_not_found")

    def test_links_are_followed_inside_and_never_outside(
        self, api: Api, session_id: str, workspace: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("secret")
        api.write_file(session_id, "docs/guide", b"A guide")
        for name, target in (("inside", "docs/guide"), ("folder", "docs"), ("up", "."), ("loop", "loop")):
            (workspace / name).symlink_to(target)
        (workspace / "outside").symlink_to(tmp_path / "secret")
        (workspace / "away").symlink_to(tmp_path)
        assert api.read_file(session_id, "inside").content == b"A guide"
        assert api.read_file(session_id, "folder/guide").content == b"A guide"
        assert [item["path"] for item in api.files(session_id, path="folder").ok()["items"]] == ["folder/guide"]
        assert api.read_file(session_id, "folder").error == (422, "wrong_file_type")
        for path in ("outside", "away/secret", "loop"):
            assert api.read_file(session_id, path).status == 404, path
            assert api.write_file(session_id, f"{path}/x", b"x").status in {404, 422}, path
        assert not (tmp_path / "x").exists()
        listed = [item["path"] for item in api.files(session_id).ok()["items"]]
        assert not [path for path in listed if path.startswith(("up/", "folder/", "away/"))]

    def test_nothing_of_gits_own_is_served(self, api: Api, session_id: str, workspace: Path) -> None:
        (workspace / ".git").mkdir()
        (workspace / ".git" / "config").write_text("password")
        (workspace / "link").symlink_to(".git")
        (workspace / "config").symlink_to(".git/config")
        for path in (".git/config", ".GIT/config", "link/config", "config"):
            assert api.read_file(session_id, path).error == (404, "file_not_found"), path
            assert api.write_file(session_id, path, b"x").error == (404, "file_not_found"), path
        assert api.files(session_id, path="link").status == 404
        assert api.files(session_id, path=".git").error == (404, "file_not_found")
        assert not [item for item in api.files(session_id).ok()["items"] if ".git" in item["path"]]
        assert b"password" not in tarred(api.archive(session_id).content).get("config", b"")
        assert (workspace / ".git" / "config").read_text() == "password"

    def test_a_pipe_is_not_waited_for(self, api: Api, session_id: str, workspace: Path) -> None:
        os.mkfifo(workspace / "pipe")
        (workspace / "link").symlink_to("pipe")
        for path in ("pipe", "link"):
            answer = api.read_file(session_id, path)
            assert (answer.status, answer.content[:0]) in {(200, b""), (422, b"")}, path
        assert api.archive(session_id).status == 200

    def test_a_sparse_file_of_ten_terabytes_is_not_read(self, api: Api, session_id: str, workspace: Path) -> None:
        with (workspace / "sparse").open("wb") as file:
            file.truncate(10 * 2**40)
        [item] = api.files(session_id).ok()["items"]
        assert item["size"] == 10 * 2**40
        assert api.read_file(session_id, "sparse", Range="bytes=5-7").status in {206, 422}


class TestUsage:
    def test_the_disk_that_a_workspace_takes_is_shown(self, embedded: EmbeddedStage, embedded_api: Api) -> None:
        session_id = embedded.session(embedded_api, "running", task="Say hello")
        assert "workspace_bytes" not in embedded_api.get_session(session_id).ok()
        embedded_api.say(session_id, "write notes.txt hello")
        eventually(
            lambda: embedded_api.get_session(session_id).ok().get("workspace_bytes", 0), lambda size: size >= 512
        )


class TestArchives:
    @pytest.mark.parametrize("format", ["tar.gz", "zip"])
    def test_an_archive_is_named_after_what_is_in_it(self, api: Api, session_id: str, format: str) -> None:
        api.write_file(session_id, "docs/guide", b"A guide")
        whole, part = (api.archive(session_id, format=format, path=path) for path in ("", "docs"))
        assert whole.headers["Content-Disposition"].endswith(f"{session_id}.{format}")
        assert part.headers["Content-Disposition"].endswith(f"docs.{format}")
        if format == "tar.gz":
            assert tarred(whole.content) == {"docs/guide": b"A guide"}
            assert tarred(part.content) == {"guide": b"A guide"}
        assert whole.content[:2] == {"tar.gz": b"\x1f\x8b", "zip": b"PK"}[format]


class TestChanges:
    def test_changes_are_listed_and_their_patch_applies(
        self, embedded: EmbeddedStage, embedded_api: Api, repository: str, tmp_path: Path
    ) -> None:
        session_id = embedded.session(embedded_api, "running", repos=[{"url": repository}])
        assert embedded_api.diff(session_id).ok()["files"] == []
        assert embedded_api.patch(session_id).content == b""
        embedded_api.write_file(session_id, "shop/README.md", b"A better shop\n")
        embedded_api.write_file(session_id, "shop/new", b"new\n")
        found = embedded_api.diff(session_id, path="shop").ok()
        assert [(file["path"], file["status"]) for file in found["files"]] == [
            ("shop/README.md", "modified"),
            ("shop/new", "added"),
        ]
        assert (found["additions"], found["deletions"]) == (2, 1)
        git(tmp_path, "clone", "--quiet", repository, "mine")
        only = embedded_api.patch(session_id, path="shop/README.md").content
        assert (b"+A better shop" in only, b"a/README.md" in only, b"new" in only.split(b"@@")[0]) == (
            True,
            True,
            False,
        )
        answer = embedded_api.patch(session_id, path="shop")
        assert answer.headers["Content-Disposition"].startswith("attachment")
        (tmp_path / "patch").write_bytes(answer.content)
        git(tmp_path / "mine", "apply", str(tmp_path / "patch"))
        assert (tmp_path / "mine" / "README.md").read_text() == "A better shop\n"

    def test_a_patch_can_be_that_of_the_changes_that_were_listed(self, embedded_api: Api, changing_id: str) -> None:
        embedded_api.write_file(changing_id, "new", b"listed\n")
        state = embedded_api.diff(changing_id).ok()["state"]
        listed = embedded_api.patch(changing_id).content
        embedded_api.write_file(changing_id, "new", b"later\n")
        assert embedded_api.patch(changing_id, state=state).content == listed
        assert b"+later" in embedded_api.patch(changing_id).content
        for unknown in ("0" * 40, "HEAD", "-x"):
            assert embedded_api.patch(changing_id, state=unknown).error == (404, "file_not_found")

    def test_a_path_that_never_was_there_is_not_found(
        self, embedded: EmbeddedStage, embedded_api: Api, repository: str
    ) -> None:
        session_id = embedded.session(embedded_api, "running", repos=[{"url": repository}])
        workspace = embedded.directory / "workspaces" / str(embedded_api.project) / session_id
        (workspace / "-empty").mkdir()
        (workspace / "shop/docs/guide.md").unlink()
        (workspace / "shop/docs").rmdir()
        (workspace / "note").write_text("no directory")
        for path in ("nowhere", "shop/none", "-x", "shop/.git", "sho*", "nowhere/deeper", "shop/docs/none", "note/x"):
            assert embedded_api.diff(session_id, path=path).error == (404, "file_not_found")
            assert embedded_api.patch(session_id, path=path).error == (404, "file_not_found")
        assert embedded_api.diff(session_id, path="-empty").ok()["files"] == []
        assert embedded_api.diff(session_id, path="shop/docs").ok()["file_count"] == 1
        assert embedded_api.diff(session_id, path="shop/docs/guide.md").ok()["file_count"] == 1
        for target in ("nothing", "link", "/etc/passwd"):
            (workspace / "link").unlink(missing_ok=True)
            (workspace / "link").symlink_to(target)
            assert embedded_api.diff(session_id, path="link").ok()["file_count"] == 1
            assert target.encode() in embedded_api.patch(session_id, path="link").content
        assert b"deleted file" in embedded_api.patch(session_id, path="shop/docs").content

    def test_a_stopped_session_and_one_that_was_started_again_have_their_changes(
        self, embedded_api: Api, changing_id: str
    ) -> None:
        embedded_api.write_file(changing_id, "new", b"new\n")
        embedded_api.stop_session(changing_id)
        embedded_api.wait_for_status(changing_id, "stopped")
        assert embedded_api.diff(changing_id).ok()["file_count"] == 1
        embedded_api.start_session(changing_id)
        embedded_api.wait_for_status(changing_id, "running")
        assert embedded_api.diff(changing_id).ok()["file_count"] == 1

    def test_what_the_server_knows_of_a_workspace_goes_with_it(
        self, embedded: EmbeddedStage, embedded_api: Api, changing_id: str
    ) -> None:
        embedded_api.write_file(changing_id, "new", b"new\n")
        embedded_api.diff(changing_id).ok()
        data = embedded.directory / "workspace-data" / str(embedded_api.project)
        assert [entry.name for entry in data.iterdir()] == [changing_id]
        embedded_api.delete_session(changing_id)
        eventually(lambda: not list(data.iterdir()))


class TestAccess:
    @pytest.mark.parametrize("operation", OF_WORKSPACES)
    def test_a_session_without_a_workspace_is_not_ready(self, stage: Stage, api: Api, operation: str) -> None:
        session_id = stage.session(api, "pending")
        query = {} if operation == "push_workspace" else {"path": "x"}
        answer = request(api, operation, path=(session_id,), query=query)
        if stage.name == "ambient" and operation in REFUSED:
            assert answer.error == (422, "not_supported")
        else:
            assert answer.error == (409, "workspace_not_ready")

    def test_a_viewer_reads_and_does_not_write(
        self, embedded: EmbeddedStage, embedded_api: Api, changing_id: str
    ) -> None:
        with embedded.api(project=embedded_api.project, role=Role.VIEW) as viewer:
            assert viewer.files(changing_id).status == 200
            assert viewer.write_file(changing_id, "x", b"").error == (403, "forbidden")

    @pytest.mark.parametrize("operation", REFUSED)
    def test_the_platform_has_no_changes(self, ambient: PlatformStage, ambient_api: Api, operation: str) -> None:
        session_id = ambient.session(ambient_api, "running")
        assert request(ambient_api, operation, path=(session_id,)).error == (422, "not_supported")

    def test_whoami_tells_what_there_is(self, stage: Stage, api: Api) -> None:
        missing = set(OF_WORKSPACES) - set(api.whoami().ok()["capabilities"])
        assert missing == (set(REFUSED) if stage.name == "ambient" else set())
