"""Process trees for tests, and commands in them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.agent_definition import AgentDefinition
from app.sandbox.process_tree import Process, ProcessTree
from app.sandbox.sandbox import Sandbox, SessionPaths, detect
from app.sandbox.streams import open_output

needs_sandbox = pytest.mark.skipif(os.environ.get("SANDBOX_TESTS") == "off", reason="SANDBOX_TESTS is off")


class Room:
    """A session's process tree, workspace and home."""

    def __init__(self, tree: ProcessTree, workspace: Path, home: Path) -> None:
        self.tree = tree
        self.workspace = workspace
        self.home = home
        self._outputs: list[asyncio.ReadTransport] = []

    def close(self) -> None:
        """Release the outputs of all commands, whether they were read or not."""
        for output in self._outputs:
            output.close()

    async def start(self, *command: str, **variables: str) -> tuple[Process, asyncio.StreamReader]:
        """Start a command; return it with its output."""
        transport, output, streams = await open_output()
        self._outputs.append(transport)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), **variables}
        try:
            return await self.tree.start(command, self.workspace, environment, streams.files), output
        finally:
            streams.close()

    async def run(self, *command: str, **variables: str) -> str:
        """Run a command to its end; return its output, and its status behind it if that is not 0."""
        process, output = await self.start(*command, **variables)
        status = await process.wait()
        await process.end()
        text = (await output.read()).decode() + (f"[{status}]" if status else "")
        return text.strip()

    async def shell(self, line: str, **variables: str) -> str:
        """Run a line of the shell to its end; return its output."""
        return await self.run("/bin/sh", "-c", line, **variables)

    async def python(self, program: str, *arguments: str) -> str:
        """Run a program in Python to its end; return its output."""
        return await self.run(sys.executable, "-I", "-c", program, *arguments)


@asynccontextmanager
async def room(within: Sandbox, directory: Path, **agent: Any) -> AsyncIterator[Room]:
    """Yield a session's room below `directory`; `agent` are members of its definition."""
    definition = AgentDefinition(**{"name": "test", "kind": "acp", "command": (sys.executable,), **agent})
    workspace, home = directory / "workspaces" / "project" / "own", directory / "homes" / "project" / "own"
    workspace.mkdir(parents=True)
    tree = await within.open(definition, SessionPaths(home=home, writable=[workspace]))
    own = Room(tree, workspace, home)
    try:
        yield own
    finally:
        await tree.close()
        own.close()


@cache
def _detected() -> Sandbox:
    return detect("bwrap")


def confined(**options: Any) -> Sandbox:
    """Return a sandbox that is in force; fail if it cannot be had."""
    found = _detected()
    return Sandbox(found._program, extra=found._extra, **options)


def variables_of(text: str) -> Mapping[str, str]:
    """Return the variables that `env` has printed."""
    return dict(line.split("=", 1) for line in text.splitlines())
