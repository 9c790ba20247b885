"""The first process of a process tree: it starts commands for the server and ends everything that they leave running.

`process_tree.py` runs `watch.py`, `seccomp.py` and this file as one program, in a sandbox or not, without
site-packages. In a sandbox it is process 1 of a namespace, so that everything ends with it. It shares its user with the
commands and has nothing that they must not have; the server believes nothing of what comes from here but exit statuses.

    server ── {"start": 1} and files ───▶ init ── fork ──▶ shim of 1 ── fork ──▶ the command of 1
       ▲                                   ▲                    │
       │   {"id": 1, "started": true}      │  reaps             │ whatever the command detaches comes back to its
       └── {"id": 1, "status": 0} ─────────┴────────────────────┘ shim, which ends it with the command
           {"id": 1, "ended": true}

A message is one line of JSON. The files of a start are the command as JSON, and its three standard streams.
"""

import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from app.sandbox.seccomp import refuse_system_calls
    from app.sandbox.watch import Watch

POLL_SECONDS = 0.01
NICENESS = 5
"""The commands' priority, so that many of them keep neither the watch nor the server from working."""
_REPORT_SECONDS = 0.05
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_OWN_SIGNALS = {signal.SIGTERM, signal.SIGCHLD}
_FILES_OF_A_START = 4

_KEYCTL = {"x86_64": 250, "aarch64": 219}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_SCOPES_SINCE = 6  # version of the interface
_LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1

_libc = ctypes.CDLL(None, use_errno=True)


def main(control: socket.socket, options: dict[str, Any]) -> None:
    """Serve the server's messages until it closes the socket."""
    _prctl(_PR_SET_DUMPABLE, 0)  # the commands may not trace it, or read its memory
    if options["confined"]:
        _leave_keyring()
        _leave_abstract_sockets()
        _require_mounted(options["identities"])
        _link(options["links"])
        refuse_system_calls()
    else:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    init = Init(control, options)
    init.report(ready=True)
    try:
        init.serve()
    finally:
        init.end()


class Init:
    """The commands of a process tree, by the ids that the server has given them."""

    def __init__(self, control: socket.socket, options: dict[str, Any]) -> None:
        self._control = control
        self._limits: dict[str, int] = options["limits"]
        self._watch = Watch(options["memory"], options["processes"]) if options["confined"] else None
        self._term_seconds: float = options["term_seconds"]
        self._shims: dict[int, int] = {}
        """The ids of the commands, by the process ids of their shims."""
        self._files: list[int] = []
        self._wake_up, wake_up = socket.socketpair()
        self._wake_up.setblocking(False)
        wake_up.setblocking(False)
        self._writing_end = wake_up
        signal.set_wakeup_fd(wake_up.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def report(self, **message: Any) -> None:
        """Send a message to the server."""
        with suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def serve(self) -> None:
        """Start and end commands as the server asks, until it has gone."""
        unread = b""
        while True:
            wait = self._watch.wait if self._watch else None
            readable, _, _ = select.select([self._control, self._wake_up], [], [], wait)
            self._reap()
            if self._watch and (exceeded := self._watch.look()):
                self.report(exceeded=exceeded)
                time.sleep(_REPORT_SECONDS)
                os._exit(1)
            if self._control not in readable:
                continue
            data, files, _, _ = socket.recv_fds(self._control, 65536, _FILES_OF_A_START)
            if not data:
                return
            for file in files:
                os.set_inheritable(file, False)
            self._files += files
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                self._handle(json.loads(line))

    def end(self) -> None:
        """End all commands, and whatever they have left running."""
        for shim in self._shims:
            _kill(shim, signal.SIGTERM)
        deadline = time.monotonic() + 2 * self._term_seconds
        while self._shims and time.monotonic() < deadline:
            self._reap()
            time.sleep(POLL_SECONDS)
        if os.getpid() != 1:
            _kill_until_gone(descendants, lambda: list(_ended_children()))

    def _handle(self, message: dict[str, Any]) -> None:
        if "start" in message:
            files, self._files = self._files[:_FILES_OF_A_START], self._files[_FILES_OF_A_START:]
            self._start(message["start"], files)
        for shim, command in self._shims.items():
            if command == message.get("end"):
                _kill(shim, signal.SIGTERM)

    def _start(self, command: int, files: list[int]) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _OWN_SIGNALS)
        shim = os.fork()
        if shim == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _always_exit(lambda: self._supervise(command, files))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OWN_SIGNALS)
        self._shims[shim] = command
        for file in files:
            os.close(file)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            self._wake_up.recv(4096)
        for pid, _ in _ended_children():
            if (command := self._shims.pop(pid, None)) is not None:
                self.report(id=command, ended=True)

    def _supervise(self, command: int, files: list[int]) -> None:
        """Run a command until its end and that of all its descendants; SIGTERM ends them."""
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        with os.fdopen(files[0], "rb") as payload:
            words, directory, variables = json.load(payload)
        failure, failed = os.pipe()
        pid = os.fork()
        if pid == 0:
            _always_exit(lambda: _execute(words, directory, variables, files[1:], limits=self._limits, failed=failed))
        os.close(failed)
        for file in files[1:]:
            os.close(file)
        if error := os.read(failure, 16):
            self.report(id=command, error=int(error))
            return
        self.report(id=command, started=True)

        def reap() -> bool:
            for ended, status in _ended_children():
                if ended == pid:
                    self.report(id=command, status=status)
            return _has_children()

        while reap():
            if signal.sigwait(_OWN_SIGNALS) == signal.SIGTERM:
                break
        targets = descendants if os.path.exists("/proc/self/stat") else lambda: [-pid]  # noqa: PTH110
        for target in targets():
            _kill(target, signal.SIGTERM)
        deadline = time.monotonic() + self._term_seconds
        while reap() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        _kill_until_gone(targets, reap)


