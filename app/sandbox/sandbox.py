"""The sandbox of this server: whether it can be had on this machine, and commands and process trees in it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from app.agent_definition import AgentDefinition, AgentFile
from app.agent_definition import Sandbox as Choice
from app.real_paths import identities
from app.sandbox import bubblewrap, seccomp
from app.sandbox.bubblewrap import View
from app.sandbox.process_tree import TERM_SECONDS, ProcessTree, SandboxError, open_tree
from app.sandbox.programs import find_program, needed_paths

_PROGRAM = "bwrap"
_PYTHON = (getattr(sys, "_base_executable", sys.executable), "-I", "-S", "-B")
_PROBE_SECONDS = 30
_MAX_REASON = 200  # characters
_FILE_LIMITS = {"RLIMIT_NOFILE": 65536, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 16 * 1024**3}


REPLACED = 126
# Between a look at a path and its mount it can be replaced. So it is compared with what is mounted.
_RUN_IF_UNCHANGED = (
    f'while [ "$1" != -- ]; do [ "$(stat -c %d:%i "$1")" = "$2" ] || exit {REPLACED}; shift 2; done; shift; exec "$@"'
)


class ProcessLimits(msgspec.Struct, frozen=True):
    """ProcessLimits of one session's processes together: bytes of memory, and the number of their threads."""

    memory: int = 8 * 1024**3
    processes: int = 4096


class SessionPaths(msgspec.Struct, frozen=True, kw_only=True):
    """The absolute paths of a session: its home, and what else its processes may write to and read."""

    home: Path
    writable: Sequence[Path]
    readable: Sequence[Path] = ()


