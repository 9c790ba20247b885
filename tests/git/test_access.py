"""Git connects to listed and public hosts only, at the addresses that were checked, and no secret is visible."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from app.git.access import GitAccess, prepare
from app.git.remote import CloneFailed, clone
from tests.support.git_server import git_server
from tests.support.repositories import git, make_repository

ALL = ("https", "http", "ssh", "git")
SECRET = "hunter2-of-ada"


def all_command_lines() -> list[bytes]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    return found


async def fails(url: str, target: Path, access: GitAccess) -> str:
    with pytest.raises(CloneFailed) as caught:
        await clone(url, None, target, access=access, max_bytes=10**9)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


class TestHosts:
    @pytest.mark.parametrize(
        "url",
        [
            *("http://127.0.0.1:{port}/x", "https://127.0.0.1:{port}/x", "http://127.1:{port}/x"),
            *("http://2130706433:{port}/x", "http://localhost:{port}/x", "http://LOCALHOST:{port}/x"),
            *("http://[::ffff:127.0.0.1]:{port}/x", "http://0.0.0.0:{port}/x", "git://127.0.0.1:{port}/x"),
            *("ssh://git@127.0.0.1:{port}/x", "http://u:p@127.0.0.1:{port}/x"),
        ],
    )
    async def test_a_loopback_address_is_not_even_connected_to(self, tmp_path: Path, url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            access = GitAccess(ALL, ssh_key=tmp_path / "key")
            message = await fails(url.format(port=server.getsockname()[1]), tmp_path / "x", access)
            assert message == "its host is not public; the operator can list it in GIT_HOSTS"
            with pytest.raises(BlockingIOError):
                server.accept()

    @pytest.mark.parametrize(
        "host",
        [
            *(
                "10.1.2.3",
                "172.16.0.1",
                "192.168.1.1",
                "169.254.169.254",
                "100.64.0.1",
                "224.0.0.1",
                "[::1]",
                "[fe80::1]",
            ),
            *("[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::]", "[ff02::1]", "[2001:0:1::1]"),
        ],
    )
    async def test_other_addresses_that_are_not_public_are_refused(self, tmp_path: Path, host: str) -> None:
        assert "is not public" in await fails(f"https://{host}/x", tmp_path / "x", GitAccess())

    async def test_one_address_that_is_not_public_is_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve(monkeypatch, "1.1.1.1", "10.0.0.1")
        assert "is not public" in await fails("https://repo.example/x", tmp_path / "x", GitAccess())

    async def test_a_name_that_ends_with_a_dot_is_refused(self, tmp_path: Path) -> None:
        assert "dot" in await fails("https://example.com./x", tmp_path / "x", GitAccess())

    @pytest.mark.parametrize("listed", ["127.0.0.1", "127.0.0.0/8", "repo.example", "REPO.example"])
    async def test_a_listed_one_is_reached_at_the_address_that_was_checked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str
    ) -> None:
        resolve(monkeypatch, "127.0.0.1")  # only for this process: git itself would find no such host
        make_repository(tmp_path / "root")
        async with git_server(tmp_path / "root", user="ada", password=SECRET) as server:
            url = f"http://ada:{SECRET}@repo.example:{server.port}/api/.git"
            await clone(url, None, tmp_path / "x", access=GitAccess(("http",), [listed]), max_bytes=10**9)
        assert (tmp_path / "x" / "README").read_text() == "hello"

    async def test_a_redirect_leads_nowhere(self, tmp_path: Path) -> None:
        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            location = f"Location: http://127.0.0.2:{elsewhere.getsockname()[1]}/x/info/refs"
            writer.write(f"HTTP/1.1 301 Gone\r\n{location}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()

        with socket.create_server(("127.0.0.2", 0)) as elsewhere:
            elsewhere.setblocking(False)
            async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
                url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
                message = await fails(url, tmp_path / "x", GitAccess(("http",), ["127.0.0.1"]))
            assert message == "its URL leads to another one, often with .git at its end; use that one"
            with pytest.raises(BlockingIOError):
                elsewhere.accept()

    async def test_git_daemons_are_reached_at_the_address_that_was_checked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve(monkeypatch, "1.1.1.1")
        remote = await prepare("git://repo.example/x", GitAccess(ALL))
        assert remote.configuration == ["url.git://1.1.1.1:9418/.insteadOf=git://repo.example/"]


class TestPasswords:
    @pytest.mark.parametrize("by", ["branch", "commit"])
    async def test_no_command_line_and_no_file_has_one(self, tmp_path: Path, by: str) -> None:
        make_repository(tmp_path / "root")
        branch = git(tmp_path / "root" / "api", "rev-parse", "HEAD").strip() if by == "commit" else None
        seen: list[bytes] = []

        def look() -> None:
            seen.extend(all_command_lines())

        async with git_server(tmp_path / "root", user="ada", password=SECRET, on_request=look) as server:
            url = f"http://ada:{SECRET}@127.0.0.1:{server.port}/api/.git"
            access = GitAccess(("http",), ["127.0.0.1"])
            await clone(url, branch, tmp_path / "x", access=access, max_bytes=10**9)
            assert any(f"http://127.0.0.1:{server.port}".encode() in line for line in seen), "git's own are seen too"
        assert (tmp_path / "x" / "README").read_text() == "hello"
        assert not any(SECRET.encode() in line for line in seen)
        assert not [
            file for file in (tmp_path / "x").rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()
        ]

    async def test_it_is_for_this_server_alone(self) -> None:
        remote = await prepare("https://ada:pass%20word@1.1.1.1:8443/x", GitAccess())
        assert remote.url == "https://1.1.1.1:8443/x"
        assert remote.environment == {"REPOSITORY_USER": "ada", "REPOSITORY_PASSWORD": "pass word"}
        [helper] = [entry for entry in remote.configuration if "helper" in entry]
        assert helper.startswith("credential.https://1.1.1.1:8443.helper=!")


class TestSsh:
    @pytest.fixture
    def ssh(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Put a script in the place of ssh; it writes its arguments to the returned file."""
        out, command = tmp_path / "out", tmp_path / "bin" / "ssh"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {out}; env >> {out}\nexit 1\n')
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
        resolve(monkeypatch, "1.1.1.1")
        return out

    @pytest.mark.parametrize(
        ("url", "known_as"),
        [
            ("git@repo.example:x", "repo.example"),
            ("ssh://git@repo.example/x", "repo.example"),
            ("ssh://git@repo.example:2222/x", "[repo.example]:2222"),
        ],
    )
    async def test_it_uses_what_is_configured_and_nothing_else(
        self, tmp_path: Path, ssh: Path, url: str, known_as: str
    ) -> None:
        access = GitAccess(ssh_key=Path("/a key"), known_hosts=Path("/known hosts"))
        await fails(url, tmp_path / "x", access)
        arguments = ssh.read_text().splitlines()
        assert arguments[:2] == ["-F", "none"]
        assert arguments[arguments.index("-i") + 1] == "/a key"
        assert {
            *("-oIdentitiesOnly=yes", "-oStrictHostKeyChecking=yes", '-oUserKnownHostsFile="/known hosts"'),
            *("-oHostName=1.1.1.1", f"-oHostKeyAlias={known_as}", "SSH_AUTH_SOCK=/agent"),
        } <= set(arguments)

    @pytest.mark.parametrize("url", ["git@repo.example:x", "ssh://git@repo.example/x", "repo.example:x"])
    async def test_it_is_not_started_without_a_key(self, tmp_path: Path, ssh: Path, url: str) -> None:
        await fails(url, tmp_path / "x", GitAccess())
        assert not ssh.exists()

    async def test_the_agent_is_not_passed_on_without_a_key(self, tmp_path: Path, ssh: Path) -> None:
        await fails("file:///nowhere", tmp_path / "x", GitAccess(("file",)))
        assert not ssh.exists()


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let this process find a name at these addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "repo.example":
            return real(host, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
