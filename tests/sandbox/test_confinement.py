"""A hostile agent reaches nothing but its workspace, its home and the system's programs."""

import os
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.agent_definition import AgentFile
from app.sandbox.bubblewrap import View
from app.sandbox.process_tree import SandboxError
from app.sandbox.sandbox import Sandbox, detect
from tests.support.sandboxed import Room, confined, needs_sandbox, room, variables_of

pytestmark = needs_sandbox


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a store, and with the workspace and home of another session."""
    data = tmp_path / "data"
    for kind in ("workspaces", "homes"):
        (data / kind / "victim" / "other").mkdir(parents=True)
        (data / kind / "victim" / "other" / "secret.txt").write_text("secret")
    with sqlite3.connect(data / "ambient.db") as store:
        store.execute("create table keys (hash text)")
    store.close()
    return data


@pytest.fixture
async def own(data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "secret")
    async with room(confined(hidden=[data]), data) as own:
        yield own


async def test_the_workspace_and_the_home_can_be_written_to(own: Room) -> None:
    assert await own.shell("echo work > file; echo settings > ~/.settings; cat file ~/.settings") == "work\nsettings"
    assert (own.workspace / "file").read_text() == "work\n"
    assert (own.home / ".settings").read_text() == "settings\n"


async def test_the_data_directory_has_nothing_but_its_own(own: Room, data: Path) -> None:
    assert await own.shell(f"cd {data} && find . | sort") == "\n".join(
        [
            *(".", "./homes", "./homes/project", "./homes/project/own"),
            *("./workspaces", "./workspaces/project", "./workspaces/project/own"),
        ]
    )
    assert "No such file" in await own.shell(f"cat {data}/ambient.db 2>&1")
    assert "No such file" in await own.shell("cat ../../victim/other/secret.txt 2>&1")


@pytest.mark.parametrize(
    "path", ["/x", "/usr/x", "/etc/x", "/dev/x", "/proc/x", "/root/x", "/var/x", "/run/x", "/home/x"]
)
async def test_nothing_else_can_be_written_to(own: Room, path: str) -> None:
    assert (
        await own.shell(f"mkdir -p {Path(path).parent} 2>/dev/null; touch {path} 2>/dev/null && echo written") == "[1]"
    )
    assert not Path(path).exists()


@pytest.mark.parametrize("path", ["/run", "/var", "/sys", "/etc/shadow", "/etc/ssl/private", "/mnt", "/boot"])
async def test_places_of_the_machine_are_not_there(own: Room, path: str) -> None:
    assert await own.shell(f"ls -d {path} 2>/dev/null && echo there") == "[2]"


async def test_kernel_settings_cannot_be_written_even_as_root(own: Room) -> None:
    """Root without capabilities still owns /proc/sys, where core_pattern names a program that the kernel runs."""
    settings = ("kernel/core_pattern", "vm/overcommit_memory", "fs/file-max", "kernel/modprobe")
    program = """
import os, sys
for name in sys.argv[1:]:
    try: print(os.open("/proc/sys/" + name, os.O_WRONLY), name)
    except OSError: pass
