"""The terminal: results on standard output, everything else on standard error."""

import re
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.status import Status
from rich.text import Text

# Text of an agent or a stranger must not control the terminal: C0 and C1 controls except tab and line feed, and the
# characters that change the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ONE_LINE = str.maketrans(dict.fromkeys("\t\n\u2028\u2029", " "))


class Screen:
    """Text output, coloured on a terminal and plain elsewhere. As a context manager it ends by removing its spinner."""

    def __init__(self, *, reserve_output: bool = False) -> None:
        """`reserve_output` moves all that belongs on standard output to standard error, except for `result`."""
        self._out = _console(sys.stderr if reserve_output else sys.stdout)
        self._result = _console(sys.stdout)
        self._notes = _console(sys.stderr)
        self._spinner: Status | None = None
        self._at_line_start = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.idle()
        self.finish_line()

    @property
    def is_terminal(self) -> bool:
        """Whether `write` writes to a terminal."""
        return self._out.is_terminal

    def write(self, text: str, style: str = "") -> None:
        """Continue the current line of standard output."""
        if not text:
            return
        self.idle()
        self._at_line_start = text.endswith("\n")
        if self.is_terminal:
            self._out.print(Text(printable(text), style=style), end="", soft_wrap=True)
        else:  # without rich, which replaces tabs by spaces
            self._out.file.write(printable(text))
            self._out.file.flush()

    def finish_line(self) -> None:
        """Start a new line of standard output, unless the current one is empty."""
        if not self._at_line_start:
            self.write("\n")

    def line(self, text: str, style: str = "") -> None:
        """Write a separate line to standard output."""
        self.finish_line()
        self.write(f"{text}\n", style)

    def result(self, text: str) -> None:
        """Write the result of the whole command as a separate line to standard output."""
        self.finish_line()
        self.idle()
        self._result.file.write(printable(text) + "\n" * (not text.endswith("\n")))
        self._result.file.flush()

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write each row on one line: in columns below a head on a terminal, with tabs between the cells otherwise."""
        table = [[printable(cell).translate(_ONE_LINE) for cell in row] for row in rows]
        if not self.is_terminal:
            for row in table:
                self.line("\t".join(row))
            return
        table.insert(0, list(head))
        widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
        for number, row in enumerate(table):
            padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
            self.line("  ".join(padded).rstrip(), "" if number else "bold")

    def note(self, text: str, style: str = "dim") -> None:
        """Write a separate line to standard error."""
        if self._notes.is_terminal:
            self.finish_line()
        self._notes.print(Text(printable(text), style=style), soft_wrap=True)

    def error(self, text: str) -> None:
        """Write an error message to standard error."""
        self.idle()
        self.note(text, "red")

    def busy(self, text: str) -> None:
        """Show a spinner with this text until the next output or `idle`; does nothing without a terminal."""
        if self._spinner is None and self._notes.is_terminal:
            self._spinner = self._notes.status(Text(printable(text)))
            self._spinner.start()
        elif self._spinner is not None:
            self._spinner.update(Text(printable(text)))

    def idle(self) -> None:
        """Remove the spinner."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


def printable(text: str) -> str:
    """Return the text without the characters that control a terminal."""
    return _CONTROLS.sub("", text)


def visible(text: str) -> str:
    """Return the text with escapes for the characters that control a terminal, for readers who have to see them."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def printable_json(text: str) -> str:
    """Return the same JSON on one line, with escapes for the characters that control a terminal."""
    one_line = re.sub(r"[\t\r\n]", " ", text)  # strings of JSON contain none of these
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", one_line)


def _console(file: TextIO) -> Console:
    if hasattr(file, "reconfigure"):
        file.reconfigure(errors="replace")  # a terminal that cannot show a character shows a question mark
    return Console(file=file, highlight=False, markup=False, emoji=False)
