"""Start git: confined, and with nobody's configuration, hooks, credentials or prompts but the server's.

Neither repositories nor those who made them are trusted. For none of them does git start a program that it configures,
and it reaches others by the protocols of its `Git` alone. A process gets only the environment that it needs, never
runs within a repository, and leads a process group that ends as a whole.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE

import msgspec

from app.errors import BackendTimeout, NotSupported, WorkspaceNotReady
from app.sandbox.bubblewrap import View
from app.sandbox.children import Child, kill_group, start_leader
from app.sandbox.process_tree import SandboxError
from app.sandbox.programs import find_program
from app.sandbox.sandbox import NO_SANDBOX, Sandbox, inherited

SECONDS = 120.0
"""How long a command that `Git.run` runs may take."""

_CONFIGURATION = (
    *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.alternateRefsCommand=true", "credential.helper="),
    *("gc.auto=0", "maintenance.auto=false", "submodule.recurse=false", "safe.directory=*"),
)


class GitFailed(Exception):
    """A git command ended with an error; `stderr` has what it wrote about that, which may hold secrets."""

    def __init__(self, command: str, stderr: bytes) -> None:
        self.stderr = stderr
        super().__init__(f"git {command}: {stderr.decode('utf-8', 'replace')[-500:]}")


class Git(msgspec.Struct, frozen=True, kw_only=True):
    """git for one purpose: confined to a view of the machine, by a sandbox if that is in force.

    `protocols` are those by which it may reach other repositories. `configuration` (of the form `name=value`) and
    `environment` are beside those of every command.
    """

    view: View
    sandbox: Sandbox = NO_SANDBOX
    protocols: Sequence[str] = ()
    configuration: Sequence[str] = ()
    environment: Mapping[str, str] = {}

    async def start(
        self, *command: str, environment: Mapping[str, str] | None = None, stdin: int = DEVNULL, stdout: int = DEVNULL
    ) -> Child:
        """Start git as the leader of a process group.

        Raises `NotSupported` where git is not installed, `WorkspaceNotReady` if a directory was replaced by a link,
        OSError if it cannot be started.
        """
        options = [word for setting in (*_CONFIGURATION, *self.configuration) for word in ("-c", setting)]
        program = find_program("git")
        if not Path(program).is_absolute():
            raise NotSupported("git is not installed on this server.")
        with self.sandbox.refusals() as refusals:
            try:
                words = await asyncio.to_thread(self.sandbox.wrap, [program, *options, *command], self.view, refusals)
            except SandboxError as error:
                raise WorkspaceNotReady("A directory of the workspace was replaced by a link.") from error
            return await start_leader(
                *words,
                stdin=stdin,
                stdout=stdout,
                stderr=PIPE,
                cwd="/",
                env={**self._environment(), **self.environment, **(environment or {})},
                pass_fds=inherited(refusals),
            )

    async def run(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        input: bytes = b"",  # noqa: A002 - as subprocess has it
        succeeds: Sequence[int] = (0,),
    ) -> bytes:
        """Run git and return its standard output. Raises `GitFailed`, `BackendTimeout`, and as `start`."""
        stdin = PIPE if input else DEVNULL
        process = await self.start(*command, environment=environment, stdin=stdin, stdout=PIPE)
        try:
            async with asyncio.timeout(SECONDS):
                stdout, stderr = await process.communicate(input)
        except TimeoutError as error:
            raise BackendTimeout("The workspace is too large for git to be done in time.") from error
        finally:
            if process.returncode is None:
                await kill_group(process)
        if process.returncode not in succeeds:
            raise GitFailed(command[0], stderr)
        return stdout

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "HOME": "/dev/null",  # nothing can be below it: no .gitconfig, no .netrc
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols),  # no matter what a repository allows
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "SSH_ASKPASS_REQUIRE": "never",
            "GIT_SSH_VARIANT": "ssh",
            "GIT_SSH_COMMAND": "false",
        }


UNCONFINED = Git(view=View(network=False))
