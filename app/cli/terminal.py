"""The terminal: what is asked for on standard output, everything else on standard error."""

import re
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

# What an agent or a stranger wrote must not steer the terminal: C0 and C1 but tab and line feed, and what turns the
# direction of writing.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Screen:
    """Text in colour on a terminal, plain otherwise; as a context it ends a spinner that is still shown."""

    def __init__(self) -> None:
        self._out = _console(sys.stdout)
        self._notes = _console(sys.stderr)
        self._spinner: Status | None = None
        self._fresh = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.idle()
        self.finish_line()

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sees standard output as it comes."""
        return self._out.is_terminal

    def write(self, text: str, style: str = "") -> None:
        """Go on in the present line of standard output."""
        if not text:
            return
        self.idle()
        self._fresh = text.endswith("\n")
        if self.is_terminal:
            self._out.print(Text(printable(text), style=style), end="", soft_wrap=True)
        else:  # as it is: rich makes spaces of tabs
            self._out.file.write(printable(text))
            self._out.file.flush()

    def finish_line(self) -> None:
        """Begin a new line of standard output, unless one has just begun."""
        if not self._fresh:
            self.write("\n")

    def line(self, text: str, style: str = "") -> None:
        """Write a line of its own to standard output."""
        self.finish_line()
        self.write(f"{text}\n", style)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write rows of one line each: in columns on a terminal, else separated by tabs."""
        cells = [[" ".join(printable(cell).split()) for cell in row] for row in rows]
        if not self.is_terminal:
            for row in (head, *cells):
                self.line("\t".join(row))
            return
        table = Table(*(Column(name, no_wrap=True) for name in head), box=None, pad_edge=False)
        for row in cells:
            table.add_row(*map(Text, row))
        self.idle()
        self._out.print(table)

    def note(self, text: str, style: str = "dim") -> None:
        """Write a line of its own to standard error."""
        if self._notes.is_terminal:
            self.finish_line()
        self._notes.print(Text(printable(text), style=style), soft_wrap=True)

    def error(self, text: str) -> None:
        """Write a line to standard error that says why something is not done."""
        self.idle()
        self.note(text, "red")

    def busy(self, text: str) -> None:
        """Show that something takes its time, until the next output or `idle`."""
        if self._spinner is None and self._notes.is_terminal:
            self._spinner = self._notes.status(Text(printable(text)))
            self._spinner.start()
        elif self._spinner is not None:
            self._spinner.update(Text(printable(text)))

    def idle(self) -> None:
        """Take the spinner away."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


def printable(text: str) -> str:
    """The text without characters that steer a terminal."""
    return _STEERING.sub("", text)


def printable_json(text: str) -> str:
    """The same JSON in one line, the characters that steer a terminal as escapes."""
    in_one_line = re.sub(r"[\t\r\n]", " ", text)  # inside of its strings JSON has none
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", in_one_line)


def _console(file: TextIO) -> Console:
    if hasattr(file, "reconfigure"):
        file.reconfigure(errors="replace")  # a terminal that cannot show a letter shows a question mark
    return Console(file=file, highlight=False, markup=False, emoji=False)
