"""Input of the person at the terminal."""

import json
import sys
from contextlib import suppress
from typing import Any

from app.cli.terminal import Screen


def has_person() -> bool:
    """Return whether there is a person at a terminal who sees what they are asked and can answer."""
    return sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())


class Prompt:
    """Questions at the terminal. All of them raise EOFError on Ctrl-D."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        with suppress(ImportError):  # not every Python has it
            import readline  # noqa: F401 - gives input() editing and history

    def read(self, prompt: str) -> str:
        """Return the next line."""
        try:
            return input(prompt) if sys.stdout.isatty() else _read_line(prompt)
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n")  # nobody has ended the line of the prompt
            raise

    def decide(self, approval: dict[str, Any]) -> bool | None:
        """Return whether to allow what the agent wants to do, None if the input is neither yes nor no."""
        wanted = " ".join(filter(None, (approval.get("message"), approval.get("tool_name"))))
        self._screen.line(wanted or "May the agent continue?")
        if "args" in approval:
            self._screen.line(f"  {json.dumps(approval['args'], ensure_ascii=False)}", "dim")
        decision = self.read("Allow? [y/n] ").strip().lower()
        return decision.startswith("y") if decision in {"y", "yes", "n", "no"} else None

    def decide_now(self, approval: dict[str, Any]) -> bool:
        """Return whether to allow it, once the input is yes or no: the run is waiting."""
        while (allow := self.decide(approval)) is None:
            self._screen.note("The run is waiting: type y to allow it, n to deny it.")
        return allow


def _read_line(prompt: str) -> str:
    """Return the next line where standard output goes elsewhere, and gets only what the agent writes."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    if line := sys.stdin.readline():
        return line.removesuffix("\n")
    raise EOFError
