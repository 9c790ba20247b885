"""Files of platform sessions where the platform, its pods or their files are hostile, broken or gone."""

import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.backends.ambient import workspace_archive, workspace_files, workspace_listing, workspaces
from app.backends.ambient.backend import AmbientBackend
from app.errors import (
    ApiError,
    BackendTimeout,
    FileChanged,
    Forbidden,
    NotSupported,
    PayloadTooLarge,
    SessionNotFound,
    WorkspaceFileNotFound,
    WorkspaceNotReady,
)
from app.models.caller import Caller
from app.models.workspaces import ArchiveFormat
from app.results import FileContent, StreamedBody
from tests.support import platform_failures as failures
from tests.support.platform import FakePlatform
from tests.support.platform_backend import CALLER, OTHER_PROJECT
from tests.support.platform_failures import Reaction
from tests.support.platform_files import service


@pytest.fixture
def root(platform: FakePlatform) -> Path:
    return platform.files.workspace("s1")


async def listed(backend: AmbientBackend, path: bytes = b"", limit: int = 100) -> dict[str, Any]:
    body = await backend.workspaces.list_workspace_files(CALLER, "s1", path=path, depth=None, limit=limit)
    assert isinstance(body, StreamedBody)
    value: dict[str, Any] = json.loads(b"".join([chunk async for chunk in body.chunks]))
    return value


async def read(backend: AmbientBackend, path: bytes) -> FileContent:
    return await backend.workspaces.read_workspace_file(CALLER, "s1", path=path)


async def content(file: FileContent, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in file.read(start, file.size if end is None else end)])


async def write(backend: AmbientBackend, path: bytes, *chunks: bytes, caller: Caller = CALLER) -> str:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return (await backend.workspaces.write_workspace_file(caller, "s1", path=path, content=body())).etag


async def archived(backend: AmbientBackend, path: bytes = b"") -> dict[str, bytes | None]:
    body = await backend.workspaces.get_workspace_archive(CALLER, "s1", path=path, format=ArchiveFormat.TAR_GZ)
    content = io.BytesIO(b"".join([chunk async for chunk in body.chunks]))
    with tarfile.open(fileobj=content) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() if file else None for name, file in files.items()}


OPERATIONS = (listed, read, write, archived)


async def outcome(operation: Any, backend: AmbientBackend) -> Any:
    try:
        return await operation(backend, b"notes")
    except ApiError as error:
        return type(error)


