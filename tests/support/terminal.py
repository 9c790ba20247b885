"""`python -m app …` at a terminal of its own."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.deadline import eventually
from tests.support.server import ROOT, command

CTRL_C = "\x03"
CTRL_D = "\x04"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A terminal as a person uses it."""

    def __init__(self, process: "subprocess.Popen[bytes]", fd: int) -> None:
        self._process = process
        self._fd = fd
        self._seen = b""
        self._passed = 0

    def type(self, keys: str) -> None:
        """Press these keys. Ctrl-C waits until the command waits, as a person does.

        Python loses a signal that arrives after its prompt is shown and before it begins to wait for input.
        """
        if keys == CTRL_C:
            eventually(self._is_waiting)
        os.write(self._fd, keys.encode())

    def _is_waiting(self) -> bool:
        """Return whether the command's main thread sleeps each time that it is looked at, where the system tells."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        if not stat.exists():
            return True
        states = set()
        for _ in range(20):
            states.add(stat.read_text().rpartition(")")[2].split()[0])
            time.sleep(0.01)
        return states == {"S"}

    @property
    def text(self) -> str:
        """All that was shown so far, without colours and movements."""
        with contextlib.suppress(OSError):  # the end of the process is an error of its terminal
            while select.select([self._fd], [], [], 0)[0] and (chunk := os.read(self._fd, 65536)):
                self._seen += chunk
        return _CONTROLS.sub("", self._seen.decode(errors="replace"))

    def wait_for(self, words: str) -> str:
        """Return the output up to and including `words`, since the last call."""
        text = eventually(lambda: self.text, lambda text: words in text[self._passed :])
        end = text.index(words, self._passed) + len(words)
        shown, self._passed = text[self._passed : end], end
        return shown

    def wait(self) -> int:
        """The exit status, once the command has ended."""
        return eventually(lambda: (self.text, self._process.poll())[1], lambda status: status is not None) or 0


@contextmanager
def terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    """The command at a terminal, which is closed at the end of the block."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - our own command
        command(*arguments),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - Ctrl-C reaches only a process whose terminal it is
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _take_terminal() -> None:
    import fcntl  # noqa: PLC0415 - for the child alone
    import termios  # noqa: PLC0415 - for the child alone

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a script runs in the background
