"""The git process: how it is called, that it can be killed, and that each guard rail holds by itself."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from app.engine.workspace import provision
from app.git.access import GitAccess
from app.git.remote import CloneFailed, Limits, clone
from app.models.sessions import Repo
from tests.support.deadline import eventually
from tests.support.repositories import FILE, failure, git, make_repository, names, session


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., str]:
    return partial(make_repository, tmp_path / "origin")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "data" / "workspaces" / "project" / "session"


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a shell script in git's place; what it writes to $OUT is in the returned file."""

    def make(script: str) -> Path:
        out, command = tmp_path / "out", tmp_path / "bin" / "git"
        command.parent.mkdir()
        command.write_text(f"#!/bin/sh\nOUT={out}\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
        return out

    return make


FORWARDED = [
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
]
SLOW = "sleep 600 & echo $$ > $OUT.tmp; mv $OUT.tmp $OUT; wait"


def in_group(group: int) -> list[str]:
    """Processes of a group, but those that have ended and wait to be reaped."""
    table = subprocess.check_output(["ps", "-eo", "pgid=,stat=,args="], text=True)  # noqa: S607 - the system's own
    rows = [row.split(None, 2) for row in table.splitlines()]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


class TestGitProcess:
    @pytest.mark.parametrize("seconds", [0, 0.001, 0.2])
    async def test_it_is_given_up_and_removed_when_time_is_up(
        self, workspace: Path, fake_git: Callable[[str], Path], seconds: float
    ) -> None:
        fake_git(SLOW)
        message = await failure(workspace, session("file:///api"), limits=Limits(seconds=seconds))
        assert message == "Repository 1 (api) could not be cloned: it took too long."
        assert names(workspace) == []

    async def test_its_whole_group_is_killed_when_cancelled(
        self, workspace: Path, fake_git: Callable[[str], Path]
    ) -> None:
        out = fake_git(SLOW)
        task = asyncio.create_task(provision(workspace, session("file:///api"), access=FILE))
        await asyncio.to_thread(eventually, out.exists)
        group = int(out.read_text())
        assert len(in_group(group)) == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(eventually, lambda: in_group(group), lambda left: not left)
        assert names(workspace) == []

    async def test_it_sees_nothing_of_this_service_when_it_runs(
        self, workspace: Path, fake_git: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in FORWARDED:
            monkeypatch.delenv(name, raising=False)
        for name in ("API_SECRET", "GIT_SSH", "GIT_TEMPLATE_DIR", "GIT_CONFIG_COUNT", "GIT_DIR", "GIT_SSL_NO_VERIFY"):
            monkeypatch.setenv(name, "0")
        out = fake_git("env > $OUT; exit 1")
        await failure(workspace, session("file:///api"))
        lines = dict(line.split("=", 1) for line in out.read_text().splitlines())
        assert lines.keys() - {"PWD", "OLDPWD", "SHLVL", "_"} == {
            "PATH",
            "LC_ALL",
            "HOME",
            "GIT_CONFIG_NOSYSTEM",
            "GIT_CONFIG_GLOBAL",
            "GIT_ATTR_NOSYSTEM",
            "GIT_ALLOW_PROTOCOL",
            "GIT_NO_LAZY_FETCH",
            "GIT_NO_REPLACE_OBJECTS",
            "GIT_TERMINAL_PROMPT",
            "GIT_ASKPASS",
            "SSH_ASKPASS",
            "SSH_ASKPASS_REQUIRE",
            "GIT_SSH_VARIANT",
            "GIT_SSH_COMMAND",
        }
        assert lines["GIT_ALLOW_PROTOCOL"] == "file"
        assert lines["PWD"] == "/"

    async def test_it_sees_the_proxies_and_certificates_of_this_machine(
        self, workspace: Path, fake_git: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in FORWARDED:
            monkeypatch.setenv(name, f"the {name}")
        out = fake_git("env > $OUT; exit 1")
        await failure(workspace, session("file:///api"))
        assert {f"{name}=the {name}" for name in FORWARDED} <= set(out.read_text().splitlines())

    async def test_it_goes_through_the_proxy_when_there_is_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.readline())
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        for name in FORWARDED:
            monkeypatch.delenv(name, raising=False)
        async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(CloneFailed):
                await clone(
                    "http://git.invalid/x",
                    None,
                    tmp_path / "x",
                    access=GitAccess(("http",), ["127.0.0.0/8"]),
                    max_bytes=10**9,
                )
        assert requests[0].startswith(b"GET http://git.invalid/x/info/refs")

    async def test_a_flood_of_errors_is_survived_when_it_fails(
        self, workspace: Path, fake_git: Callable[[str], Path]
    ) -> None:
        fake_git("head -c 20000000 /dev/zero >&2; echo >&2; echo 'fatal: enough' >&2; exit 128")
        assert (await failure(workspace, session("file:///api"))).endswith("could not be cloned: enough.")

    async def test_the_message_says_so_when_git_is_not_installed(
        self, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        message = await failure(workspace, session("file:///api"))
        assert message == "Repository 1 (api) could not be cloned: git is not installed here."


class TestGuardRails:
    """Each holds by itself: git is handed what the check of URLs would have refused."""

    @pytest.mark.parametrize(
        "url", ["ext::touch {mark}", "ext::sh -c 'touch {mark}'", "--upload-pack=touch {mark};", "fd::17", "-u{mark}"]
    )
    async def test_no_command_runs_when_a_url_is_one(self, tmp_path: Path, url: str) -> None:
        mark = tmp_path / "mark"
        with pytest.raises(CloneFailed):
            await clone(url.format(mark=mark), None, tmp_path / "target", access=FILE, max_bytes=10**9)
        assert not mark.exists()

    async def test_another_protocol_is_refused_when_it_is_not_allowed(
        self, tmp_path: Path, repository: Callable[..., str]
    ) -> None:
        with pytest.raises(CloneFailed, match="transport … not allowed"):
            await clone(repository(), None, tmp_path / "target", access=GitAccess(), max_bytes=10**9)

    async def test_a_redirect_is_refused(self, tmp_path: Path) -> None:
        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 302 No\r\nLocation: ftp://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
            with pytest.raises(CloneFailed, match="leads to another one"):
                await clone(
                    url, None, tmp_path / "target", access=GitAccess(("http",), ["127.0.0.0/8"]), max_bytes=10**9
                )

    async def test_no_hook_runs_when_the_user_has_a_template(
        self, workspace: Path, repository: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hook = tmp_path / "template" / "hooks" / "post-checkout"
        hook.parent.mkdir(parents=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/mark\n")
        hook.chmod(0o755)
        (tmp_path / ".gitconfig").write_text(f"[init]\ntemplateDir = {tmp_path}/template\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        url = repository()
        await provision(workspace, session(url), access=FILE)
        assert not (workspace / "api" / ".git" / "hooks").exists()
        git(tmp_path, "clone", "--quiet", url, "control")
        assert (tmp_path / "mark").exists(), "the hook runs where nothing prevents it"

    async def test_submodules_stay_empty_when_a_repository_has_them(
        self, workspace: Path, repository: Callable[..., str]
    ) -> None:
        inner, outer = repository("inner"), repository("outer")
        origin = Path(outer.removeprefix("file://"))
        git(origin, "submodule", "--quiet", "add", inner, "sub")
        git(origin, "commit", "--quiet", "--message=sub")
        await provision(workspace, session(outer), access=FILE)
        assert names(workspace / "outer" / "sub") == []

    async def test_nothing_is_written_through_a_link_when_one_has_the_name_of_a_repository(
        self, workspace: Path, repository: Callable[..., str], tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        workspace.mkdir(parents=True)
        (workspace / "api").symlink_to(outside)
        await provision(workspace, session(repository()), access=FILE)
        assert names(outside) == []

    async def test_nothing_is_cloned_when_the_session_was_accepted_under_other_rules(self, workspace: Path) -> None:
        message = await failure(workspace, session("file:///x"), access=GitAccess())
        assert message == "repos[0].url must be a git URL by https or ssh."
        assert not workspace.exists()


class TestRefs:
    @pytest.mark.parametrize("kind", ["commit", "ref", "tag", "branch"])
    async def test_it_has_what_was_asked_for_when_that_is_no_branch(self, tmp_path: Path, kind: str) -> None:
        url = make_repository(tmp_path / "remote", one="1", two="2")
        remote = tmp_path / "remote" / "api"
        first = git(remote, "rev-parse", "HEAD~1").strip()
        git(remote, "update-ref", "refs/pull/7/head", first)
        git(remote, "tag", "v1", first)
        git(remote, "branch", "feature/one", first)
        asked = {"commit": first, "ref": "refs/pull/7/head", "tag": "v1", "branch": "feature/one"}[kind]
        workspace = tmp_path / "workspace"
        await provision(workspace, session(Repo(url=url, branch=asked)), access=FILE)
        assert names(workspace / "api") == [".git", "one"]
        assert git(workspace / "api", "remote", "get-url", "origin").strip() == url

    @pytest.mark.parametrize(
        "asked", ["feature/none", "refs/pull/8/head", "1234567890123456789012345678901234567890", "none"]
    )
    async def test_the_message_says_so_when_there_is_no_such_thing(self, tmp_path: Path, asked: str) -> None:
        url = make_repository(tmp_path / "remote")
        message = await failure(tmp_path / "workspace", session(Repo(url=url, branch=asked)))
        assert message.startswith("Repository 1 (api) could not be cloned: ")
        if not asked.startswith(("refs/", "123")):
            assert f"Remote branch {asked} not found" in message

    async def test_the_message_says_so_when_the_default_branch_does_not_exist(self, tmp_path: Path) -> None:
        url = make_repository(tmp_path / "remote")
        git(tmp_path / "remote" / "api", "symbolic-ref", "HEAD", "refs/heads/gone")
        message = await failure(tmp_path / "workspace", session(url))
        assert message.endswith(": its default branch does not exist; name a branch that does.")

    async def test_it_is_empty_when_the_repository_is(self, tmp_path: Path) -> None:
        remote = tmp_path / "remote"
        remote.mkdir()
        git(remote, "init", "--quiet", "--bare")
        await provision(tmp_path / "workspace", session(f"file://{remote}"), access=FILE)
        assert names(tmp_path / "workspace" / "remote") == [".git"]