class Sandbox:
    """The confinement of the processes of sessions: bubblewrap, or nothing.

    `program` is bubblewrap, None where it does not run; `obstacle` says why. `choice` is the server's setting. The
    `hidden` paths are never shown; of a file, all files whose names begin with its name.
    """

    def __init__(
        self,
        program: str | None,
        *,
        choice: Choice = "auto",
        obstacle: str = "",
        extra: Sequence[str] = (),
        hidden: Sequence[Path] = (),
        limits: ProcessLimits | None = None,
    ) -> None:
        self.obstacle = obstacle
        self._choice = choice
        self._program = program
        self._extra = extra
        self._hidden = {path for each in hidden for path in (each.absolute(), each.resolve())}
        self._limits = limits or ProcessLimits()
        self._home = Path.home()

    @property
    def in_force(self) -> bool:
        """Whether git and the agents that do not say otherwise are confined."""
        return self._program is not None and self._choice != "off"

    def confines(self, agent: AgentDefinition) -> bool:
        """Return whether the processes of an agent are confined; `SandboxError` if they must be and cannot be."""
        choice = agent.sandbox or self._choice
        if choice == "bwrap" and self._program is None:
            raise SandboxError(f"The agent has to be confined, but {self.obstacle}.")
        return self._program is not None and choice != "off"

    def refusals(self) -> AbstractContextManager[int | None]:
        """Return a new file, for one command, that says which system calls are refused; None if none are."""
        return _refusals() if self.in_force else nullcontext()

    def wrap(self, command: Sequence[str], view: View, refusals: int | None = None) -> list[str]:
        """Return a command that runs `command` confined, if that is in force, and that ends with all of its processes.

        It inherits the file of `refusals`, and is to be killed together with its process group. Its status is
        `REPLACED` if a contested path was replaced while it was started; before that, raises `SandboxError`.
        """
        if not self.in_force:
            return list(command)
        expected = [word for pair in _identities(view.contested).items() for word in pair]
        readable = [*view.readable, *needed_paths(command[:1], self._home)]
        arguments = self._arguments(msgspec.structs.replace(view, readable=readable), refusals)
        return [*arguments, "--", "/bin/sh", "-c", _RUN_IF_UNCHANGED, "sh", *expected, "--", *command]

    def hides(self, path: Path) -> bool:
        """Return whether a path is, or leads to, one that is never shown."""
        return any(each.is_relative_to(hidden) for each in (path, path.resolve()) for hidden in self._hidden)

    async def open(self, agent: AgentDefinition, paths: SessionPaths) -> ProcessTree:
        """Start a process tree in which an agent can run; `SandboxError`."""
        options: dict[str, Any] = {"confined": self.confines(agent), "term_seconds": TERM_SECONDS, "limits": {}}
        command = [*_PYTHON, "-"]
        if self.confines(agent):
            paths.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            view = self._view(agent, paths)
            options["identities"] = _identities([paths.home, *paths.writable, *paths.readable])
            command = [*self._arguments(view), "--as-pid-1", "--", *command]
            shown = [file.path for file in self._files(agent) if file.path.exists()]
            in_home = [path for path in shown if path.is_relative_to(self._home)]
            options |= {"memory": self._limits.memory, "processes": self._limits.processes}
            # Beyond what the watch ends, for a burst; it counts for the namespace from Linux 5.14 on, and not for root.
            processes = {"RLIMIT_NPROC": 2 * self._limits.processes} if _kernel() >= (5, 14) else {}
            options["limits"] = {**_FILE_LIMITS, **processes}
            options["links"] = {str(paths.home / path.relative_to(self._home)): str(path) for path in in_home}
        return await open_tree(command, options)

    def probe(self) -> str | None:
        """Run a command in the sandbox; return why that failed."""
        try:
            with _refusals() as refusals:
                command = [*self._arguments(View(network=False), refusals), "--", *_PYTHON, "-c", "pass"]
                subprocess.run(  # noqa: S603
                    command,
                    check=True,
                    capture_output=True,
                    timeout=_PROBE_SECONDS,
                    env={},
                    pass_fds=inherited(refusals),
                )
        except subprocess.CalledProcessError as error:
            return " ".join(error.stderr.decode("utf-8", "replace").split())[:_MAX_REASON] or "it gives no reason"
        except (OSError, subprocess.TimeoutExpired) as error:
            return type(error).__name__
        return None

    def _view(self, agent: AgentDefinition, paths: SessionPaths) -> View:
        readable = [file.path for file in self._files(agent) if not file.writable]
        writable = [file.path for file in self._files(agent) if file.writable]
        return View(
            writable=[paths.home, *paths.writable, *writable],
            readable=[*needed_paths(agent.command, self._home), *paths.readable, *readable],
            network=agent.network == "host",
        )

    def _files(self, agent: AgentDefinition) -> list[AgentFile]:
        """Return the paths that an agent is granted, but none of those that are hidden."""
        return [file for file in agent.files if not self.hides(file.path)]

    def _arguments(self, view: View, refusals: int | None = None) -> list[str]:
        """Return bubblewrap with the arguments for a view and for this server's Python."""
        assert self._program is not None  # noqa: S101 - it is asked first
        hidden = [
            path for each in self._hidden for path in ([each] if each.is_dir() else each.parent.glob(f"{each.name}*"))
        ]
        readable = [*view.readable, *needed_paths(_PYTHON[:1], self._home)]
        whole = msgspec.structs.replace(view, readable=readable, hidden=[*view.hidden, *hidden])
        arguments = bubblewrap.arguments(whole, memory_files=self._limits.memory // 2, extra=self._extra)
        return [self._program, *arguments, *(() if refusals is None else ("--seccomp", str(refusals)))]


def inherited(refusals: int | None) -> tuple[int, ...]:
    """Return the files that a command inherits."""
    return () if refusals is None else (refusals,)


@contextmanager
def _refusals() -> Iterator[int | None]:
    program = seccomp.program()
    if not program:
        yield None
        return
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, program)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _identities(paths: Sequence[Path]) -> dict[str, str]:
    """Return the identities of those directories that exist; `SandboxError` if one has been replaced by a link."""
    existing = [path for path in paths if os.path.lexists(path)]
    found = identities(existing)
    if replaced := [path for path in existing if str(path) not in found]:
        raise SandboxError(f"{replaced[0]} was replaced by a link")
    return found


def _kernel() -> tuple[int, ...]:
    """Return the kernel's version: two numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])


NO_SANDBOX = Sandbox(None, choice="off")
"""Nothing is confined."""


def detect(choice: Choice, *, hidden: Sequence[Path] = (), limits: ProcessLimits | None = None) -> Sandbox:
    """Return the sandbox that can be had; `SandboxError` if `choice` is `bwrap` and bubblewrap does not run.

    Whether it runs is found by running it.
    """
    obstacle = "bubblewrap is not installed"
    program = find_program(_PROGRAM)
    for extra in ((bubblewrap.NO_MORE_NAMESPACES,), ()) if program.startswith("/") else ():
        sandbox = Sandbox(program, choice=choice, extra=extra, hidden=hidden, limits=limits)
        failure = sandbox.probe()
        if failure is None:
            return sandbox
        obstacle = f"bubblewrap does not run here: {failure}"
    if choice == "bwrap":
        raise SandboxError(obstacle)
    return Sandbox(None, choice=choice, obstacle=obstacle)