"""
    assert await own.python(program, *settings) == ""
    assert "written" not in await own.shell("(echo b > /proc/sysrq-trigger) 2>&1 && echo written")


async def test_there_are_no_capabilities_and_no_further_namespaces(own: Room) -> None:
    assert set((await own.shell("grep ^Cap /proc/self/status | cut -f2")).split()) == {"0" * 16}
    assert await own.shell("grep NoNewPrivs /proc/self/status | cut -f2") == "1"
    assert "[" in await own.run("unshare", "--user", "true")
    assert "[" in await own.run("mount", "--bind", "/usr", "/tmp")  # noqa: S108 - its own
    assert "[" in await own.run("umount", "/usr")
    assert "[" in await own.shell("mount -o remount,rw /usr 2>&1")


async def test_the_server_is_out_of_sight(own: Room) -> None:
    assert await own.shell("ls -d /proc/[0-9]* | wc -l") != ""
    environments = await own.shell("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c SECRET_OF || true")
    assert environments == "0"
    assert await own.shell(f"kill -9 {os.getpid()} 2>/dev/null || echo none") == "none"
    names = await own.shell("cat /proc/[0-9]*/comm")
    assert "pytest" not in names
    assert "bwrap" not in names


async def test_a_variable_of_a_session_reaches_its_commands_and_not_what_confines_them(tmp_path: Path) -> None:
    seen, launcher, real = tmp_path / "seen", tmp_path / "launcher", confined()
    launcher.write_text(f'#!/bin/sh\nenv >> {seen}\nexec {real._program} "$@"\n')
    launcher.chmod(0o755)
    async with room(Sandbox(str(launcher), extra=real._extra), tmp_path / "data") as own:
        assert await own.shell("echo $OF_A_SESSION", OF_A_SESSION="its value") == "its value"
    assert "PWD" in seen.read_text(), "it was the launcher"
    assert "OF_A_SESSION" not in seen.read_text()


async def test_everything_that_can_be_signalled_is_its_own(own: Room) -> None:
    assert "-9" in await own.python("import os, signal; os.kill(-1, signal.SIGKILL); os.kill(os.getpid(), 9)")


async def test_the_init_cannot_be_traced(own: Room) -> None:
    program = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())
for name in ("mem", "environ", "maps", "fd/0"):
    try: open(f"/proc/1/{name}"); print(name)
    except OSError: pass
"""
    assert await own.python(program) == "-1 1"


async def test_variables_are_those_that_are_handed_over(own: Room) -> None:
    assert set(variables_of(await own.run("env", OWN="x"))) == {"PATH", "HOME", "OWN"}


async def test_links_lead_nowhere(own: Room, data: Path) -> None:
    (own.workspace / "link").symlink_to(data / "ambient.db")
    (own.workspace / "up").symlink_to(data.parent)
    assert "No such file" in await own.shell("cat link 2>&1")
    assert "ambient.db" not in await own.shell("ls -R up/")
    assert "[" in await own.shell("ln /usr/bin/env hard 2>&1")


@contextmanager
def listening(address: Any, family: int = socket.AF_UNIX) -> Iterator[None]:
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        yield


CONNECT = (
    "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1].replace('@', chr(0))); print('connected')"
)


async def test_sockets_of_the_machine_are_not_reached(own: Room, tmp_path: Path) -> None:
    with listening(str(tmp_path / "socket")):
        assert "FileNotFound" in await own.python(CONNECT, str(tmp_path / "socket"))


def scopes_abstract_sockets() -> bool:
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    return release >= (6, 12)


@pytest.mark.skipif(not scopes_abstract_sockets(), reason="the kernel cannot keep abstract sockets apart")
async def test_abstract_sockets_are_reached_inside_only(own: Room) -> None:
    name = f"sandbox-test-{os.getpid()}"
    with listening(f"\0{name}"):
        assert "PermissionError" in await own.python(CONNECT, f"@{name}")
    program = f"import socket, os; s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + '{name}-own'); s.listen();"
    assert await own.python(program + CONNECT, f"@{name}-own") == "connected"


async def test_the_network_is_that_of_the_machine_or_none(tmp_path: Path) -> None:
    program = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5); print('connected')"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = str(server.getsockname()[1])
        async with room(confined(), tmp_path / "host") as own:
            assert await own.python(program, port) == "connected"
        async with room(confined(), tmp_path / "none", network="none") as own:
            assert "ConnectionRefused" in await own.python(program, port)


async def test_system_calls_that_lead_out_are_refused(own: Room) -> None:
    program = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return os.strerror(ctypes.get_errno()) if libc.syscall(number, *arguments) < 0 else "done"
numbers = {"x86_64": (248, 250, 298, 321, 323, 425), "aarch64": (217, 219, 241, 280, 282, 425)}[os.uname().machine]
assert {call(number, 0, 0, 0, 0, 0) for number in numbers} == {"Operation not permitted"}
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    socket.socket(family, socket.SOCK_DGRAM)
socket.socketpair()
for family in (socket.AF_VSOCK, socket.AF_ALG, 17):
    try:
        print(socket.socket(family, socket.SOCK_STREAM))
    except OSError as error:
        assert error.errno == 97, error