class TestRunners:
    async def test_only_running_sessions_have_files(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        for phase in ("Pending", "Creating", "Stopping", "Stopped", "Failed", "Completed"):
            platform.set_phase("demo", "s1", phase)
            for operation in OPERATIONS:
                with pytest.raises(WorkspaceNotReady, match="start it"):
                    await operation(backend, b"notes")
        assert platform.files.asked == 0

    async def test_a_runner_that_is_gone_has_no_files(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        """The platform says that there is nothing."""
        platform.without_runner.add("s1")
        assert [await outcome(operation, backend) for operation in OPERATIONS] == [WorkspaceNotReady] * 4

    async def test_a_directory_that_is_empty_is_told_from_one_that_is_not_there(
        self, backend: AmbientBackend, root: Path
    ) -> None:
        assert await listed(backend) == {"items": [], "truncated": False}
        (root / "empty").mkdir()
        assert await listed(backend, b"empty") == {"items": [], "truncated": False}
        with pytest.raises(WorkspaceFileNotFound):
            await listed(backend, b"none")

    async def test_a_directory_that_takes_too_long_is_not_empty(
        self, platform: FakePlatform, backend: AmbientBackend, root: Path
    ) -> None:
        (root / "many").mkdir()
        gave_up = failures.respond(200, {"items": []}, charset="utf-8")
        platform.next("list_files", gave_up)
        with pytest.raises(BackendTimeout):
            await listed(backend)
        items = (
            b'{"items":[{"name":"many","path":"/many","isDir":true,"size":4096,"modifiedAt":"2026-11-29T18:28:32Z"}]}'
        )
        platform.next("list_files", service(items), gave_up)
        found = await listed(backend)
        assert ([item["path"] for item in found["items"]], found["truncated"]) == (["many"], True)

    async def test_sessions_of_other_projects_have_none(self, platform: FakePlatform, backend: AmbientBackend) -> None:
        for operation in ("read_workspace_file", "get_workspace_diff"):
            more = {"limit": 1} if operation == "get_workspace_diff" else {}
            with pytest.raises(SessionNotFound):
                await getattr(backend.workspaces, operation)(OTHER_PROJECT, "s1", path=b"x", **more)
        assert platform.files.asked == 0

    async def test_a_viewer_may_not_write(self, platform: FakePlatform, backend: AmbientBackend, root: Path) -> None:
        platform.tokens["viewer"] = ("demo", "view")
        with pytest.raises(Forbidden):
            await write(backend, b"notes", b"x", caller=Caller("viewer", "demo"))
        assert list(root.iterdir()) == []


HOSTILE: dict[str, Reaction] = {
    "no JSON": service(b"<html>"),
    "no object": service(b"[1]"),
    "no items": service(b"{}"),
    "deep": service(b"[" * 100_000),
    "a redirect": failures.redirect,
    "a page": failures.html,
    "a connection that is cut": failures.truncate,
    "nothing": failures.disconnect,
    "without end": failures.Endless(b'{"name":"a","path":"/a","isDir":false,"size":1}'),
    "an error": failures.error(500, "dial tcp 10.0.0.1: refused"),
    "half a surrogate pair": service(b'{"items":[{"name":"\\ud800","path":"/\\ud800"}]}'),
}


class TestHostilePlatforms:
    @pytest.mark.parametrize("case", HOSTILE)
    async def test_what_is_no_list_of_files_is_an_error(
        self, platform: FakePlatform, backend: AmbientBackend, case: str
    ) -> None:
        platform.always("list_files", HOSTILE[case])
        platform.always("read_file", HOSTILE[case])
        for operation in (listed, read, archived):
            with pytest.raises(ApiError) as caught:
                await operation(backend, b"notes")
            assert "10.0.0.1" not in caught.value.message

    async def test_entries_that_cannot_be_any_are_left_out(
        self, platform: FakePlatform, backend: AmbientBackend
    ) -> None:
        good = {"name": "good", "path": "/good", "isDir": False, "size": 1, "modifiedAt": "2026-11-29T18:28:32Z"}
        names = ("..", ".", "", "a/b", "../x", "a\0", "/", ".git", ".GIT")
        bad: list[Any] = [good | {"name": name, "path": f"/{name}"} for name in names]
        bad += [good | {"path": path} for path in ("good", "/../good", "/x", "", "/a//good", 3, None)]
        bad += [good | {"size": size} for size in (-1, "1", None, 2**70)]
        bad += [1, None, [], {}, "x"]
        platform.next("list_files", service(json.dumps({"items": [*bad, good]}).encode()))
        found = await listed(backend, b"")
        assert found["items"] == [
            {"path": "good", "type": "file", "size": 1, "modified_at": "2026-11-29T18:28:32.000Z"}
        ]

    async def test_a_file_that_grows_beyond_the_bound_is_not_read_on(
        self, platform: FakePlatform, backend: AmbientBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workspace_files, "MAX_READ", 1_000_000)
        (root / "file").write_bytes(b"x")
        endless = failures.Endless(b"x" * 10_000)
        platform.next("read_file", endless)
        with pytest.raises(NotSupported):
            await read(backend, b"file")

    async def test_a_circle_of_links_is_not_walked(self, backend: AmbientBackend, root: Path) -> None:
        (root / "a" / "b").mkdir(parents=True)
        for name, target in (("a/up", ".."), ("a/b/top", "../.."), ("a/b/side", "../b")):
            (root / name).symlink_to(target)
        assert [item["path"] for item in (await listed(backend))["items"]] == [
            *("a", "a/b", "a/up"),
            *("a/b/side", "a/b/top"),
        ]
        assert (await archived(backend)).keys() == {"a", "a/b", "a/up", "a/b/side", "a/b/top"}


class TestFiles:
    async def test_a_tag_is_that_of_the_content(self, backend: AmbientBackend, root: Path) -> None:
        tag = await write(backend, b"notes", b"one ", b"two")
        assert (await read(backend, b"notes")).etag == tag
        info = (root / "notes").stat()
        (root / "notes").write_bytes(b"ONE TWO")
        os.utime(root / "notes", ns=(info.st_atime_ns, info.st_mtime_ns))
        assert (await read(backend, b"notes")).etag != tag
        await write(backend, b"notes", b"one two")
        assert (await read(backend, b"notes")).etag == tag

    async def test_a_large_file_is_read_in_parts(
        self, platform: FakePlatform, backend: AmbientBackend, root: Path
    ) -> None:
        data = os.urandom(3_000_000)
        (root / "large").write_bytes(data)
        file = await read(backend, b"large")
        assert await content(file) == data
        for start, end in ((0, 1), (5, 2_000_000), (2_999_999, 3_000_000), (1_500_000, 3_000_000)):
            assert await content(file, start, end) == data[start:end]
        (root / "large").write_bytes(data[:-1] + b"x")
        with pytest.raises(FileChanged):
            await content(file, 0, 10)
        platform.next("read_file", service(data[:10]))
        with pytest.raises(FileChanged):
            await content(file)

    async def test_what_is_larger_than_the_platform_takes_is_refused(
        self, platform: FakePlatform, backend: AmbientBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workspaces, "MAX_WRITE", 10)
        monkeypatch.setattr(workspaces, "MAX_READ", 10)
        await write(backend, b"ten", b"x" * 10)
        with pytest.raises(PayloadTooLarge):
            await write(backend, b"eleven", b"x" * 10, b"x")
        (root / "eleven").write_bytes(b"x" * 11)
        with pytest.raises(NotSupported):
            await read(backend, b"eleven")
        assert "read_file" not in platform.operations()[-1:]

    async def test_a_client_that_gives_up_writes_nothing(
        self, platform: FakePlatform, backend: AmbientBackend, root: Path
    ) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await backend.workspaces.write_workspace_file(CALLER, "s1", path=b"file", content=body())
        assert ("write_file" in platform.operations(), list(root.iterdir())) == (False, [])

    async def test_a_file_in_a_directory_that_is_none_is_not_written(self, backend: AmbientBackend, root: Path) -> None:
        (root / "file").write_bytes(b"x")
        (root / ".git").mkdir()
        (root / ".git" / "HEAD").touch()
        (root / "link").symlink_to(".git")
        for path in (b"file/x", b"file/a/b", b"link/x", b"link/a/b", b"", b"\xff"):
            with pytest.raises(ApiError):
                await write(backend, path, b"x")
        assert sorted(entry.name for entry in root.rglob("*")) == [".git", "HEAD", "file", "link"]


class TestBounds:
    async def test_a_list_takes_so_many_requests(
        self, platform: FakePlatform, backend: AmbientBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workspace_listing, "MAX_DIRECTORIES", 10)
        for number in range(30):
            (root / f"{number:02}").mkdir()
            (root / f"{number:02}" / "file").touch()
        found = await listed(backend)
        assert (len(found["items"]), found["truncated"]) == (40, True)
        assert platform.operations().count("list_files") == 11
        found = await listed(backend, limit=20)
        assert (len(found["items"]), found["truncated"]) == (20, True)

    async def test_an_archive_has_so_many_files(
        self, backend: AmbientBackend, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(12):
            (root / f"{number:02}").write_text(f"{number}")
        assert await archived(backend) == {f"{number:02}": f"{number}".encode() for number in range(12)}
        monkeypatch.setattr(workspace_archive, "MAX_ENTRIES", 11)
        with pytest.raises(NotSupported):
            await archived(backend)

    async def test_an_archive_without_a_runner_is_cut(
        self, platform: FakePlatform, backend: AmbientBackend, root: Path
    ) -> None:
        """Files that vanish are left out, but an archive does not end as if it were whole without the rest."""
        for number in range(3):
            (root / f"{number}").write_text("x")
        platform.next("read_file", failures.respond(404, {"detail": "not found"}))
        assert len(await archived(backend)) == 2
        platform.next("read_file", failures.error(503, "Get: dial tcp"))
        with pytest.raises(WorkspaceNotReady):
            await archived(backend)
