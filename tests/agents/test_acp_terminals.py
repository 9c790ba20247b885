"""Commands that an agent runs through us: real processes, their output, their end."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from acp import RequestError, schema

from app.agent_definition import AgentDefinition
from app.agents.acp import terminals as module
from app.agents.acp.agent import agent_environment
from app.agents.acp.terminals import Terminals
from app.sandbox.sandbox import SessionPaths, detect
from tests.support.deadline import eventually
from tests.support.processes import alive

PLACE = "workspace-of-terminals"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    workspace = tmp_path / PLACE
    workspace.mkdir()
    return workspace


@pytest.fixture
async def terminals(workspace: Path, tmp_path: Path) -> AsyncIterator[Terminals]:
    paths = SessionPaths(home=tmp_path / "home", writable=[workspace])
    tree = await detect("auto").open(AgentDefinition(name="test", kind="acp", command=("sh",)), paths)
    terminals = Terminals(workspace, agent_environment([], {"OWN": "of the session"}, paths.home), tree)
    yield terminals
    await terminals.end_terminals()
    await tree.close()


async def create(
    terminals: Terminals, command: str, *args: str, cwd: str | None = None, limit: int | None = None
) -> str:
    made = await terminals.create_terminal(
        session_id="s", command=command, args=list(args), cwd=cwd, output_byte_limit=limit
    )
    return made.terminal_id


async def printed(terminals: Terminals, command: str, *args: str, limit: int | None = None) -> tuple[str, bool]:
    """Run a command; return its output and whether that is truncated."""
    name = await create(terminals, command, *args, limit=limit)
    await terminals.wait_for_terminal_exit("s", name)
    seen = await terminals.terminal_output("s", name)
    return seen.output, seen.truncated


async def pids(terminals: Terminals, name: str, count: int) -> list[int]:
    """Wait until a command has printed so many numbers, and return them."""
    async with asyncio.timeout(30):
        while len(words := (await terminals.terminal_output("s", name)).output.split()) < count:  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0.01)
    return [int(word) for word in words]


async def test_a_program_gets_its_arguments_as_they_are(terminals: Terminals) -> None:
    assert await printed(terminals, "printf", "%s|", "a b", "$HOME") == ("a b|$HOME|", False)


async def test_a_line_without_arguments_runs_in_a_shell(terminals: Terminals, workspace: Path) -> None:
    assert await printed(terminals, "echo out; echo err >&2; pwd") == (f"out\nerr\n{workspace}\n", False)


@pytest.mark.parametrize(
    ("command", "code", "signal"), [("exit 3", 3, None), ("kill -TERM $$", None, "SIGTERM"), ("true", 0, None)]
)
async def test_the_exit_status_is_returned(
    terminals: Terminals, command: str, code: int | None, signal: str | None
) -> None:
    name = await create(terminals, command)
    ended = await terminals.wait_for_terminal_exit("s", name)
    assert (ended.exit_code, ended.signal) == (code, signal)
    status = (await terminals.terminal_output("s", name)).exit_status
    assert status
    assert (status.exit_code, status.signal) == (code, signal)


async def test_a_running_command_has_no_exit_status_and_can_be_killed(terminals: Terminals) -> None:
    name = await create(terminals, "echo $$; exec sleep 600")
    [pid] = await pids(terminals, name, 1)
    assert (await terminals.terminal_output("s", name)).exit_status is None
    waiting = asyncio.create_task(terminals.wait_for_terminal_exit("s", name))
    await terminals.kill_terminal("s", name)
    assert (await waiting).signal == "SIGTERM"
    eventually(lambda: not alive(pid, PLACE))
    assert (await terminals.terminal_output("s", name)).output == f"{pid}\n"


@pytest.mark.parametrize("how", ["kill_terminal", "release_terminal", "end_terminals"])
async def test_a_command_that_ignores_sigterm_is_killed_with_its_children(terminals: Terminals, how: str) -> None:
    name = await create(terminals, "trap '' TERM; (trap '' TERM; sleep 600) & echo $$ $!; wait")
    own, child = await pids(terminals, name, 2)
    await (terminals.end_terminals() if how == "end_terminals" else getattr(terminals, how)("s", name))
    eventually(lambda: not alive(own, PLACE) and not alive(child, PLACE))


async def test_a_command_ends_even_if_a_child_runs_on(terminals: Terminals) -> None:
    name = await create(terminals, "sleep 600 & echo $!")
    assert (await terminals.wait_for_terminal_exit("s", name)).exit_code == 0
    [child] = await pids(terminals, name, 1)
    await terminals.release_terminal("s", name)
    eventually(lambda: not alive(child, PLACE))


@pytest.mark.parametrize(
    ("limit", "expected"), [(4, ("äö", True)), (3, ("ö", True)), (1, ("", True)), (0, ("", True)), (99, ("xäö", False))]
)
async def test_output_is_truncated_at_its_beginning_between_characters(
    terminals: Terminals, limit: int, expected: tuple[str, bool]
) -> None:
    assert await printed(terminals, "printf", "xäö", limit=limit) == expected


async def test_endless_output_is_bounded(terminals: Terminals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OUTPUT", 1000)
    output, truncated = await printed(terminals, "seq 1 100000; printf '\\377'; echo end", limit=10**12)
    assert truncated
    assert len(output.encode()) <= 1000
    assert output.endswith("100000\n�end\n")
    [terminal] = terminals._terminals.values()
    assert len(terminal._buffer) <= 2000


async def test_terminals_are_bounded(terminals: Terminals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TERMINALS", 2)
    made = await asyncio.gather(*(create(terminals, "sleep 600") for _ in range(5)), return_exceptions=True)
    names = [name for name in made if isinstance(name, str)]
    assert len(names) == 2
    await terminals.release_terminal("s", names[0])
    await create(terminals, "true")


async def test_the_output_of_the_latest_released_terminals_is_available(
    terminals: Terminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TERMINALS", 2)
    names = [await create(terminals, f"echo {number}") for number in range(1)]
    for number in range(1, 4):
        await terminals.wait_for_terminal_exit("s", names[-1])
        await terminals.release_terminal("s", names[-1])
        names.append(await create(terminals, f"echo {number}"))
    assert [terminals.output_of(name) for name in names[:3]] == [None, "1\n", "2\n"]


@pytest.mark.parametrize("name", ["terminal_output", "wait_for_terminal_exit", "kill_terminal", "release_terminal"])
async def test_a_terminal_that_is_released_or_unknown_is_not_found(terminals: Terminals, name: str) -> None:
    released = await create(terminals, "true")
    await terminals.release_terminal("s", released)
    for terminal in (released, "never"):
        with pytest.raises(RequestError, match="not found"):
            await getattr(terminals, name)("s", terminal)


@pytest.mark.parametrize("cwd", ["/", "sub", "{workspace}/..", "{workspace}/link", "{workspace}/nothing", "a\0b"])
async def test_no_command_runs_outside_of_the_workspace(terminals: Terminals, workspace: Path, cwd: str) -> None:
    (workspace / "link").symlink_to("/")
    with pytest.raises(RequestError):
        await create(terminals, "pwd", cwd=cwd.format(workspace=workspace))


async def test_a_command_runs_in_the_requested_directory(terminals: Terminals, workspace: Path) -> None:
    (workspace / "sub").mkdir()
    name = await create(terminals, "pwd", cwd=str(workspace / "sub"))
    await terminals.wait_for_terminal_exit("s", name)
    assert (await terminals.terminal_output("s", name)).output == f"{workspace / 'sub'}\n"


async def test_a_command_sees_the_environment_of_the_agent_and_its_own(
    terminals: Terminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "not for agents")
    made = await terminals.create_terminal(
        session_id="s", command="env", env=[schema.EnvVariable(name="EXTRA", value="of the command")]
    )
    await terminals.wait_for_terminal_exit("s", made.terminal_id)
    lines = (await terminals.terminal_output("s", made.terminal_id)).output.splitlines()
    assert {"OWN=of the session", "EXTRA=of the command", f"PATH={os.environ['PATH']}"} <= set(lines)
    assert "SECRET_OF_THE_SERVICE=not for agents" not in lines


async def test_a_program_that_does_not_exist_is_an_error(terminals: Terminals) -> None:
    with pytest.raises(RequestError, match="No such file"):
        await create(terminals, "/nonexistent/program", "argument")


async def test_a_command_that_starts_while_its_turn_ends_is_ended(terminals: Terminals) -> None:
    starting = asyncio.create_task(create(terminals, "sleep 600"))
    await asyncio.sleep(0)  # it is under way
    await terminals.end_terminals()
    with pytest.raises(RequestError, match="turn has ended"):
        await starting