assert os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1] == 0
print("refused")
"""
    assert await own.python(program) == "refused"


async def test_tmp_is_one_for_a_session_and_none_of_the_machine(own: Room) -> None:
    await own.shell("echo shared > /tmp/file")
    assert await own.shell("cat /tmp/file") == "shared"
    assert not Path("/tmp/file").exists()  # noqa: S108 - it must not be


async def test_files_are_shown_at_their_place_and_in_the_home(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "operator"
    for name in (".agent/deep", ".private"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text(name)
    monkeypatch.setenv("HOME", str(home))
    files = (AgentFile(home / ".agent", writable=True), AgentFile(tmp_path / "missing"), AgentFile(home / ".missing"))
    async with room(confined(hidden=[data]), data, files=files) as own:
        assert await own.shell("cat ~/.agent/deep/file; echo new > ~/.agent/new") == ".agent/deep"
        assert await own.shell(f"ls -A {home}") == ".agent"
        assert await own.shell(f"rm -r {home}/.agent/deep; rm ~/.agent; ln -s / ~/.agent; ls -A ~") == ".agent"
    assert (home / ".agent/new").read_text() == "new\n"


async def test_files_that_are_read_only_cannot_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    async with room(confined(), data, files=(AgentFile(tmp_path / "models"),)) as own:
        assert "Read-only" in await own.shell(f"touch {tmp_path}/models/x 2>&1")


async def test_what_is_hidden_stays_so_within_what_is_shown(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    for suffix in ("", "-wal"):
        store.with_name(store.name + suffix).write_text("secret")
    async with room(confined(hidden=[data, store]), data, files=(AgentFile(tmp_path, writable=True),)) as own:
        assert await own.shell(f"cat {store} {store}-wal 2>/dev/null; ls {data}") == "homes\nworkspaces"
        assert "[" in await own.shell(f"touch {data}/x 2>&1")
        assert await own.shell("touch here; ls") == "here"
    assert store.read_text() == "secret"


async def test_what_is_hidden_cannot_be_granted(data: Path) -> None:
    files = (AgentFile(data / "homes/victim", writable=True), AgentFile(data / "ambient.db"))
    async with room(confined(hidden=[data]), data, files=files) as own:
        assert await own.shell(f"ls {data}/homes; cat {data}/ambient.db 2>&1") == (
            f"project\ncat: {data}/ambient.db: No such file or directory\n[1]"
        )


async def test_a_link_in_place_of_a_directory_that_is_shown_harms_nobody(data: Path) -> None:
    """Links that one turn leaves in the home are not followed when the next turn's sandbox is made."""
    own_home = data / "homes/project/own"
    own_home.mkdir(parents=True)
    (own_home / ".agent").symlink_to(data / "homes/victim/other")
    home = Path.home()
    async with room(confined(hidden=[data]), data, files=(AgentFile(home / ".agent/skills"),)) as own:
        assert "secret" not in await own.shell("ls -RA ~ 2>&1")
    assert [path.name for path in (data / "homes/victim/other").iterdir()] == ["secret.txt"]


def test_bubblewrap_that_does_not_run_is_an_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create a namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = detect("auto")
    assert not found.in_force
    assert found.obstacle == "bubblewrap does not run here: bwrap: No permissions to create a namespace"
    with pytest.raises(SandboxError, match="No permissions"):
        detect("bwrap")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert detect("auto").obstacle == "bubblewrap is not installed"


async def test_an_agent_that_must_be_confined_does_not_start_without(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="has to be confined, but it is not installed"):
        async with room(Sandbox(None, obstacle="it is not installed"), tmp_path, sandbox="bwrap"):
            pass


async def test_an_agent_can_bring_its_own_sandbox(tmp_path: Path) -> None:
    async with room(confined(), tmp_path, sandbox="off") as own:
        assert await own.shell("test -d /run && echo there") == "there"


def test_off_confines_nothing() -> None:
    assert not detect("off").in_force
    assert detect("off").wrap(["git"], View()) == ["git"]