def _execute(
    words: list[str],
    directory: str,
    variables: dict[str, str],
    streams: list[int],
    *,
    limits: dict[str, int],
    failed: int,
) -> NoReturn:
    """Become a command; write the error to `failed` if that is not possible."""
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.nice(NICENESS)
        # Python ignores some, and whoever has started the server may have it ignore others.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for descriptor, stream in enumerate(streams):
            os.dup2(stream, descriptor)  # all other descriptors are closed by the execution
        for name, most in limits.items():
            _limit(getattr(resource, name), most)
        os.chdir(directory)
        os.execvpe(words[0], words, variables)  # noqa: S606 - no shell is wanted
    except (OSError, ValueError) as error:
        os.write(failed, str(getattr(error, "errno", errno.EINVAL)).encode())
    raise SystemExit


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def descendants() -> list[int]:
    """Return the process ids of all descendants of this process; of ended ones until they are reaped."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would take longer to import than this runs
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                parent = file.read().rpartition(b")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(name))
    found, unvisited = [], [os.getpid()]
    while unvisited:
        more = children.get(unvisited.pop(), [])
        found += more
        unvisited += more
    return found


def _kill_until_gone(targets: Callable[[], list[int]], reap: Callable[[], Any]) -> None:
    """Kill all targets, and those that they have started meanwhile."""
    while True:
        killed = False
        for target in targets():
            killed |= _kill(target, signal.SIGKILL)
        reap()
        if not killed:
            return
        time.sleep(POLL_SECONDS)


def _kill(pid: int, number: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return True
    return False


def _ended_children() -> Iterator[tuple[int, int]]:
    """Yield the id and the exit status, or minus the signal, of each child that has ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _always_exit(work: Callable[[], None]) -> NoReturn:
    """Work as a process of its own that never returns into the code of the process that it was forked from."""
    try:
        work()
    finally:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc.prctl(option, value, 0, 0, 0)


def _leave_keyring() -> None:
    """Give up the keys of the server's session; the commands get an empty keyring."""
    if number := _KEYCTL.get(os.uname().machine):
        _libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None)


def _leave_abstract_sockets() -> None:
    """Give up connecting to abstract sockets of the machine, which belong to the network and not to the files.

    Kernels before 6.12 do not know this.
    """
    if _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1) < _LANDLOCK_SCOPES_SINCE:
        return
    rules = (ctypes.c_uint64 * 3)(0, 0, _LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)  # handled: no files, no ports
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, rules, ctypes.sizeof(rules), 0)
    if ruleset < 0 or _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "no Landlock")
    os.close(ruleset)


def _require_mounted(expected: dict[str, str]) -> None:
    """Raise OSError if another directory is mounted than the server has looked at: it was replaced by a link."""
    for path, identity in expected.items():
        info = os.stat(path)  # noqa: PTH116 - see `descendants`
        if f"{info.st_dev}:{info.st_ino}" != identity:
            raise OSError(errno.ESTALE, "replaced by a link", path)


def _link(links: dict[str, str]) -> None:
    """Make symbolic links, in place of what is there."""
    for path, target in links.items():
        with suppress(OSError):  # what the session has made there itself may be in the way
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108
            os.symlink(target, path)  # noqa: PTH211


if __name__ == "__main__":
    descriptor, text = sys.argv[1:]
    os.set_inheritable(int(descriptor), False)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    main(socket.socket(fileno=int(descriptor)), json.loads(text))
